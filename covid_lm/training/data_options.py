"""Options of reading data sets, which all tools that read one share."""

import dataclasses
import os
from typing import Any

from absl import flags

from covid_lm.command_line import PathParser, check_output
from covid_lm.data import DATASETS, download_hint, require_data_dir
from covid_lm.data.dicom_frames import FRAMES
from covid_lm.data.reading import Reading, parse_columns
from covid_lm.data.windows import WINDOW_HELP
from covid_lm.errors import InputError
from covid_lm.training.flags import FlagOptions, option

_COLUMNS = (
    "Columns of a table that are not found by their names, as 'path=Image Index,label=Finding'; "
    "also split and patient; `split=` for none."
)
_PATIENT = "Regular expression on the paths of a folder; its first group is the patient."
_DOWNLOAD = "Download what --data_dir lacks of covid_ct, cifar10 or cifar100, and check all of it."


class _DataParser(PathParser):
    """Parses the location of a data set, a folder that need not exist with --download."""

    def check(self, flag: str, path: str) -> None:
        """See `PathParser`."""
        if flags.FLAGS["download"].value:
            check_output(flag, path, is_folder=not os.path.isfile(path))
            return
        try:
            super().check(flag, path)
        except InputError as error:
            names = flags.FLAGS["dataset"].value
            hint = download_hint(*names if isinstance(names, list) else [names])
            raise InputError(f"{error}{hint}") from None


DATA_DIR = _DataParser("input")


@dataclasses.dataclass(frozen=True)
class ReadingOptions(FlagOptions):
    """Options of the readers of data sets."""

    columns: str | None = option(None, _COLUMNS)
    image_root: str | None = option(
        None,
        "Folder of a table's images; default: the table's own.",
        PathParser("input folder"),
        must_match=False,
        shown="IMAGES",
    )
    patient_pattern: str | None = option(None, _PATIENT)
    window: str | None = option(None, WINDOW_HELP + "a DICOM file's own.")
    frames: str = option("middle", "Frames of a DICOM file that has several.", FRAMES)
    allow_patient_overlap: bool = option(
        False, "Train although patients have images in several splits.", must_match=False
    )
    download: bool = option(False, _DOWNLOAD, must_match=False, shown=None)

    def __post_init__(self):
        super().__post_init__()
        self.reading.check(*self.dataset_names)

    @property
    def dataset_names(self) -> tuple[str, ...]:
        """Names of the data sets: a subclass has the field `dataset` or `datasets`."""
        options = vars(self)
        return options["datasets"] if "datasets" in options else (options["dataset"],)

    @property
    def reading(self) -> Reading:
        """The options for `load_dataset`; raises InputError for unusable ones."""
        columns = {} if self.columns is None else parse_columns(self.columns)
        return Reading(
            columns,
            self.image_root,
            self.patient_pattern,
            self.window,
            self.frames,
            self.for_training,
            self.allow_patient_overlap,
            self.download,
        )

    @property
    def for_training(self) -> bool:
        """True if a model is trained on the data."""
        return True

    @property
    def reading_flags(self) -> dict[str, Any]:
        """The flags that are given, by name, for the command of another tool on the same files."""
        values = {f.name: (getattr(self, f.name), f) for f in dataclasses.fields(ReadingOptions)}
        values.pop("download")
        return {name: None if v in (f.default, False) else v for name, (v, f) in values.items()}


@dataclasses.dataclass(frozen=True)
class DataOptions(ReadingOptions):
    """Options of a data set that is evaluated or audited."""

    dataset: str = option("phantom", "Data set.", DATASETS)
    data_dir: str | None = option(None, "Location of the data set, unless embedded.", DATA_DIR)

    def __post_init__(self):
        super().__post_init__()
        require_data_dir(self.dataset, self.data_dir)

    @property
    def for_training(self) -> bool:
        return False

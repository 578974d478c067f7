"""Options of reading a data set, validated before any file is opened."""

import csv
import dataclasses
import os
import re
from collections.abc import Mapping

from covid_lm.data.conversion import Conversion
from covid_lm.data.dicom_frames import FRAMES
from covid_lm.data.windows import parse_window
from covid_lm.errors import InputError
from covid_lm.files import read_json

ROLES = ("path", "label", "split", "patient")  # of a table's columns
NEEDED = {  # the data sets that have an option
    "columns": ("table",),
    "image_root": ("table",),
    "patient_pattern": ("folder",),
    "window": ("folder", "table", "images"),
    "frames": ("folder", "table", "images"),
    "download": ("covid_ct", "cifar10", "cifar100", "cifar100_coarse"),
}


@dataclasses.dataclass(frozen=True)
class Reading:
    """Options of a data set's reader.

    Attributes:
        columns: of a table, the column of each role in `ROLES`, "" for none.
        image_root: of a table, the folder of its images; by default its own.
        patient_pattern: of a folder, a regular expression whose first group is the patient.
        window: of DICOM and 16-bit gray images, "CENTER,WIDTH" or one of `NAMED_WINDOWS`.
        frames: of a DICOM file of several, "middle" or "all".
        training: the data set must have training images.
        allow_patient_overlap: a patient may have images in several splits, even for training.
        download: published files that are not there are downloaded.
    """

    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    image_root: str | None = None
    patient_pattern: str | None = None
    window: str | None = None
    frames: str = "middle"
    training: bool = False
    allow_patient_overlap: bool = False
    download: bool = False

    def __post_init__(self):
        parse_window(self.window)
        if self.frames not in FRAMES:
            raise InputError(f"--frames={self.frames}: choose one of {', '.join(FRAMES)}")
        for role in self.columns:
            if role not in ROLES:
                raise InputError(f"--columns={role}=...: choose from {', '.join(ROLES)}")
        try:
            groups = re.compile(self.patient_pattern or "()").groups
        except re.error as error:
            raise InputError(
                f"--patient_pattern={self.patient_pattern}: no regular expression ({error})"
            ) from None
        if not groups:
            raise InputError(
                f"--patient_pattern={self.patient_pattern}: put the patient into parentheses"
            )

    @property
    def conversion(self) -> Conversion:
        """Options of the conversion of image files."""
        return Conversion(parse_window(self.window), self.frames)

    @property
    def accepts_overlap(self) -> bool:
        """True if a patient may have images in several splits."""
        return self.allow_patient_overlap or not self.training

    def check(self, *names: str) -> None:
        """Raises InputError for an option that none of the data sets has."""
        for option, data_sets in NEEDED.items():
            default = Reading.__dataclass_fields__[option].default
            if (getattr(self, option) or default) != default and not {*data_sets} & {*names}:
                raise InputError(f"--{option}: only with --dataset={' or '.join(data_sets)}")


def with_window_of(reading: Reading | None, model_dir: str) -> Reading:
    """The options, with the window of a model's training run if they have none.

    Args:
        model_dir: `saved_models/NAME`.
    """
    reading = reading or Reading()
    try:
        run = read_json(os.path.join(model_dir, "run", "config.json")).get("run")
    except OSError:
        run = None
    window = run.get("window") if isinstance(run, dict) else None
    return dataclasses.replace(reading, window=reading.window or window)


def parse_columns(text: str) -> dict[str, str]:
    """Columns by role from "path=Image Index,label=Finding"; a part may be quoted as in CSV.

    Raises:
        InputError: another form.
    """
    columns = {}
    for part in next(csv.reader([text]), []):
        role, separator, column = part.partition("=")
        if not separator or role.strip() in columns:
            raise InputError(f"--columns={text}: give ROLE=COLUMN,ROLE=COLUMN")
        columns[role.strip()] = column.strip()
    return columns

"""Data sets and models as Python code names them."""

import dataclasses
import os
import sys
from typing import TYPE_CHECKING, Any

from covid_lm.data import DATASETS, EMBEDDED
from covid_lm.data import load_dataset as load_named
from covid_lm.data.reading import Reading, parse_columns
from covid_lm.data.records import ImageDataset, with_visible_names
from covid_lm.environment import import_tensorflow
from covid_lm.errors import InputError
from covid_lm.files import is_directory, is_remote
from covid_lm.serving.versions import resolve_model

if TYPE_CHECKING:
    import pandas as pd

Source = Any  # ImageDataset, name, path, or pandas DataFrame
Model = Any  # path, or the result of `covid_lm.train`


def load_dataset(
    source: "str | os.PathLike | pd.DataFrame",
    data_dir: str | os.PathLike | None = None,
    **reading: Any,
) -> ImageDataset:
    """Loads a data set; the same arguments give the same records and splits.

    Args:
        source: a folder of images with a sub-folder for each class; a table (.csv, .tsv, .parquet)
            or DataFrame with a row for each image; or a name: "phantom", "phantom4000" and
            "phantom_named" are embedded, "covid_ct", "cifar10", "cifar100" and "cifar100_coarse"
            are read from `data_dir`.
        data_dir: location of a data set that is given by name.
        reading: options of the reader, named as the tools' flags: `columns` (of a table; a dict
            from "path", "label", "split" and "patient" to columns, or text as the flag's),
            `image_root` (of a table; default: its own folder, of a DataFrame the working
            directory), `patient_pattern` (of a folder; the first group of this regular expression
            in an image's path is the patient), `window` and `frames` (of DICOM and deep images),
            `download` (true to fetch what `data_dir` lacks of COVID-CT or CIFAR).

    Returns:
        A data set with `classes` and `records` (each with `path`, `label`, `split`, `patient`,
        `factors` and `read()`, which returns the file's bytes). Missing splits are drawn by
        patient, always in the same way. `notes` says how the data was read.

    Raises:
        InputError: no such data; one class only; a table's row that can't be used; options that
            the reader lacks.
        RunError: it can't be downloaded.
        TypeError: `source` is of another type, or no such option.

    Examples:
        >>> phantom = covid_lm.load_dataset("phantom")
        >>> folder = covid_lm.load_dataset("IMAGES", patient_pattern=r"/[a-z](\\d+)\\.")
        >>> frame = pd.DataFrame({"image": paths, "finding": labels, "age": ages})
        >>> table = covid_lm.load_dataset(frame, image_root="IMAGES")
        >>> [record.factors["age"] for record in table.split("test")]
    """
    name, location = named_source(source, data_dir)
    options = {**reading, "columns": _columns(reading.get("columns"))}
    if options.get("image_root") is not None:
        options["image_root"] = os.path.expanduser(options["image_root"])
    chosen = Reading(**options)
    chosen.check(name)
    if not isinstance(source, str | os.PathLike):
        from covid_lm.data.table import table_dataset

        dataset = table_dataset(
            source, chosen.image_root or ".", chosen.columns, conversion=chosen.conversion
        )
        dataset = with_visible_names(dataset, dataset.root)
    else:
        dataset = load_named(name, location, chosen)
    flags = {key: value for key, value in options.items() if value}
    if chosen.columns:
        flags["columns"] = ",".join(f"{role}={text}" for role, text in chosen.columns.items())
    if name not in EMBEDDED:
        flags["data_dir"] = location or dataset.root
    return dataclasses.replace(dataset, flags={"dataset": name, **flags})


def named_source(source: Any, data_dir: str | os.PathLike | None = None) -> tuple[str, str | None]:
    """Name of the reader, and location of the data: None for a DataFrame and embedded data."""
    if not isinstance(source, str | os.PathLike):
        pandas = sys.modules.get("pandas")
        if pandas is None or not isinstance(source, pandas.DataFrame):
            raise TypeError(
                f"a data set is a name, a path or a DataFrame, not {type(source).__name__}"
            )
        return "table", None
    if source in DATASETS:
        return str(source), None if data_dir is None else os.path.expanduser(str(data_dir))
    path, names = os.path.expanduser(str(source)), ", ".join(DATASETS)
    if data_dir is not None:
        raise InputError(f"{path}: with a data_dir, give one of {names}")
    if not is_remote(path) and not os.path.exists(path):
        raise InputError(f"{path}: no such file or directory, nor one of {names}")
    return ("folder" if is_directory(path) else "table"), path


def _columns(columns: Any) -> dict[str, str]:
    if columns is None:
        return {}
    return parse_columns(columns) if isinstance(columns, str) else dict(columns)


def model_path(model: Model, flag: str = "model") -> str:
    """`saved_models/NAME[/VERSION]` of a model; InputError if there is no exported version."""
    path = os.path.expanduser(str(getattr(model, "model_dir", model)))
    resolve_model(path, flag)
    return path


def as_text(path: str | os.PathLike | None) -> str | None:
    """A path as text, in which a leading `~` is the user's home directory; None stays None."""
    return None if path is None else os.path.expanduser(os.fspath(path))


def import_keras() -> None:
    """Imports TensorFlow and Keras, as the tools do.

    Raises:
        InputError: Keras runs on another backend in this process.
    """
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "tensorflow" not in sys.modules:
        import_tensorflow()
    import keras

    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"Keras runs on {keras.backend.backend()} in this process; set "
            "KERAS_BACKEND=tensorflow before it is imported"
        )

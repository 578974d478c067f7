"""COVID-CT (Yang et al. 2020) in the layout of its public repository, with its zip archives.

```
DIR/Images-processed/CT_COVID.zip, CT_NonCOVID.zip
DIR/Data-split/COVID/{train,val,test}CT_COVID.txt, and the same for NonCOVID
DIR/COVID-CT-MetaInfo.csv or .xlsx, NonCOVID-CT-MetaInfo.csv       patient ids
```
The official split: 425 training, 118 validation and 203 test images.
"""

import csv
import io
import os
from collections.abc import Iterable

from covid_lm.data.archives import zip_members
from covid_lm.data.records import SPLITS, ImageDataset, ImageRecord
from covid_lm.data.spreadsheet import sheet_rows
from covid_lm.errors import InputError, reason
from covid_lm.files import CONFIG_BYTES, read_bytes, refuse_link_out

CLASSES = ("NonCOVID", "COVID")
METADATA = {
    "COVID": ("COVID-CT-MetaInfo.csv", "File name", "Patient ID"),
    "NonCOVID": ("NonCOVID-CT-MetaInfo.csv", "image name", "patient id"),
}


def covid_ct(data_dir: str) -> ImageDataset:
    """Reads the split lists and the metadata; images are read from the zips on demand.

    Raises:
        InputError: a file of the layout is missing, unreadable or a link out of `data_dir`, a zip
            has a link or a name that leads out of it, or lacks an image of a split list.
    """
    try:
        records = [
            record for label in range(len(CLASSES)) for record in _read_class(data_dir, label)
        ]
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename}: no such file; --data_dir must hold COVID-CT as published "
            "(Images-processed/, Data-split/, *-MetaInfo.*), or give --download"
        ) from None
    return ImageDataset("covid_ct", CLASSES, tuple(records)).check()


def _read_class(data_dir: str, label: int) -> list[ImageRecord]:
    def find(*parts: str) -> str:
        return refuse_link_out(os.path.join(data_dir, *parts), data_dir)

    name = CLASSES[label]
    archive = find("Images-processed", f"CT_{name}.zip")
    members = {os.path.basename(m): (m, read) for m, read in zip_members(archive).items()}
    metadata = find(METADATA[name][0])
    spreadsheet = find(METADATA[name][0].replace(".csv", ".xlsx"))
    if os.path.exists(spreadsheet) and not os.path.exists(metadata):
        metadata = spreadsheet
    patients = _read_patients(metadata, name)
    records = []
    for split in SPLITS:
        split_list = find("Data-split", name, f"{split}CT_{name}.txt")
        for filename in filter(None, map(str.strip, _text(split_list).splitlines())):
            if filename not in members:
                raise InputError(
                    f"{split_list}: names {filename!r}, which {archive} does not hold; "
                    "fetch the list and the zip from the same release"
                )
            member, read = members[filename]
            path = f"{archive}!{member}"
            # The spreadsheet leaves out the extension of some names.
            patient = patients.get(filename) or patients.get(os.path.splitext(filename)[0])
            records.append(ImageRecord(filename, label, split, path, read, patient))
    return records


def _read_patients(path: str, class_name: str) -> dict[str, str]:
    """Maps file names to patient ids, prefixed by the class, because each file has its own ids."""
    _, image_column, patient_column = METADATA[class_name]
    try:
        rows: Iterable[dict[str, str]]
        if path.endswith(".xlsx"):
            rows = sheet_rows(path)
        else:
            rows = csv.DictReader(io.StringIO(_text(path), newline=""), restval="")
        return {
            row[image_column].strip(): f"{class_name} {row[patient_column].strip()}" for row in rows
        }
    except KeyError as error:
        raise InputError(f"{path}: no column {error}; fetch COVID-CT's metadata") from None
    except csv.Error as error:
        raise InputError(f"{path}: damaged ({error}); fetch COVID-CT's metadata") from None


def _text(path: str) -> str:
    try:
        return read_bytes(path, CONFIG_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({reason(error)}); fetch it again") from None

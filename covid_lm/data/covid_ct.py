"""COVID-CT (Yang et al. 2020) in the layout of its public repository, with its zip archives.

```
DIR/Images-processed/CT_COVID.zip, CT_NonCOVID.zip
DIR/Data-split/COVID/{train,val,test}CT_COVID.txt, and the same for NonCOVID
DIR/COVID-CT-MetaInfo.csv, NonCOVID-CT-MetaInfo.csv       patient ids
```
The official split: 425 training, 118 validation and 203 test images.
"""

import csv
import functools
import io
import os
import zipfile

from covid_lm.data.archives import refuse_link_out, zip_members
from covid_lm.data.records import SPLITS, ImageDataset, ImageRecord
from covid_lm.errors import InputError
from covid_lm.files import is_remote, read_bytes

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
    records = []
    for label, class_name in enumerate(CLASSES):
        archive_path = os.path.join(data_dir, "Images-processed", f"CT_{class_name}.zip")
        archive = _open_archive(refuse_link_out(archive_path, data_dir))
        members = {os.path.basename(name): name for name in zip_members(archive)}
        patients = _patients(data_dir, class_name)
        for split in SPLITS:
            list_path = os.path.join(
                data_dir, "Data-split", class_name, f"{split}CT_{class_name}.txt"
            )
            for filename in _read_list(refuse_link_out(list_path, data_dir)):
                if filename not in members:
                    raise InputError(
                        f"{list_path}: names {filename!r}, which {archive_path} does not hold; "
                        "fetch the list and the zip from the same release"
                    )
                member = members[filename]
                records.append(
                    ImageRecord(
                        filename=filename,
                        label=label,
                        split=split,
                        path=f"{archive_path}!{member}",
                        read=functools.partial(archive.read, member),
                        patient=patients.get(filename),
                    )
                )
    return ImageDataset("covid_ct", CLASSES, tuple(records)).check()


def _open_archive(path: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path if not is_remote(path) else io.BytesIO(read_bytes(path)))
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; --data_dir must hold COVID-CT as published "
            "(Images-processed/, Data-split/, *-MetaInfo.csv)"
        ) from None
    except zipfile.BadZipFile:
        raise InputError(f"{path}: not a zip, or cut short; fetch it again") from None


def _read_list(path: str) -> list[str]:
    try:
        lines = read_bytes(path).decode("utf-8").splitlines()
        return [line.strip() for line in lines if line.strip()]
    except FileNotFoundError:
        raise InputError(f"{path}: no such split list; fetch COVID-CT's Data-split/") from None


def _patients(data_dir: str, class_name: str) -> dict[str, str]:
    """Maps file names to patient ids, prefixed by the class, because each file has its own ids."""
    filename, image_column, patient_column = METADATA[class_name]
    path = refuse_link_out(os.path.join(data_dir, filename), data_dir)
    try:
        text = read_bytes(path).decode("utf-8-sig")
        return {
            row[image_column].strip(): f"{class_name} {row[patient_column].strip()}"
            for row in csv.DictReader(io.StringIO(text, newline=""))
        }
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; fetch COVID-CT's metadata") from None
    except KeyError as error:
        raise InputError(f"{path}: no column {error}; fetch COVID-CT's metadata") from None

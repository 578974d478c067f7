"""Options of reading a data set, validated before any file is opened."""

import csv
import dataclasses
import re
from collections.abc import Mapping

from covid_lm.errors import InputError

ROLES = ("path", "label", "split", "patient")  # of a table's columns


@dataclasses.dataclass(frozen=True)
class Reading:
    """Options of a data set's reader.

    Attributes:
        columns: of a table, the column of each role in `ROLES`, "" for none.
        image_root: of a table, the folder of its images; by default its own.
        patient_pattern: of a folder, a regular expression whose first group is the patient.
        training: the data set must have training images.
        allow_patient_overlap: a patient may have images in several splits, even for training.
    """

    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    image_root: str | None = None
    patient_pattern: str | None = None
    training: bool = False
    allow_patient_overlap: bool = False

    def __post_init__(self):
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
    def accepts_overlap(self) -> bool:
        """True if a patient may have images in several splits."""
        return self.allow_patient_overlap or not self.training

    def check(self, *names: str) -> None:
        """Raises InputError for an option that none of the data sets has."""
        needed = {"columns": "table", "image_root": "table", "patient_pattern": "folder"}
        for option, name in needed.items():
            if getattr(self, option) and name not in names:
                raise InputError(f"--{option}: only with --dataset={name}")


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

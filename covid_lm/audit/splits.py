"""What the splits share: patients, sources that names give away, and the balance of classes."""

import collections
import dataclasses
import re
from collections.abc import Sequence

import numpy as np
from scipy import stats

from covid_lm.audit.features import names as name_features
from covid_lm.data.records import SPLITS, ImageRecord
from covid_lm.data.splits import SplitSummary

MIN_STEM = 6
MAX_SOURCE_SHARE = 0.05
_COUNTER = re.compile(r"[-_ .%(#]+\d+\)?$")


@dataclasses.dataclass(frozen=True)
class SharedSource:
    """Something that lies on both sides of a split.

    Attributes:
        name: the patient, or the stem that the names share.
        files: indices of its files.
        splits: those that they lie in.
        patients: the patients that the metadata has for them.
    """

    name: str
    files: tuple[int, ...]
    splits: tuple[str, ...]
    patients: tuple[str, ...]


def name_source(filename: str) -> str | None:
    """What is left of a name when its last counter is taken off, None where there is none.

    "10.1101-p17-91-2.png" gives "10.1101-p17-91". What is shorter than 6 characters says
    too little to be a source.
    """
    name = name_features.stem(filename)
    source = _COUNTER.sub("", name)
    if source == name or len(source) < MIN_STEM:
        return None
    return source


def shared_patients(records: Sequence[ImageRecord]) -> list[SharedSource]:
    """Patients with files in several splits."""
    return _shared(records, [record.patient for record in records])


def shared_name_sources(records: Sequence[ImageRecord]) -> list[SharedSource]:
    """Stems of names in several splits, whose files no known patient already joins.

    A stem of more than a twentieth of the files is a naming scheme and no source.
    """
    sources = [name_source(record.filename) for record in records]
    frequent = collections.Counter(sources)
    limit = max(MAX_SOURCE_SHARE * len(records), 2)
    sources = [source if frequent[source] <= limit else None for source in sources]
    known = {patient.name for patient in shared_patients(records)}
    return [
        shared
        for shared in _shared(records, sources)
        if not (shared.patients and set(shared.patients) <= known)
    ]


def _shared(records: Sequence[ImageRecord], keys: Sequence[str | None]) -> list[SharedSource]:
    members = collections.defaultdict(list)
    for index, key in enumerate(keys):
        if key is not None:
            members[key].append(index)
    shared = []
    for key, files in members.items():
        splits = {records[i].split for i in files}
        if len(splits) > 1:
            ordered = tuple(split for split in SPLITS if split in splits)
            patients = {p for i in files if (p := records[i].patient) is not None}
            shared.append(SharedSource(key, tuple(files), ordered, tuple(sorted(patients))))
    return shared


def balance_p_value(summaries: Sequence[SplitSummary]) -> float:
    """Chi-squared p-value of the classes' shares being the same in every split.

    1.0 with fewer than two splits or two classes that have files.
    """
    table = np.array([summary.class_counts for summary in summaries])
    table = table[:, table.sum(axis=0) > 0]
    if min(table.shape) < 2:
        return 1.0
    return float(stats.chi2_contingency(table).pvalue)


def has_own_test_split(dataset_name: str, records: Sequence[ImageRecord]) -> bool:
    """Whether the test split was given and not carved out of a folder at random."""
    test = [record for record in records if record.split == "test"]
    if dataset_name != "folder":
        return bool(test)
    return any("test" in record.path.replace("\\", "/").split("/") for record in test)

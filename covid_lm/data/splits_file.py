"""`splits.csv` of a run: a table of the images, splits and patients of a data set.

Read again, it gives the same records. It has further columns where they are needed for that, see
`table_rows.PathCells`, and `label_number` if the order of the classes isn't that of their names.
"""

import csv
from collections.abc import Iterable, Sequence

from covid_lm.data.dicom_frames import split_frame
from covid_lm.data.reading import ROLES
from covid_lm.data.records import ImageDataset
from covid_lm.data.table_rows import DIGEST, ESCAPED, MASKED, file_digest
from covid_lm.errors import escape, visible_name
from covid_lm.files import atomic_write

NUMBER = "label_number"


def write_splits(path: str, dataset: ImageDataset) -> None:
    """Writes a data set as a table, with paths below its location as `--image_root`."""
    records = dataset.records
    names = list(dict.fromkeys(name for record in records for name in record.factors))
    labels = [dataset.classes[record.label] for record in records]
    in_order = ordered_classes(labels) == list(dataset.classes)
    columns = {
        "path": [dataset.path_below(record) for record in records],
        "label": labels,
        "split": [record.split for record in records],
        "patient": [record.patient or "" for record in records],
    }
    exact = [r.exact or text for r, text in zip(records, columns["path"], strict=True)]
    special = {
        ESCAPED: [
            "" if visible_name(name) == name == shown else escape(name)
            for name, shown in zip(exact, columns["path"], strict=True)
        ],
        DIGEST: [r.source and file_digest(split_frame(r.source)[0]) for r in records],
        MASKED: [r.source and escape(r.filename) for r in records],
        NUMBER: ["" if in_order else str(record.label) for record in records],
    }
    columns |= {name: cells for name, cells in special.items() if any(cells)}
    taken = {*ROLES, *special}
    for name in names:
        column = f"{name} (factor)" if name in taken else name
        columns[column] = [record.factors.get(name, "") for record in records]
    with atomic_write(path) as staged, open(staged, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def ordered_classes(labels: Iterable[str], numbers: Sequence[str] = ()) -> list[str]:
    """The classes of a table's labels, in order.

    Args:
        numbers: of each label, which give the order if there is one from 0 for each class. By
            default numbers are in numeric order and other names in that of the alphabet.
    """
    distinct = {*labels}
    pairs = {*zip(numbers, labels, strict=False)}
    given = dict(pairs)
    places = [str(place) for place in range(len(distinct))]
    if len(pairs) == len(distinct) and given.keys() == {*places}:
        return [given[place] for place in places]
    numeric = all(label.isdecimal() for label in distinct)
    return sorted(distinct, key=lambda label: (int(label) if numeric else 0, label))

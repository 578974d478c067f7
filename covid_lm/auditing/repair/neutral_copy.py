"""A copy of a data set whose files differ by nothing but their pixels."""

import concurrent.futures
import csv
import dataclasses
import functools
import io
import os
from collections.abc import Sequence

import numpy as np
import tqdm
from PIL import Image

from covid_lm.auditing.features.layout import without_marks
from covid_lm.auditing.features.observations import Observation
from covid_lm.auditing.features.pixels import ring_width
from covid_lm.auditing.findings import Finding
from covid_lm.auditing.model.image_edits import rgb_pixels
from covid_lm.data.dicom_frames import split_frame
from covid_lm.data.preview import gray_levels
from covid_lm.data.records import ImageDataset, ImageRecord
from covid_lm.data.splits_file import write_splits
from covid_lm.data.table_rows import DIGEST, file_digest
from covid_lm.files import atomic_directory, atomic_write, read_bytes

TABLE = "LABELS.csv"
IMAGES = "images"
MARKS_CHECK = "marks"  # a finding of it has the marks filled
BORDER_CHECKS = ("border", MARKS_CHECK)  # a finding of one of these has the border cropped
CROPPED_SHARE = 0.04  # of each side
MIN_COLOUR = 4.0  # mean difference of an image's colours, in levels from 0 to 255
ENLARGED_SHARE = 0.05  # of the images, at most
MAX_SIDE = 512
_BLOCK = 8
_GRAY, _COLOUR = "L", "RGB"


@dataclasses.dataclass(frozen=True)
class CopyFormat:
    """Format of all images of a copy.

    Attributes:
        mode: "L" (gray) or "RGB".
        side: width and height in pixels.
        cropped: true if the border is cut off.
        coloured: share of the original images that have colour.
        unmarked: true if burned-in marks near the border are filled with their surroundings.
    """

    mode: str
    side: int
    cropped: bool
    coloured: float
    unmarked: bool = False

    @property
    def line(self) -> str:
        """A sentence on what was done to the images."""
        mode = "gray" if self.mode == _GRAY else "RGB"
        border = (
            f"the border, {CROPPED_SHARE:.0%} of each side or more, was cut off, since it predicts "
            "the label"
            if self.cropped
            else "the border was kept"
        )
        marks = "; burned-in marks near the border were filled" if self.unmarked else ""
        return (
            f"neutral copy: uncompressed PNG, {mode} ({self.coloured:.0%} of the images have "
            f"colour), {self.side} x {self.side} pixels (bilinear with antialiasing, the aspect "
            f"ratio is not kept), no metadata, names and patients replaced by random numbers; "
            f"{border}{marks}"
        )


def choose_format(
    seen: Sequence[Observation], findings: Sequence[Finding], side: int | None = None
) -> CopyFormat:
    """Chooses the format by the images and the findings on them.

    Colour is kept if at least half of the images have it. The side is such that at most 5% of the
    images are enlarged, a multiple of 8 and at most 512.

    Args:
        side: in pixels, if it is given.
    """
    colours = [o.intensity["mean colour difference"] >= MIN_COLOUR for o in seen]
    cropped = any(finding.check in BORDER_CHECKS for finding in findings)
    if side is None:
        margins = [_margins(o.width, o.height, cropped) for o in seen]
        shorter = [
            min(o.width - 2 * x, o.height - 2 * y) for o, (x, y) in zip(seen, margins, strict=True)
        ]
        smallest = int(np.percentile(shorter, 100 * ENLARGED_SHARE, method="lower"))
        side = min(max(smallest // _BLOCK * _BLOCK, _BLOCK), MAX_SIDE)
    coloured = float(np.mean(colours))
    unmarked = any(finding.check == MARKS_CHECK for finding in findings)
    mode = _COLOUR if coloured >= 0.5 else _GRAY
    return CopyFormat(mode, side, cropped, coloured, unmarked)


def _margins(width: int, height: int, cropped: bool) -> tuple[int, int]:
    """Pixels to cut off at the left and right, and at the top and bottom."""
    if not cropped:
        return 0, 0
    ring = ring_width(height, width)
    x, y = (max(ring, round(CROPPED_SHARE * side)) for side in (width, height))
    return min(x, (width - 1) // 2), min(y, (height - 1) // 2)


def neutral_image(payload: bytes, style: CopyFormat) -> bytes:
    """The image in the copy's format; of one format all images have files of one size."""
    pixels = rgb_pixels(payload)
    if style.unmarked:
        pixels = without_marks(pixels, gray_levels(Image.fromarray(pixels)))
    image = Image.fromarray(pixels).convert(style.mode)
    x, y = _margins(image.width, image.height, style.cropped)
    image = image.crop((x, y, image.width - x, image.height - y))
    image = image.resize((style.side, style.side), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def write_neutral_copy(
    directory: str,
    dataset: ImageDataset,
    style: CopyFormat,
    seed: int,
    names: str | None = None,
    progress: bool = False,
) -> None:
    """Writes the copy, `images/` and the table `LABELS.csv`, completely or not at all.

    The table has path, label, split and patient, and no other facts of the records. Names and
    patients are numbers of one length in random order.

    Args:
        directory: which doesn't exist, or is empty.
        dataset: the original images, all of which can be decoded, and the splits to write.
        style: format of the copies.
        seed: of the order.
        names: file for a table with each copy's original path; None for none.
        progress: whether to show a progress bar on standard error.

    Raises:
        OSError: an original can't be read any more, or the copy can't be written.
    """
    # In the order of the new names: the times of the files must not tell the old order.
    copies = zip(_renamed(dataset.records, seed), dataset.records, strict=True)
    ordered = sorted(copies, key=lambda pair: pair[0].path)
    with atomic_directory(directory) as staged:
        folder = os.path.join(staged, IMAGES)
        os.makedirs(folder)

        def write(pair: tuple[ImageRecord, ImageRecord]) -> None:
            copy, original = pair
            with open(os.path.join(folder, copy.filename), "wb") as file:
                file.write(neutral_image(original.read(), style))

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            bar = {"desc": "copying images", "unit": "image", "disable": not progress}
            list(tqdm.tqdm(pool.map(write, ordered), total=len(ordered), **bar))
        records = tuple(copy for copy, _ in ordered)
        write_splits(os.path.join(staged, TABLE), ImageDataset(TABLE, dataset.classes, records))
        if names is not None:
            _write_names(names, dataset, ordered)
        os.sync()


def _renamed(records: Sequence[ImageRecord], seed: int) -> list[ImageRecord]:
    """The copies' records, in the order of the records, with paths below the copy's folder."""
    rng = np.random.default_rng(seed)
    patients = sorted({record.patient for record in records if record.patient is not None})
    new_patients = dict(zip(patients, _shuffled_numbers(len(patients), rng), strict=True))
    return [
        ImageRecord(
            filename=f"{number}.png",
            label=record.label,
            split=record.split,
            path=f"{IMAGES}/{number}.png",
            read=functools.partial(read_bytes, f"{IMAGES}/{number}.png"),
            patient=None if record.patient is None else new_patients[record.patient],
        )
        for record, number in zip(records, _shuffled_numbers(len(records), rng), strict=True)
    ]


def _shuffled_numbers(count: int, rng: np.random.Generator) -> list[str]:
    """1 to `count` in random order, as texts of one length."""
    return [f"{number + 1:0{len(str(count))}}" for number in rng.permutation(count)]


def _write_names(
    path: str, dataset: ImageDataset, pairs: Sequence[tuple[ImageRecord, ImageRecord]]
) -> None:
    """Writes the table of copies and originals; an original with an identifier has its digest."""
    with atomic_write(path) as staged, open(staged, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "original", DIGEST])
        for copy, record in pairs:
            digest = file_digest(split_frame(record.source)[0]) if record.source else ""
            writer.writerow([copy.path, dataset.path_below(record), digest])

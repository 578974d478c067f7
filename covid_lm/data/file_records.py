"""Records of image files: frames and facts of DICOM files, and no identifier of a patient."""

import functools
import os
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from covid_lm.data import dicom
from covid_lm.data.conversion import Conversion, read_image_file
from covid_lm.data.dicom_frames import frame_paths, split_frame
from covid_lm.data.identifiers import Identifiers
from covid_lm.data.records import ImageRecord
from covid_lm.data.splits import numbered_patients

Headers = Mapping[str, dicom.Header]


class ImageFile(NamedTuple):
    """An image file as a data set names it.

    Attributes:
        path: of the file; `FILE!3` for a frame of it.
        patient: identifier as it is in the data set; "" for none.
        factors: facts from the data set.
        shown: path to show, if `path` has an identifier of a patient.
        filename: as models read it; by default the base name of the path that is shown.
    """

    path: str
    label: int
    split: str
    patient: str = ""
    factors: Mapping[str, str] = types.MappingProxyType({})
    shown: str = ""
    filename: str = ""


def file_records(
    files: Sequence[ImageFile],
    headers: Headers,
    classes: Sequence[str],
    conversion: Conversion,
    use_patient_id: bool = True,
) -> tuple[tuple[ImageRecord, ...], Identifiers]:
    """Makes the records of image files, with patients as numbers, and finds their identifiers.

    Args:
        headers: of those files that are DICOM, by path. They give further factors, and the patient
            where the data set gives none.
        classes: their names, which are no identifiers.
        use_patient_id: False if the patient is not to be taken from headers.
    """
    frames = [frame for file in files for frame in _frames(file, headers, conversion.frames)]
    found = [headers.get(split_frame(file.path)[0]) for file in frames]
    patients = [
        file.patient or _patient(file.path, header, use_patient_id)
        for file, header in zip(frames, found, strict=True)
    ]
    series = _numbers([header.series for header in found if header])
    records = numbered_patients(
        [
            _record(file, header, series, conversion)
            for file, header in zip(frames, found, strict=True)
        ],
        [patient or None for patient in patients],
    )
    identifiers = Identifiers(classes)
    known = {
        (file.patient, header and (header.identifiers, header.names), record.patient)
        for file, header, record in zip(frames, found, records, strict=True)
    }
    for patient, tags, number in sorted(known, key=str):
        texts, names = tags or ((), ())
        # A number that is the same hides nothing, such as those of a run's splits.csv.
        own = [patient] if patient and patient != number else []
        identifiers.add([*own, *texts], number or "unknown", names)
    return records, identifiers


def _frames(file: ImageFile, headers: Headers, frames: str) -> list[ImageFile]:
    header = headers.get(file.path)
    if header is None or frames != "all":
        return [file]
    ends = [path.removeprefix(file.path) for path in frame_paths(file.path, header.frames)]
    return [
        file._replace(
            path=file.path + end,
            shown=file.shown and file.shown + end,
            filename=file.filename and file.filename + end,
        )
        for end in ends
    ]


def _patient(path: str, header: dicom.Header | None, use_patient_id: bool) -> str:
    """The patient by a DICOM header. Without one there, all frames of a file are of one patient."""
    known = header.patient if header and use_patient_id else ""
    return known or (split_frame(path)[0] if header and header.frames > 1 else "")


def _numbers(names: Iterable[str]) -> dict[str, str]:
    ordered = sorted({*names})
    return {name: f"{n:0{len(str(len(ordered)))}}" for n, name in enumerate(ordered, 1)}


def _record(
    file: ImageFile, header: dicom.Header | None, series: Mapping[str, str], conversion: Conversion
) -> ImageRecord:
    factors = {**file.factors}
    if header:
        number = series[header.series] if header.series else ""
        factors = {**header.factors, "SeriesInstanceUID": number, **factors}
    return ImageRecord(
        filename=file.filename or os.path.basename(file.shown or file.path),
        label=file.label,
        split=file.split,
        path=file.shown or file.path,
        source=file.path if file.shown else "",
        read=functools.partial(read_image_file, file.path, conversion.window),
        factors=factors,
    )

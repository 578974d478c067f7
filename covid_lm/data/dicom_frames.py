"""Frames of DICOM files as paths, `FILE!3` for the third, and the headers of files."""

import os
import re
from collections.abc import Iterable, Sequence

from covid_lm.data import dicom
from covid_lm.data.image_files import EXTENSIONS
from covid_lm.data.windows import NotConverted
from covid_lm.errors import InputError
from covid_lm.files import check_file, is_remote, open_file
from covid_lm.layers.image_kinds import START_BYTES, kind_of

FRAMES = ("middle", "all")  # that are taken of a file of several
_FRAME = re.compile(r"(?s)(.+)!([1-9]\d{0,8})")


def split_frame(path: str) -> tuple[str, int | None]:
    """The file, and the frame from 0 that `FILE!3` names; None if `path` is a file itself."""
    match = _FRAME.fullmatch(path)
    if match is None or os.path.lexists(path):
        return path, None
    return match[1], int(match[2]) - 1


def frame_paths(path: str, num_frames: int) -> list[str]:
    """The paths of a DICOM file's frames, `FILE!1` and so on; of a single frame the file's own."""
    return [f"{path}!{n}" for n in range(1, num_frames + 1)] if num_frames > 1 else [path]


def find_headers(paths: Iterable[str]) -> dict[str, dicom.Header]:
    """The headers of those files that are DICOM, by path."""
    files = dict.fromkeys(split_frame(path)[0] for path in paths)
    return {path: header for path in files if (header := header_of(path))}


def header_of(path: str) -> dicom.Header | None:
    """The header of a DICOM file; None for other files and for one that can't be read.

    Files with an extension of another format are not opened.

    Raises:
        InputError: a DICOM file, but pydicom isn't installed.
    """
    extension = os.path.splitext(path)[1].lower()
    if extension in EXTENSIONS or (is_remote(path) and extension not in dicom.EXTENSIONS):
        return None
    try:
        if extension not in dicom.EXTENSIONS:
            check_file(path)
            with open_file(path) as file:
                start = file.read(START_BYTES)
            if not dicom.is_dicom(kind_of(start), start, path):
                return None
        return dicom.read_header(path)
    except OSError:
        return None
    except NotConverted as error:
        if str(error) == dicom.MISSING:
            raise InputError(f"{path}: {dicom.MISSING}") from None
        return None


def with_all_frames(paths: Sequence[str]) -> list[str]:
    """The paths, with those of all frames in place of a DICOM file of several.

    A file whose header can't be read stays as it is: reading it gives the reason.
    """
    headers = find_headers(paths)
    counts = [headers[path].frames if path in headers else 1 for path in paths]
    return [name for path, n in zip(paths, counts, strict=True) for name in frame_paths(path, n)]

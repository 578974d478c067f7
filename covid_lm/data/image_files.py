"""The image files below a folder: the one walk for data sets and for predictions.

Files and folders that systems and tools leave (hidden ones, `__MACOSX`, `@eaDir`, `Thumbs.db`)
are never images. Every other file is listed, either as an image or with the kind that it is of. A
file that is not regular is never opened.
"""

import collections
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from covid_lm.data import dicom
from covid_lm.data.windows import NotConverted
from covid_lm.errors import InputError, visible
from covid_lm.files import (
    IRREGULAR_KINDS,
    files_below,
    irregular_kind,
    is_remote,
    open_file,
    refuse_link_out,
)
from covid_lm.layers.image_kinds import (
    NAMED_KINDS,
    NOT_AN_IMAGE,
    START_BYTES,
    TIFF,
    kind_of,
)

MAX_FOLDERS = 1_000_000
# Extensions of files that count as images, although damaged, if their bytes are of no known kind.
EXTENSIONS = frozenset(
    (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".gif", ".bmp", ".dib", ".webp")
)
_LITTER = frozenset(
    {
        *("__macosx", "@eadir", "$recycle.bin", "#recycle", "system volume information"),
        *("lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini"),
    }
)
_LOOP, _NOTHING = "link to a folder above it", "link to nothing"
_SPECIAL = frozenset({*(kind.removeprefix("a ") for kind in IRREGULAR_KINDS), _LOOP, _NOTHING})


class FoundFiles(NamedTuple):
    """Files and folders below a folder, sorted.

    Attributes:
        images: paths of files that hold an image, or a damaged one.
        others: path and kind of every other file.
        folders: paths of all folders.
        headers: of those images that are DICOM files on disk.
    """

    images: list[str]
    others: list[tuple[str, str]]
    folders: list[str]
    headers: Mapping[str, dicom.Header]

    @property
    def predictable(self) -> list[str]:
        """Paths that a prediction answers, be it by a reason: not those of texts and archives."""
        answered = NAMED_KINDS | _SPECIAL | {dicom.MISSING, dicom.NO_IMAGE}
        return sorted([*self.images, *(path for path, kind in self.others if kind in answered)])

    def check_readable(self, root: str) -> None:
        """Raises InputError if all images are DICOM files, which an absent library reads."""
        if not self.images and any(kind == dicom.MISSING for _, kind in self.others):
            raise InputError(f"{root}: holds {dicom.MISSING}")


def find_images(root: str) -> FoundFiles:
    """Lists all files below a folder. Links inside it are followed.

    In a store, where each look at a file is a request, only its name is considered.

    Raises:
        UnusableFile: a link that leads out of it.
        InputError: more than `MAX_FOLDERS` folders.
    """
    folders: list[str] = []
    headers: dict[str, dicom.Header] = {}
    if is_remote(root):
        inside = os.path.join(root, "")
        paths = [p for p in files_below(root) if not _is_litter(p.removeprefix(inside))]
        kinds = [(path, _kind_by_name(path)) for path in paths]
        places = {os.path.dirname(path) for path in paths}
        while places:
            folders += places
            places = {os.path.dirname(place) for place in places if place.startswith(inside)}
        folders = [place for place in {*folders} if place.startswith(inside)]
    else:
        kinds = list(_walk(root, folders, headers))
    images = sorted(path for path, kind in kinds if not kind)
    others = sorted((path, kind) for path, kind in kinds if kind)
    return FoundFiles(images, others, sorted(folders), headers)


def skipped_line(others: Sequence[tuple[str, str]], root: str) -> str:
    """One line that counts files by kind and names the first; "" if there are none.

    Args:
        others: path and kind of each.
        root: folder that is left out of the name.
    """
    if not others:
        return ""
    counts = collections.Counter(kind for _, kind in others)
    listed = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    first = visible(others[0][0].removeprefix(os.path.join(root, "")))
    return f"skipped: {visible(listed)} (the first: {first})"


def _walk(
    root: str, folders: list[str], headers: dict[str, dicom.Header]
) -> Iterator[tuple[str, str]]:
    """Path and kind ("" for an image) of each file; adds to the folders and headers."""
    waiting = [(root, frozenset([_identity(root)]))]
    while waiting:
        folder, above = waiting.pop()
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not _is_litter(entry.name)]
        for entry in found:
            is_link = entry.is_symlink()
            if is_link:
                refuse_link_out(entry.path, root)
            if not (os.path.isdir(entry.path) if is_link else entry.is_dir()):
                yield entry.path, _kind(entry.path, headers)
            elif is_link and _identity(entry.path) in above:
                yield entry.path, _LOOP
            else:
                folders.append(entry.path)
                waiting.append((entry.path, above | {_identity(entry.path)}))
        if len(folders) > MAX_FOLDERS:
            raise InputError(f"{root}: more than {MAX_FOLDERS} folders, counted by every link")


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _is_litter(path: str) -> bool:
    return any(
        name.startswith(".") or name.lower() in _LITTER for name in path.split(os.sep) if name
    )


def _kind(path: str, headers: dict[str, dicom.Header]) -> str:
    """The kind of a local file, "" for an image and for a file that can't be looked at."""
    try:
        if kind := irregular_kind(os.stat(path)):
            return kind.removeprefix("a ")
        file = open_file(path)
    except OSError:
        return _NOTHING if os.path.islink(path) and not os.path.exists(path) else ""
    try:
        with file:
            start = file.read(START_BYTES)
            named = kind_of(start)
            if dicom.is_dicom(named, start, path):
                headers[path] = dicom.read_header(path)
                return ""
            if named == TIFF:
                from covid_lm.data.deep_images import is_deep_tiff  # needs numpy and Pillow

                return "" if is_deep_tiff(file) else TIFF
    except OSError:
        return ""
    except NotConverted as problem:
        return str(problem) if str(problem) in (dicom.MISSING, dicom.NO_IMAGE) else ""
    return _kind_by_name(path) if named == NOT_AN_IMAGE else named


def _kind_by_name(path: str) -> str:
    extension = os.path.splitext(path)[1].lower()
    if extension in EXTENSIONS or extension in dicom.EXTENSIONS:
        return ""
    return extension[1:].upper() if extension[1:].isalnum() else NOT_AN_IMAGE

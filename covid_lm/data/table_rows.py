"""Rows of a table that can't be used, and the images that rows name."""

import collections
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from covid_lm.data.dicom_frames import split_frame
from covid_lm.data.image_files import find_images
from covid_lm.errors import InputError, unescape, visible
from covid_lm.files import files_below, irregular_kind, is_remote, read_bytes, refuse_link_out

ESCAPED, DIGEST, MASKED = "escaped_path", "sha256", "masked_name"


class PathCells(NamedTuple):
    """Cells that name the images of a table, a text for each row.

    Attributes:
        path: of the file, as it is shown.
        escaped: `escape` of the path, where it is shown by other characters.
        digest: SHA-256 of the file's content, by which it is found if the path isn't the file's,
            which has an identifier of a patient.
        masked_name: `escape` of the name that models read of such a file.
    """

    path: list[str]
    escaped: list[str]
    digest: list[str]
    masked_name: list[str]

    @classmethod
    def of(cls, texts: pd.DataFrame, column: str) -> "PathCells":
        """The cells of a table of texts, with the paths in the given column."""
        none = [""] * len(texts)
        others = (texts[name].tolist() if name in texts else none for name in PATH_COLUMNS)
        return cls(texts[column].tolist(), *others)


PATH_COLUMNS = (ESCAPED, DIGEST, MASKED)


def refuse_rows(name: str, rows: Sequence[str], problems: Iterator[tuple[int, str]]) -> None:
    """Raises InputError for the first of the rows with a problem, and counts the others."""
    found = list(problems)
    if found:
        more = f" ({len(found)} such rows)" if len(found) > 1 else ""
        raise InputError(visible(f"{name}: {rows[found[0][0]]}: {found[0][1]}{more}"))


def image_paths(
    name: str, cells: PathCells, root: str, rows: Sequence[str]
) -> tuple[list[str], dict[int, tuple[str, str]]]:
    """The path of each row's image, which exists below `root` and is in no other row.

    Returns:
        The paths; and of each row whose file was found by its digest the path to show, and the name
        that models read, "" if unknown.
    """
    refuse_rows(name, rows, ((row, "no path") for row, text in enumerate(cells.path) if not text))
    escaped = _unescaped(name, ESCAPED, cells.escaped, rows)
    names = _unescaped(name, MASKED, cells.masked_name, rows)
    texts = [text or shown for text, shown in zip(escaped, cells.path, strict=True)]
    present = {*files_below(root)} if is_remote(root) else None
    check = _path_check(root, present)
    paths = [_below(text, root) for text in texts]
    for row, path in enumerate(paths):
        if "\\" in path and check(path):
            paths[row] = _below(texts[row].replace("\\", "/"), root)
    absent = [row for row, digest in enumerate(cells.digest) if digest and check(paths[row])]
    found = _found_by_content({row: paths[row] for row in absent}, cells.digest, root)
    hidden = {row: (_below(texts[row], root), names[row]) for row in found}
    paths = [found.get(row, path) for row, path in enumerate(paths)]
    refuse_rows(name, rows, ((row, p) for row, path in enumerate(paths) if (p := check(path))))
    first: dict[str, int] = {}
    for row, path in enumerate(paths):
        first.setdefault(path, row)
    problems = (
        (row, f"{texts[row]}: in {rows[first[path]]}, too; keep one of them")
        for row, path in enumerate(paths)
        if first[path] != row
    )
    refuse_rows(name, rows, problems)
    return paths, hidden


def _unescaped(name: str, column: str, cells: Sequence[str], rows: Sequence[str]) -> list[str]:
    texts, damaged = [], []
    for row, escaped in enumerate(cells):
        try:
            texts.append(unescape(escaped))
        except ValueError:
            damaged.append((row, f"{escaped!r} in column {column!r} has a damaged escape"))
    refuse_rows(name, rows, iter(damaged))
    return texts


def _found_by_content(
    paths: Mapping[int, str], digests: Sequence[str], root: str
) -> dict[int, str]:
    """The path of the file that has the content, for those rows with a path for which there is one.

    Of several files with the same content the rows get one after the other.
    """
    wanted = collections.defaultdict(list)
    for path in find_images(root).images if paths else ():
        wanted[file_digest(path)].append(path)
    used: collections.Counter = collections.Counter()
    found = {}
    for row, path in paths.items():
        frame = "".join(re.findall(r"![1-9]\d*$", path))
        files, place = wanted.get(digests[row], []), used[digests[row], frame]
        used[digests[row], frame] += 1
        if place < len(files):
            found[row] = files[place] + frame
    return found


def file_digest(path: str) -> str:
    """The SHA-256 digest of a file's content, hexadecimal; "" for a file that can't be read."""
    try:
        return hashlib.sha256(read_bytes(path)).hexdigest()
    except OSError:
        return ""


def _below(text: str, root: str) -> str:
    absolute = os.path.isabs(text)
    relative = os.path.relpath(text, root) if absolute else os.path.normpath(text)
    return os.path.join(root, relative)


def _path_check(root: str, present: set[str] | None) -> Callable[[str], str]:
    """Function from a path to the problem with it, "" for none."""
    checked: set[str] = set()
    inside = os.path.join(root, "")

    def check(path: str) -> str:
        relative = path.removeprefix(inside)
        if relative == ".." or relative.startswith("../"):
            return f"{relative}: leads out of {root}; give --image_root"
        path, _ = split_frame(path)
        if present is not None:
            return "" if path in present else f"{relative}: no such file below {root}"
        try:
            folder = os.path.dirname(path)
            status = os.lstat(path)
            if folder not in checked or stat.S_ISLNK(status.st_mode):
                refuse_link_out(path, root)
                checked.add(folder)
                status = os.stat(path)
        except InputError:
            return f"{relative}: a link out of {root}; put the file itself there"
        except (OSError, ValueError):
            return f"{relative}: no such file below {root}; correct it, or give --image_root"
        kind = irregular_kind(status)
        return f"{relative}: not a regular file ({kind})" if kind else ""

    return check

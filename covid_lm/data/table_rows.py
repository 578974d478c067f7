"""Rows of a table that can't be used, and the images that rows name."""

import collections
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence

from covid_lm.data.dicom_frames import split_frame
from covid_lm.data.image_files import find_images
from covid_lm.errors import InputError
from covid_lm.files import files_below, irregular_kind, is_remote, read_bytes, refuse_link_out


def refuse_rows(name: str, rows: Sequence[str], problems: Iterator[tuple[int, str]]) -> None:
    """Raises InputError for the first of the rows with a problem, and counts the others."""
    found = list(problems)
    if found:
        more = f" ({len(found)} such rows)" if len(found) > 1 else ""
        raise InputError(f"{name}: {rows[found[0][0]]}: {found[0][1]}{more}")


def image_paths(
    name: str,
    texts: Sequence[str],
    root: str,
    rows: Sequence[str],
    digests: Sequence[str],
) -> list[str]:
    """The path of each row's image, which exists below `root` and is in no other row.

    Args:
        digests: by which a file is found that has another name: SHA-256 of its content, or "".
    """
    refuse_rows(name, rows, ((row, "no path") for row, text in enumerate(texts) if not text))
    if any(digests):
        texts = _found_by_content(texts, digests, root)
    present = {*files_below(root)} if is_remote(root) else None
    check = _path_check(root, present)
    paths = [_below(text, root) for text in texts]
    for row, path in enumerate(paths):
        if "\\" in path and check(path):
            paths[row] = _below(texts[row].replace("\\", "/"), root)
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
    return paths


def _found_by_content(texts: Sequence[str], digests: Sequence[str], root: str) -> list[str]:
    """The texts, with the path of the file that has the content where there is a digest.

    Of several files with the same content the rows get one after the other.
    """
    wanted = collections.defaultdict(list)
    for path in find_images(root).images:
        wanted[file_digest(path)].append(os.path.relpath(path, root))
    used: collections.Counter = collections.Counter()
    found = []
    for text, digest in zip(texts, digests, strict=True):
        frame = "".join(re.findall(r"![1-9]\d*$", text))
        files = wanted.get(digest, [])
        place = used[digest, frame]
        used[digest, frame] += 1
        found.append(f"{files[place]}{frame}" if digest and place < len(files) else text)
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

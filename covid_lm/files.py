"""Access to files on disk and in a store such as gs://.

Paths with a scheme (`gs://bucket/...`) are opened by `tf.io.gfile`, all others by the operating
system, without importing TensorFlow. Every failure is an `OSError`. Local files are checked before
they are opened: one that isn't regular (a FIFO, a device), is sparse or too large is an
`UnusableFile`.

A store can't rename directories and has no locks. There, a file appears when its upload is
complete, and of a copied directory the file that readers look for is uploaded last.
"""

import contextlib
import errno
import functools
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, BinaryIO

from covid_lm.errors import UnusableFile, reason

# Largest files that are read, in bytes: an image or a list; a config; weights or a checkpoint.
FILE_BYTES, CONFIG_BYTES, WEIGHT_BYTES = 2**28, 2**24, 2**35
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a directory, or a link to one",
}
_OTHER_KIND = "a special file"
IRREGULAR_KINDS = frozenset((*_KINDS.values(), _OTHER_KIND))


def is_remote(path: str) -> bool:
    """True if the path has a scheme."""
    return "://" in path


def check_file(path: str, limit: int = FILE_BYTES) -> None:
    """Checks a local file without opening it, before a library does; in a store, nothing.

    Raises:
        UnusableFile: not a regular file, more than `limit` bytes, or sparse.
    """
    if is_remote(path):
        return
    status = os.stat(path)
    if kind := irregular_kind(status):
        raise UnusableFile(path, f"not a regular file ({kind})")
    _check_size(path, status.st_size, limit)
    # Where a file system compresses, or counts no blocks, a file has no hole.
    if status.st_size > max(2**20, 2 * 512 * status.st_blocks) and _has_hole(path):
        raise UnusableFile(path, f"sparse: holds fewer than half of its {status.st_size} bytes")


def irregular_kind(status: os.stat_result) -> str:
    """One of `IRREGULAR_KINDS`, or "" for a regular file."""
    kind = stat.S_IFMT(status.st_mode)
    return "" if kind == stat.S_IFREG else _KINDS.get(kind, _OTHER_KIND)


def _check_size(path: str, size: int, limit: int) -> None:
    if size > limit:
        raise UnusableFile(path, f"too large ({size} bytes; at most {limit} are read)")


def refuse_link_out(path: str, root: str) -> str:
    """Returns the path, after checking that no link leads out of the folder `root`.

    `root` itself may be a link.

    Raises:
        UnusableFile: a link leads out of it.
    """
    real_root = os.path.realpath(root)
    if os.path.commonpath([real_root, os.path.realpath(path)]) != real_root:
        raise UnusableFile(path, f"a link out of {root}; put the file itself there")
    return path


def _has_hole(path: str) -> bool:
    with open(path, "rb") as file:
        return os.lseek(file.fileno(), 0, os.SEEK_HOLE) < os.fstat(file.fileno()).st_size


def read_bytes(path: str, limit: int = FILE_BYTES) -> bytes:
    """The file's content; raises as `check_file`."""
    if is_remote(path):
        with _store(path) as gfile, gfile.GFile(path, "rb") as file:
            _check_size(path, file.size(), limit)
            return file.read()
    check_file(path, limit)
    with open_file(path) as file:
        return file.read(max(os.fstat(file.fileno()).st_size, 2**16) + 1)  # it may have no end


def open_file(path: str) -> BinaryIO:
    """Opens a local file for reading, without waiting if a FIFO has replaced it."""
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


def read_json(path: str) -> dict:
    """The JSON object in a config of at most `CONFIG_BYTES`.

    Raises:
        UnusableFile: other content, nested too deeply, or a number of too many digits.
    """
    return parse_json(read_bytes(path, CONFIG_BYTES), path)


def parse_json(content: bytes, path: str) -> dict:
    """The JSON object that is the content of a file, or one line of it; raises as `read_json`."""
    try:
        values = json.loads(content)
        problem = "" if isinstance(values, dict) else type(values).__name__
    except (ValueError, RecursionError) as error:
        problem = reason(error)
    if problem:
        raise UnusableFile(path, f"damaged, not a JSON object ({problem}); restore it")
    return values


@contextlib.contextmanager
def local_copy(path: str, limit: int = WEIGHT_BYTES) -> Iterator[str]:
    """A local path to the file's content, for readers of local files; raises as `check_file`."""
    if not is_remote(path):
        check_file(path, limit)
        yield path
        return
    with tempfile.TemporaryDirectory() as directory:
        copy = os.path.join(directory, os.path.basename(path))
        with _store(path) as gfile:
            gfile.copy(path, copy)
        yield copy


@contextlib.contextmanager
def atomic_write(path: str, suffix: str = "") -> Iterator[str]:
    """A local path to write to, whose file replaces `path` at the end.

    A file on disk is written next to `path`, flushed and renamed. On an error nothing changes.

    Args:
        suffix: end of both `path` and the local path, for writers that require it.
    """
    if is_remote(path):
        with tempfile.TemporaryDirectory() as directory:
            staged = os.path.join(directory, os.path.basename(path))
            yield staged
            make_directories(os.path.dirname(path))
            with _store(path) as gfile:
                gfile.copy(staged, path, overwrite=True)
        return
    staged = f"{path.removesuffix(suffix)}.part{suffix}"
    try:
        yield staged
        flush_to_disk(staged)
        os.replace(staged, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(staged)
        raise
    flush_to_disk(os.path.dirname(path) or ".")


@contextlib.contextmanager
def atomic_directory(path: str) -> Iterator[str]:
    """A directory to fill, which replaces the local directory `path` at the end."""
    parent, name = os.path.split(os.path.abspath(path))
    staging = os.path.join(parent, f".{name}.part")
    shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
    staged = os.path.join(staging, "new")
    os.makedirs(staged)
    try:
        yield staged
        if os.path.isdir(path):
            os.rename(path, os.path.join(staging, "old"))
        os.rename(staged, path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def list_names(directory: str) -> list[str]:
    """The names in a directory, sorted; raises FileNotFoundError or NotADirectoryError."""
    if not is_remote(directory):
        return sorted(os.listdir(directory))
    with _store(directory) as gfile:
        if not gfile.isdir(directory):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), directory)
        # A store's names of directories end in a slash.
        return sorted(name.rstrip("/") for name in gfile.listdir(directory))


def is_directory(path: str) -> bool:
    """True if the path is a directory."""
    return _call(os.path.isdir, "isdir", path)


def exists(path: str) -> bool:
    """True if the path is a file or directory."""
    return _call(os.path.exists, "exists", path)


def files_below(root: str) -> list[str]:
    """Paths of all files below a directory, sorted.

    A link to a directory below it is not followed, but one of the paths: it must not be read.
    """
    if is_remote(root):
        with _store(root) as gfile:
            tree = list(gfile.walk(root))
        return sorted(os.path.join(place, name) for place, _, names in tree for name in names)
    paths = []
    for place, folders, names in os.walk(root):
        paths += [os.path.join(place, name) for name in names]
        paths += filter(os.path.islink, (os.path.join(place, name) for name in folders))
    return sorted(paths)


def make_directories(path: str) -> None:
    """Makes a directory and its parents, unless they exist."""
    _call(functools.partial(os.makedirs, exist_ok=True), "makedirs", path)


def remove(path: str) -> None:
    """Removes a file."""
    _call(os.remove, "remove", path)


def remove_tree(path: str) -> None:
    """Removes a directory and its content; ignores errors."""
    if not is_remote(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError), _store(path) as gfile:
        if gfile.isdir(path):
            gfile.rmtree(path)


def copy_tree_to_store(source: str, target: str, last: str, left_out: Collection[str] = ()) -> None:
    """Copies a local or remote directory to a store, the file named `last` after all others.

    Args:
        left_out: paths in `source` that are not copied.
    """
    paths = set(files_below(source)).difference(left_out)
    for path in sorted(paths, key=lambda path: (os.path.basename(path) == last, path)):
        copy = os.path.join(target, os.path.relpath(path, source))
        make_directories(os.path.dirname(copy))
        with _store(copy) as gfile:
            gfile.copy(path, copy, overwrite=True)


def _call(on_disk: Callable[[str], Any], in_store: str, path: str) -> Any:
    """Calls `on_disk`, or the function of `tf.io.gfile` named `in_store` for a path in a store."""
    if not is_remote(path):
        return on_disk(path)
    with _store(path) as gfile:
        return getattr(gfile, in_store)(path)


@contextlib.contextmanager
def _store(path: str) -> Iterator:
    import tensorflow as tf

    try:
        yield tf.io.gfile
    except tf.errors.NotFoundError:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None
    except tf.errors.OpError as error:
        raise OSError(errno.EIO, error.message.splitlines()[0], path) from None


def flush_to_disk(path: str) -> None:
    """Writes a local file, or a directory's list of names, through to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: str, content: dict) -> None:
    """Writes the file atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_json_lines(path: str, lines: Sequence[dict]) -> None:
    """Writes one JSON object per line, the file atomically."""
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))


def write_text(path: str, text: str) -> None:
    """Writes the file atomically."""
    with atomic_write(path) as staged, open(staged, "w", encoding="utf-8") as file:
        file.write(text)

"""Weights by name, `hf://OWNER/NAME[@REVISION]`, from Hugging Face's hub or another HF_ENDPOINT.

The library `huggingface_hub` (extra `hub`) downloads them to its cache. It has the token, the
progress bar and HF_HUB_OFFLINE. A pickle, such as `pytorch_model.bin`, is never downloaded.
Imports no TensorFlow.
"""

import contextlib
import functools
import hashlib
import importlib.util
import os
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple, TypeGuard

from covid_lm.errors import InputError, RunError, reason

PREFIX = "hf://"
CONFIG_FILES = ("config.json", "bert_config.json")
_FORM = re.compile(r"hf://(\w[\w.-]*/\w[\w.-]*)(?:@(\w[\w./-]*))?", re.ASCII)
_COMMIT = re.compile("[0-9a-f]{40}")
_TF1_FILE = re.compile(r"[\w.-]+\.(?:index|data-\d{5}-of-\d{5})", re.ASCII)
_DIGESTS = {40: "SHA-1 of Git", 64: "SHA-256"}  # by the length of a file's ETag
_SECONDS = 10.0  # until the hub must answer


class HubWeights(NamedTuple):
    """Repository `OWNER/NAME` and revision: a branch, a tag, a commit, or None for `main`."""

    repository: str
    revision: str | None

    def __str__(self) -> str:
        revision = "" if self.revision is None else f"@{self.revision}"
        return f"{PREFIX}{self.repository}{revision}"

    @property
    def is_commit(self) -> bool:
        """True if the revision can only mean one version of the files."""
        return _COMMIT.fullmatch(self.revision or "") is not None


def is_hub_name(weights: str | None) -> TypeGuard[str]:
    """True for a value of `--weights` that names a repository rather than a directory."""
    return weights is not None and weights.startswith(PREFIX)


def repository_of(weights: str | None) -> str | None:
    """`OWNER/NAME` of weights by name; None for other ones."""
    return weights.removeprefix(PREFIX).partition("@")[0] if is_hub_name(weights) else None


def parse_hub_name(weights: str) -> HubWeights:
    """Repository and revision that `--weights=hf://...` names; accesses no network.

    Raises:
        InputError: another form, or the library is not installed.
    """
    found = _FORM.fullmatch(weights)
    if found is None or ".." in weights or "--" in found[1]:
        raise InputError(f"--weights={weights}: give {PREFIX}OWNER/NAME or ...@REVISION")
    if importlib.util.find_spec("huggingface_hub") is None:
        raise InputError(f"--weights={weights}: needs pip install 'covid_lm[hub]'")
    return HubWeights(found[1], found[2])


def pin(weights: str, stored: str | None = None) -> str:
    """The name with the commit that it means now; the files are in the cache then.

    Args:
        stored: value of `--weights` in the unfinished run that is resumed, if any. Its commit is
            taken if it is of the same repository and `weights` has no revision.

    Raises:
        InputError, RunError: as `hub_directory`.
    """
    name = parse_hub_name(weights)
    if stored is not None and _FORM.fullmatch(stored) and name.revision is None:
        before = parse_hub_name(stored)
        name = before if before.repository == name.repository else name
    name = HubWeights(name.repository, os.path.basename(hub_directory(str(name))))
    if not name.is_commit:
        raise RunError(f"--weights={name}: the hub names no commit; give a directory")
    return str(name)


def hub_directory(weights: str) -> str:
    """The directory of a commit in the cache: its config, vocabulary and weights, checked.

    A commit that is there needs no network. Without a network, a branch or tag means the commit
    that it meant when it was last downloaded.

    Raises:
        InputError: no such repository or revision, not an accessible one, or one without files
            that can be read.
        RunError: no answer from the hub, one that is not complete, or a file that is damaged.
    """
    name = parse_hub_name(weights)
    directory = _cached(name) if name.is_commit else None
    if directory is None:
        with _one_line_errors(name):
            directory = _download(name)
    for file in _needed_files(name, os.listdir(directory)):
        _check_digest(os.path.join(directory, file))
    return directory


def _download(name: HubWeights) -> str:
    import huggingface_hub as hub

    revision = name.revision or "main"
    try:
        info = hub.HfApi().model_info(name.repository, revision=revision, timeout=_SECONDS)
    except Exception as error:
        directory = _cached(name) if getattr(error, "response", None) is None else None
        if directory is None:
            raise
        print(f"--weights={name}: the hub can't be reached; using {os.path.basename(directory)}")
        return directory
    siblings = [sibling.rfilename for sibling in info.siblings or []]
    config, *others = _needed_files(name, siblings)
    # By the revision's own name, so that the cache knows its commit when there is no network.
    path = hub.hf_hub_download(name.repository, config, revision=revision)
    directory = os.path.dirname(path)
    for file in others:
        hub.hf_hub_download(name.repository, file, revision=os.path.basename(directory))
    return directory


def _cached(name: HubWeights) -> str | None:
    """The directory of the name's commit if the cache has all its files that are needed."""
    import huggingface_hub as hub

    for config in CONFIG_FILES:
        path = hub.try_to_load_from_cache(name.repository, config, revision=name.revision)
        if isinstance(path, str):
            directory = os.path.dirname(path)
            with contextlib.suppress(InputError):
                _needed_files(name, os.listdir(directory))
                return directory
    return None


def _needed_files(name: HubWeights, files: Collection[str]) -> list[str]:
    """Config, vocabulary and weights, in the order in which they are downloaded.

    The weights are those that `load_weights` takes. Of a TensorFlow checkpoint the index is the
    last one, so that a directory with an index has all its files.
    """
    configs = [file for file in CONFIG_FILES if file in files]
    place = f"--weights={name}"
    if not configs:
        raise InputError(f"{place}: neither {' nor '.join(CONFIG_FILES)}; name another repository")
    if "vocab.txt" not in files:
        raise InputError(f"{place}: no vocab.txt; name a repository with BERT's vocabulary")
    for file in ("model.safetensors", "tf_model.h5"):
        if file in files:
            return [configs[0], "vocab.txt", file]
    checkpoint = sorted(filter(_TF1_FILE.fullmatch, files))
    if not any(file.endswith(".index") for file in checkpoint):
        raise InputError(
            f"{place}: neither model.safetensors, tf_model.h5 nor a TensorFlow checkpoint, and a "
            "pickle such as pytorch_model.bin is never downloaded; name another @REVISION, or give "
            "the directory of converted weights"
        )
    return [configs[0], "vocab.txt", *checkpoint]


@functools.lru_cache
def _check_digest(path: str) -> None:
    """Compares a file in the cache with the digest that is its name among the blobs.

    Raises:
        RunError: another digest; the file is removed then.
    """
    if not os.path.islink(path):
        return  # on a file system without links, the cache has no digests
    digest = os.path.basename(os.readlink(path))
    if len(digest) not in _DIGESTS or re.fullmatch("[0-9a-f]+", digest) is None:
        return
    with open(path, "rb") as file:
        if len(digest) == 64:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            content = file.read()
            found = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    if found != digest:
        blob = os.path.join(os.path.dirname(path), os.readlink(path))
        for copy in (os.path.realpath(path), blob, path):
            with contextlib.suppress(OSError):
                os.remove(copy)
        raise RunError(
            f"{path}: damaged, its {_DIGESTS[len(digest)]} is {found} and not {digest}; it was "
            "removed, so repeat the command to download it again"
        )


@contextlib.contextmanager
def _one_line_errors(name: HubWeights) -> Iterator[None]:
    """Turns the errors of the library into one line each, and its warnings off meanwhile."""
    from huggingface_hub import constants, errors, logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    place, end = f"--weights={name}", constants.ENDPOINT
    try:
        yield
    except InputError:
        raise
    except errors.GatedRepoError:
        raise InputError(
            f"{place}: accept its terms at {end}/{name.repository}, and set HF_TOKEN"
        ) from None
    except errors.RevisionNotFoundError:
        raise InputError(f"{place}: no such revision at {end}; give another one") from None
    except errors.RepositoryNotFoundError:
        problem = f"no such repository at {end}, or a private one"
        raise InputError(f"{place}: {problem}; correct it, or set HF_TOKEN") from None
    except Exception as error:  # the library has another HTTP client in each of its versions
        raise RunError(f"{place}: {_failure(error, end)}") from None
    finally:
        logging.set_verbosity(verbosity)


def _failure(error: BaseException, endpoint: str) -> str:
    """A download's failure and what to do."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "not in the cache, and HF_HUB_OFFLINE is set; download it once without"
    while error.__cause__ is not None and getattr(error, "response", None) is None:
        error = error.__cause__
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        remedy = "check HF_TOKEN" if status in (401, 403) else "repeat the command later"
        return f"{endpoint} answers HTTP {status}; {remedy}"
    return f"no complete answer from {endpoint} ({reason(error)}); repeat the command"

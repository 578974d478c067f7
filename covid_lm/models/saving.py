"""A classifier's files in a run's directory: `config.json`, `vocab.txt` and the weights.

A file of weights ends with a digest, by which any damage to it is noticed.
"""

import dataclasses
import hashlib
import os

from covid_lm.backbones.configs import BackboneConfig
from covid_lm.backbones.vocabulary import read_vocabulary, write_vocabulary
from covid_lm.backbones.weights.hdf5 import load_hdf5_weights
from covid_lm.backbones.weights.write import save_checkpoint
from covid_lm.data.records import ImageDataset
from covid_lm.errors import InputError, UnusableFile, reason
from covid_lm.files import (
    atomic_write,
    is_remote,
    local_copy,
    make_directories,
    read_json,
    write_json,
)
from covid_lm.models.classifier import Classifier
from covid_lm.models.pixel_classifier import PixelClassifier, PixelClassifierConfig
from covid_lm.models.token_classifier import TokenClassifier, TokenClassifierConfig
from covid_lm.protocols import without_removed_options

WEIGHTS_FILE = os.path.join("checkpoints", "best.weights.h5")


def save_weights(classifier: Classifier, directory: str) -> None:
    """Writes the weights into a run's directory, atomically."""
    path = os.path.join(directory, WEIGHTS_FILE)
    make_directories(os.path.dirname(path))
    with atomic_write(path, suffix=".weights.h5") as staged:
        classifier.logits.save_weights(staged)
        append_digest(staged)


def save_encoder(classifier: TokenClassifier, directory: str) -> None:
    """Writes the encoder, without the head, as a directory for `--weights`; see `save_checkpoint`.

    Raises:
        OSError: the directory can't be written.
    """
    config = classifier.config.backbone
    save_checkpoint(
        directory, classifier.backbone, config, classifier.vocabulary, None, pooler=False
    )


def save_config(classifier: Classifier, directory: str, run: dict) -> None:
    """Writes `config.json`, with the classifier's config and `run`, and the vocabulary if any."""
    kind = "token" if classifier.reads_tokens else "pixel"
    config = {"classifier": {"kind": kind, **dataclasses.asdict(classifier.config)}, "run": run}
    write_json(os.path.join(directory, "config.json"), config)
    if isinstance(classifier, TokenClassifier):
        write_vocabulary(classifier.vocabulary, os.path.join(directory, "vocab.txt"))


def load_classifier(directory: str) -> Classifier:
    """Rebuilds the classifier of a finished run.

    Args:
        directory: `saved_models/NAME/run`.

    Raises:
        InputError: no run there, a damaged one, or one with an option that was removed.
    """
    try:
        values = dict(read_json(os.path.join(directory, "config.json"))["classifier"])
        if "members" in values:
            raise InputError(
                f"{directory}: an average of runs, which this version no longer reads; give one "
                "of its runs"
            )
        classifier = _untrained(without_removed_options(values, directory), directory)
    except FileNotFoundError:
        raise InputError(f"{directory}: no finished run (no config.json in it)") from None
    except InputError:
        raise
    except Exception as error:  # damaged values can raise almost any type
        raise InputError(f"{directory}/config.json: damaged ({reason(error)})") from None
    path = os.path.join(directory, WEIGHTS_FILE)
    try:
        with local_copy(path) as copy:
            check_digest(copy, required=False)  # older runs have none
            load_hdf5_weights(classifier.logits, copy)
    except UnusableFile as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except OSError as error:
        raise InputError(f"{path}: can't be loaded ({reason(error)})") from None
    return classifier


def load_for_dataset(directory: str, dataset: ImageDataset, flag: str) -> Classifier:
    """As `load_classifier`, after which the data set has the run's classes.

    Args:
        flag: what chose the run, as "--model=saved_models/run-1".

    Raises:
        InputError: also other classes.
    """
    classifier = load_classifier(directory)
    if dataset.classes != classifier.config.classes:
        raise InputError(
            f"{flag}: its classes are {', '.join(classifier.config.classes)}, but those of "
            f"{dataset.name} are {', '.join(dataset.classes)}"
        )
    return classifier


def _untrained(values: dict, directory: str) -> Classifier:
    """The classifier with initial weights, from the section `classifier` of `config.json`."""
    # Configs written before the key existed are recognized by the only field that differs.
    kind = values.pop("kind", "pixel" if "image_size" in values else "token")
    if kind == "pixel":
        return PixelClassifier(PixelClassifierConfig.from_dict(values))
    if kind != "token":
        raise ValueError(f"kind {kind!r}")
    vocabulary = read_vocabulary(os.path.join(directory, "vocab.txt"))
    config = TokenClassifierConfig.from_dict(values)
    _refuse_oversized(config.backbone, len(vocabulary), os.path.join(directory, WEIGHTS_FILE))
    return TokenClassifier(config, vocabulary)


def _refuse_oversized(backbone: BackboneConfig, words: int, path: str) -> None:
    """Raises ValueError for a damaged size, which would take all memory before weights are read."""
    width, inner = backbone.hidden_dim, backbone.intermediate_dim
    sizes = [width, inner, backbone.num_layers, backbone.max_sequence_length, backbone.num_heads]
    if not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError(f"sizes {sizes}")
    parameters = backbone.num_layers * (4 * width**2 + 2 * width * inner)
    parameters += backbone.max_sequence_length * width
    fits = is_remote(path) or not os.path.exists(path) or 4 * parameters <= os.path.getsize(path)
    if not fits or backbone.vocabulary_size != words:
        raise ValueError(f"sizes {sizes} with {words} words, of another model's weights")


def append_digest(path: str) -> None:
    """Ends a file with the SHA-256 digest of its content; readers of zip and HDF5 ignore it."""
    with open(path, "r+b") as file:
        file.write(hashlib.file_digest(file, "sha256").hexdigest().encode())


def check_digest(path: str, required: bool = True) -> None:
    """Raises UnusableFile for a file whose end is another digest or, if `required`, none.

    An end of mostly hexadecimal digits is a digest, be it a damaged one.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        remaining = os.fstat(file.fileno()).st_size - 2 * digest.digest_size
        while content := file.read(max(0, min(remaining, 2**20))):
            digest.update(content)
            remaining -= len(content)
        found = file.read()
    differs = found != digest.hexdigest().encode()
    hexadecimal = sum(byte in b"0123456789abcdef" for byte in found)
    if differs and (required or hexadecimal > len(found) // 2):
        raise UnusableFile(path, "its SHA-256 digest is missing or differs")

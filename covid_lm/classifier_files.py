"""A classifier's files in a run's directory: `config.json`, `vocab.txt` and the weights."""

import json
import os

from covid_lm.averaged_classifier import AnyClassifier, AveragedClassifier
from covid_lm.backbones.vocabulary import read_vocabulary, write_vocabulary
from covid_lm.classifier import Classifier, ClassifierConfig
from covid_lm.errors import InputError
from covid_lm.file_system import local_copy, make_directories, read_bytes, whole_file
from covid_lm.pixel_classifier import PixelClassifier, PixelClassifierConfig
from covid_lm.run_directory import write_json

WEIGHTS_FILE = os.path.join("checkpoints", "best.weights.h5")


def save_weights(classifier: AnyClassifier, directory: str) -> None:
    """Writes the weights below a run's directory, beside and then renamed."""
    path = os.path.join(directory, WEIGHTS_FILE)
    make_directories(os.path.dirname(path))
    with whole_file(path, suffix=".weights.h5") as staged:
        classifier.logits.save_weights(staged)


def save_config(classifier: AnyClassifier, directory: str, run: dict) -> None:
    """Writes `config.json`, the classifier's config and what `run` tells, and any vocabulary."""
    config = {"classifier": classifier.config.to_dict(), "run": run}
    write_json(os.path.join(directory, "config.json"), config)
    if classifier.reads_tokens:
        write_vocabulary(classifier.vocabulary, os.path.join(directory, "vocab.txt"))


def load_classifier(directory: str) -> AnyClassifier:
    """Rebuilds the classifier of a finished run.

    Args:
        directory: `saved_models/NAME/run`.

    Raises:
        InputError: no run there, or one that is damaged.
    """
    classifier: AnyClassifier
    try:
        values = json.loads(read_bytes(os.path.join(directory, "config.json")))["classifier"]
        if "members" in values:
            members = [_untrained(member, directory) for member in values["members"]]
            classifier = AveragedClassifier(members)
        else:
            classifier = _untrained(values, directory)
    except FileNotFoundError:
        raise InputError(f"{directory}: no finished run (no config.json in it)") from None
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{directory}/config.json: damaged ({error})") from None
    path = os.path.join(directory, WEIGHTS_FILE)
    try:
        with local_copy(path) as copy:
            classifier.logits.load_weights(copy)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: can't be loaded ({str(error).splitlines()[0]})") from None
    return classifier


def _untrained(values: dict, directory: str) -> Classifier | PixelClassifier:
    """A classifier without its weights, of what its config's `to_dict` gave."""
    if "image_size" in values:
        return PixelClassifier(PixelClassifierConfig.from_dict(values))
    vocabulary = read_vocabulary(os.path.join(directory, "vocab.txt"))
    return Classifier(ClassifierConfig.from_dict(values), vocabulary)

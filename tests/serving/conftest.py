"""Tiny exports, shared by all tests of serving, model servers for them, and image files."""

import functools
import os
import pathlib
from collections.abc import Iterator

import pytest
import tensorflow as tf

from covid_lm.data.records import ImageRecord
from covid_lm.models.classifier import predict_tokens
from covid_lm.models.token_classifier import TokenClassifier
from covid_lm.pipeline.decoded import decode_records
from covid_lm.serving.predict import image_files
from covid_lm.serving.saved_model import export_classifier
from tests.conftest import encode, random_picture
from tests.serving.model_server import ServedModel, serve
from tests.serving.tiny_model import tiny_classifier

POLICIES = ("masked", "fixed")
NAME = "tiny"
VERSION = 1

IMAGES = [
    encode(random_picture(30 + 9 * seed, 50 - 3 * seed, seed), ("PNG", "JPEG")[seed % 2])
    for seed in range(6)
]
NAMES = ["a.png", "Bb.jpg", "", "x" * 300, "%c, d.png", "é.jpg"]
RECORDS = tuple(
    ImageRecord(filename=name, label=0, split="test", path=name, read=lambda image=image: image)
    for name, image in zip(NAMES, IMAGES, strict=True)
)


@pytest.fixture(scope="session")
def classifiers() -> dict[str, TokenClassifier]:
    """A live model that reads file names and one that does not, by policy."""
    return {policy: tiny_classifier(policy) for policy in POLICIES}


@pytest.fixture(scope="session")
def live(classifiers):
    """By policy: tokens of RECORDS and the live model's probabilities for them."""
    results = {}
    for policy, classifier in classifiers.items():
        preprocessor = classifier.preprocessor()
        tokens = decode_records(RECORDS, preprocessor.image_input).tokenize(preprocessor).tokens
        results[policy] = tokens, predict_tokens(classifier, tokens)
    return results


@pytest.fixture(scope="session")
def version_dirs(classifiers, live, made_once) -> Iterator[dict[str, str]]:
    """The directories of the exported models, by policy; each of them is loaded once."""
    extra = {"config.json": {"run": 1}, "metrics.json": {"n": 2}}

    def make(root: pathlib.Path) -> dict[str, str]:
        directories = {}
        for policy, classifier in classifiers.items():
            directory = str(root / policy / NAME)
            directories[policy], difference = export_classifier(
                classifier, directory, RECORDS, live[policy][1], extra
            )
            assert difference < 1e-6
            assert directories[policy] == os.path.join(directory, str(VERSION))
        return directories

    found = made_once("exports", make)
    load, load_once = tf.saved_model.load, functools.cache(tf.saved_model.load)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            tf.saved_model, "load", lambda p: load_once(p) if p in found.values() else load(p)
        )
        yield found


@pytest.fixture(scope="session")
def served(version_dirs):
    """By policy: the model, and its addresses by interface, "grpc" and "rest"."""
    models = {p: ServedModel(NAME, VERSION, version_dirs[p], ("stable",)) for p in POLICIES}
    with serve(models["masked"]) as masked, serve(models["fixed"]) as fixed:
        addresses = {"masked": masked, "fixed": fixed}
        yield {
            policy: (models[policy], {"grpc": addresses[policy][0], "rest": addresses[policy][1]})
            for policy in POLICIES
        }


@pytest.fixture(scope="session")
def mixed_files(tmp_path_factory) -> list[str]:
    """Good images, a text, an empty file, half a PNG and a dangling link."""
    root = tmp_path_factory.mktemp("images")
    for number in range(5):
        name, image_format = (f"{number}.png", "PNG") if number % 2 else (f"{number}.jpg", "JPEG")
        pixels = random_picture(20 + number, 30, number)
        (root / name).write_bytes(encode(pixels, image_format))
    (root / "1-text.png").write_text("no image")
    (root / "2-empty.jpg").write_bytes(b"")
    (root / "3-half.png").write_bytes(encode(random_picture(64, 64))[:900])
    (root / "3-nowhere.png").symlink_to(root / "absent")
    not_utf8 = os.fsdecode(b"4-\xff\xe9 of another length.png")
    (root / not_utf8).write_bytes(encode(random_picture(9, 9)))
    return image_files([str(root)])

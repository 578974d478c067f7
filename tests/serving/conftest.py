"""Exports behind a model server, and files to ask about."""

import os

import pytest

from covid_lm.serving.predict import image_files
from covid_lm.serving.saved_model import write_saved_model
from tests.conftest import encode, random_picture
from tests.serving.model_server import ServedModel, serve
from tests.serving.tiny_model import tiny_classifier

POLICIES = ("masked", "fixed")
NAME = "tiny"
VERSION = 3


@pytest.fixture(scope="session")
def version_dirs(tmp_path_factory) -> dict[str, str]:
    """An export that reads file names and one that does not, by policy."""
    directories = {}
    for policy in POLICIES:
        directories[policy] = str(tmp_path_factory.mktemp(policy) / str(VERSION))
        write_saved_model(tiny_classifier(policy), directories[policy], {})
    return directories


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
    """Good images between a text, an empty file, half a PNG and a link to nowhere."""
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

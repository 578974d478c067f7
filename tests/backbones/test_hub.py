"""Weights by name, from a local server that speaks the hub's protocol."""

import contextlib
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from huggingface_hub import constants

from covid_lm.backbones.weights import hub
from covid_lm.backbones.weights.read import load_weights, read_config
from covid_lm.backbones.weights.shipped import shipped_backbone, shipped_directory
from covid_lm.cross_validate import cross_validate
from covid_lm.errors import InputError, RunError
from covid_lm.pretrain import pretrain
from covid_lm.training.build import build_token_classifier
from covid_lm.training.options import TrainingOptions
from covid_lm.training.pretraining_options import PretrainingOptions
from covid_lm.training.run_options import UNFINISHED
from covid_lm.training_run import train
from tests.backbones.conftest import write
from tests.conftest import REPOSITORY
from tests.file_server import COMMITS
from tests.hub_cache import local_hub

OLD, NEW = COMMITS
NAME = "hf://hfl/rbt3"
SMALL = {"config.json": b"{}", "vocab.txt": b"[PAD]\n", "model.safetensors": b"tensors" * 1000}
WEIGHTS = f"hfl/rbt3/resolve/{OLD}/model.safetensors"
LISTING = "api/models/hfl/rbt3/revision/main"


@pytest.fixture
def server(tmp_path):
    with local_hub(tmp_path / "cache") as server:
        server.add("hfl/rbt3", SMALL)
        yield server
    hub._check_digest.cache_clear()


def content(directory: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in pathlib.Path(directory).iterdir()}


def the_line(error: type[Exception], weights: str = NAME) -> str:
    with pytest.raises(error) as caught:
        hub.hub_directory(weights)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def read_files(directory) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in os.listdir(directory)}


@contextlib.contextmanager
def offline():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        yield


def test_downloads_what_is_needed_and_no_pickle(server):
    server.add("hfl/rbt3", {"pytorch_model.bin": b"pickle", "tf_model.h5": b"", "README.md": b""})
    directory = hub.hub_directory(NAME)
    assert content(directory) == SMALL
    assert os.path.basename(directory) == OLD
    assert not any("pytorch" in request for request in server.requests)


def test_a_generated_checkpoint_of_each_format(server, tmp_path, backbone, file_format):
    (tmp_path / "weights").mkdir()
    write(tmp_path / "weights", file_format)
    files = read_files(tmp_path / "weights")
    server.add("small/bert", {**files, "vocab.txt": b"word\n", "pytorch_model.bin": b"pickle"})
    directory = hub.hub_directory("hf://small/bert")
    assert content(directory) == {**files, "vocab.txt": b"word\n"}
    read_config(directory)
    assert load_weights(directory, backbone).path.startswith(directory)


def test_a_name_is_pinned_to_its_commit(server):
    assert hub.pin(NAME) == f"{NAME}@{OLD}"
    server.add("hfl/rbt3", {**SMALL, "vocab.txt": b"[UNK]\n"}, NEW)
    assert hub.pin(NAME) == f"{NAME}@{NEW}"
    assert hub.pin(NAME, f"{NAME}@{OLD}") == f"{NAME}@{OLD}"  # a resumed run's
    assert hub.pin(f"{NAME}@main", f"{NAME}@{OLD}") == f"{NAME}@{NEW}"
    assert hub.pin(NAME, f"hf://hfl/rbtl3@{OLD}") == hub.pin(NAME, "DIR") == f"{NAME}@{NEW}"


def test_an_unfinished_run_keeps_its_commit(server, tmp_path):
    chosen = TrainingOptions(weights=NAME, name="run", output_dir=str(tmp_path))
    assert chosen.backbone == "rbt3"
    assert chosen.with_pinned_weights().weights == f"{NAME}@{OLD}"
    server.add("hfl/rbt3", SMALL, NEW)
    (tmp_path / "run" / UNFINISHED).mkdir(parents=True)
    config = tmp_path / "run" / UNFINISHED / "config.json"
    config.write_text(json.dumps({"run": {"weights": f"{NAME}@{OLD}"}}))
    assert chosen.with_pinned_weights().weights == f"{NAME}@{OLD}"
    config.write_text("[]")
    pinned = chosen.with_pinned_weights()
    assert pinned.weights == f"{NAME}@{NEW}"
    assert pinned.command == f"python tools/train.py --weights={NAME}@{NEW}"
    with pytest.raises(InputError, match=f"holds a run with --weights={NAME}@{OLD} .now --weights"):
        pinned.check_resumable({"weights": f"{NAME}@{OLD}", "backbone": "rbt3"}, "run")


def test_a_classifier_starts_from_them(server):
    layout = "patches128x8"
    server.add("o/n", read_files(pathlib.Path(shipped_directory(layout))))
    same = {"layout": layout, "protocol": "absent", "backbone": shipped_backbone(layout)}
    classifiers = []
    for weights in ("hf://o/n", "shipped"):
        keras.utils.set_random_seed(0)  # of what the weights lack
        classifiers.append(build_token_classifier(TrainingOptions(weights=weights, **same)))
    pairs = zip(*(classifier.backbone.weights for classifier in classifiers), strict=True)
    assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in pairs)
    assert classifiers[0].config.weights == "hf://o/n"


def test_a_commit_in_the_cache_needs_no_network(server):
    directory = hub.hub_directory(NAME)
    server.requests.clear()
    assert hub.hub_directory(f"{NAME}@{OLD}") == directory
    assert server.requests == []
    with offline():
        assert hub.pin(NAME) == f"{NAME}@{OLD}"


def test_without_a_network_the_last_commit_counts(server, monkeypatch, capsys):
    directory = hub.hub_directory(NAME)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert hub.hub_directory(NAME) == directory
    assert capsys.readouterr().out == f"--weights={NAME}: the hub can't be reached; using {OLD}\n"


def test_a_cache_without_all_files_is_completed(server):
    directory = hub.hub_directory(NAME)
    os.remove(os.path.join(directory, "model.safetensors"))
    assert hub.hub_directory(f"{NAME}@{OLD}") == directory
    assert content(directory) == SMALL


def test_an_answer_that_is_cut_is_requested_again(server):
    server.cut[WEIGHTS] = 5000, False
    assert content(hub.hub_directory(NAME)) == SMALL
    assert server.requests.count(f"GET {WEIGHTS}") == 2


def test_an_answer_that_stays_cut(server, tmp_path):
    server.sizes[WEIGHTS], server.cut[WEIGHTS] = 9000, (5000, True)
    assert the_line(RunError).startswith(f"--weights={NAME}: no complete answer from {server.url}")
    assert len(server.requests) < 20
    assert not list(tmp_path.rglob("model.safetensors"))


@pytest.mark.parametrize(
    ("file", "digest"), [("model.safetensors", "0" * 64), ("vocab.txt", "0" * 40)]
)
def test_a_file_with_another_digest_is_removed(server, tmp_path, file, digest):
    path = f"hfl/rbt3/resolve/{OLD}/{file}"
    server.etags[path] = digest
    line = the_line(RunError)
    assert f"/snapshots/{OLD}/{file}: damaged, its SHA-" in line
    assert line.endswith("it was removed, so repeat the command to download it again")
    assert not list(tmp_path.rglob(file)) + list(tmp_path.rglob(digest))
    del server.etags[path]
    assert content(hub.hub_directory(NAME)) == SMALL


def test_a_file_that_is_damaged_in_the_cache(server):
    directory = hub.hub_directory(NAME)
    hub._check_digest.cache_clear()
    with open(os.path.realpath(os.path.join(directory, "model.safetensors")), "r+b") as file:
        file.write(b"T")
    assert "model.safetensors: damaged" in the_line(RunError, f"{NAME}@{OLD}")
    assert content(hub.hub_directory(f"{NAME}@{OLD}")) == SMALL


def test_a_file_that_several_models_share(server, tmp_path, backbone):
    (tmp_path / "weights").mkdir()
    write(tmp_path / "weights", "safetensors")
    server.add("o/n", {**read_files(tmp_path / "weights"), "vocab.txt": b"word\n"})
    directory = hub.hub_directory("hf://o/n")
    blob = os.path.realpath(os.path.join(directory, "model.safetensors"))
    shared = tmp_path / "cache" / "blobs" / "ab" / "abcd"
    shared.parent.mkdir(parents=True)
    os.rename(blob, shared)
    os.symlink(shared, blob)
    load_weights(hub.hub_directory(f"hf://o/n@{OLD}"), backbone)
    os.rename(shared, tmp_path / "elsewhere")
    os.remove(blob)
    os.symlink(tmp_path / "elsewhere", blob)
    with pytest.raises(InputError, match=r"model.safetensors: a link out of "):
        load_weights(directory, backbone)


@pytest.mark.parametrize(
    ("weights", "status", "error", "text"),
    [
        ("hf://hfl/rbt4", {}, InputError, "no such repository at URL, or a private one; correct"),
        (f"{NAME}@v2", {}, InputError, "no such revision at URL; give another one"),
        (NAME, {LISTING: 429}, RunError, "URL answers HTTP 429; repeat the command later"),
        (NAME, {WEIGHTS: 429}, RunError, "URL answers HTTP 429; repeat the command later"),
        (NAME, {LISTING: 500}, RunError, "URL answers HTTP 500; repeat the command later"),
        (NAME, {LISTING: 403}, RunError, "URL answers HTTP 403; check HF_TOKEN"),
    ],
)
def test_each_refusal_of_the_hub_is_one_line(server, tmp_path, weights, status, error, text):
    server.statuses = status
    line = the_line(error, weights)
    assert line.replace(server.url, "URL").startswith(f"--weights={weights}: {text}")
    assert len(server.requests) <= 15
    assert not list(tmp_path.rglob("model.safetensors"))


@pytest.mark.parametrize(
    ("run", "options"),
    [(train, TrainingOptions), (cross_validate, TrainingOptions), (pretrain, PretrainingOptions)],
)
def test_a_run_ends_before_it_writes_anything(server, tmp_path, run, options):
    chosen = options(weights="hf://hfl/rbt4", output_dir=str(tmp_path / "runs"))
    with pytest.raises(InputError, match="--weights=hf://hfl/rbt4: no such repository at http"):
        run(chosen)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_the_tool_with_the_variables_of_the_hub(server, tmp_path):
    server.add("o/n", read_files(pathlib.Path(shipped_directory("patches128x8"))))
    flags = ["--layout=patches128x8", "--protocol=absent", "--backbone=4x128", "--max_images=8"]
    flags += ["--epochs=1", "--name=run", f"--output_dir={tmp_path / 'runs'}"]
    command = [sys.executable, "tools/train.py", "--weights=hf://o/n", *flags]
    env = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "hub")}
    process = subprocess.run(
        command, cwd=REPOSITORY, env=env, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    config = json.loads((tmp_path / "runs" / "run" / "run" / "config.json").read_text())
    assert config["run"]["weights"] == f"hf://o/n@{OLD}"
    assert f"4x128: 971,486 parameters, hf://o/n@{OLD}" in process.stdout
    env["HF_HUB_OFFLINE"] = "1"
    command[2] = "--weights=hf://o/m"
    process = subprocess.run(
        command, cwd=REPOSITORY, env=env, capture_output=True, text=True, check=False
    )
    text = "not in the cache, and HF_HUB_OFFLINE is set; download it once without"
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr == f"train.py: --weights=hf://o/m: {text}\n"


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"pytorch_model.bin": b""}, "neither model.safetensors, tf_model.h5 nor a TensorFlow"),
        ({"vocab.txt": None}, "no vocab.txt"),
        ({"config.json": None}, "neither config.json nor bert_config.json"),
    ],
)
def test_a_repository_that_lacks_a_file(server, files, text):
    kept = {} if "pytorch_model.bin" in files else {"model.safetensors": b""}
    files = {"config.json": b"{}", "vocab.txt": b"", **kept, **files}
    server.add("o/n", {name: data for name, data in files.items() if data is not None})
    assert the_line(InputError, "hf://o/n").startswith(f"--weights=hf://o/n: {text}")
    assert not any("HEAD" in request for request in server.requests)


def test_no_network(server, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    text = f"--weights={NAME}: no complete answer from http://127.0.0.1:9 ("
    assert the_line(RunError).startswith(text)
    with offline():
        text = "not in the cache, and HF_HUB_OFFLINE is set; download it once without"
        assert the_line(RunError) == f"--weights={NAME}: {text}"


@pytest.mark.parametrize(
    "weights", ["hf://rbt3", "hf://a/b/c", "hf://a/../b", "hf://a/b@", "hf://a/b@../c", "hf:///b"]
)
def test_a_name_of_another_form(weights):
    with pytest.raises(InputError) as error:
        TrainingOptions(weights=weights)
    assert str(error.value) == f"--weights={weights}: give hf://OWNER/NAME or ...@REVISION"


def test_the_library_is_an_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError) as error:
        TrainingOptions(weights=NAME)
    assert str(error.value) == f"--weights={NAME}: needs pip install 'covid_lm[hub]'"


def test_convolutional_networks_have_no_such_weights():
    with pytest.raises(InputError, match=f"--weights={NAME}: of a BERT; --backbone=resnet50 takes"):
        TrainingOptions(weights=NAME, backbone="resnet50", protocol="absent")

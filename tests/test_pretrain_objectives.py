"""Pre-training of patches: from a teacher's features and from masked bytes."""

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import shutil
import signal
from typing import NamedTuple

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

from covid_lm import pretrain as pretraining
from covid_lm.backbones import convolutional, parallel_parts
from covid_lm.backbones.convolutional import TEACHER
from covid_lm.errors import InputError
from covid_lm.objectives import bytes as byte_objective
from covid_lm.objectives import objective as base
from covid_lm.objectives import teacher as teacher_objective
from covid_lm.pipeline import teacher_targets
from covid_lm.pretrain import PretrainingResult, pretrain
from covid_lm.training.build import build_classifier
from covid_lm.training.options import TrainingOptions
from covid_lm.training.pretraining_options import PretrainingOptions
from covid_lm.training.termination import Terminated

WIDTH = 6


def options(image_folder, directory, objective="teacher", **changes) -> PretrainingOptions:
    settings = {
        "datasets": ("folder",),
        "data_dirs": (str(image_folder),),
        "objective": objective,
        "backbone": "1x64",
        "layout": "patches32x8",
        "protocol": "absent",
        "epochs": 2,
        "batch_size": 12,
        "learning_rate": 3e-3,
        "output_dir": str(directory),
        "name": "run-1",
    }
    if objective == "teacher":
        settings |= {"teacher": str(pathlib.Path(directory) / "teacher"), "crops": 2}
    return PretrainingOptions(**{**settings, **changes})


@pytest.fixture(autouse=True, scope="module")
def small_teacher(tmp_path_factory):
    """A teacher of one convolution, whose weights file is any file."""

    def constructor(include_top, weights, input_shape, pooling):
        start = keras.initializers.RandomNormal(stddev=0.2, seed=1)
        inputs = keras.Input(input_shape)
        x = keras.layers.Conv2D(WIDTH, 16, strides=16, kernel_initializer=start)(inputs)
        return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(keras.ops.abs(x)))

    weights = tmp_path_factory.mktemp("teacher") / "weights"
    weights.write_bytes(b"teacher")
    small = constructor, convolutional.scale_pixels
    with pytest.MonkeyPatch.context() as patch:
        for module in (convolutional, teacher_objective):
            patch.setattr(module, "teacher_weights", lambda source: str(weights))
        patch.setattr(convolutional, "load_efficientnet", lambda network, path: None)
        patch.setitem(convolutional._NETWORKS, TEACHER, small)
        patch.setattr(teacher_objective, "FEATURES", WIDTH)
        yield


@pytest.fixture(scope="module")
def data(image_folder, tmp_path_factory) -> pathlib.Path:
    """The folder, with a copy of a test image among the training and the validation images."""
    root = tmp_path_factory.mktemp("data") / "images"
    shutil.copytree(image_folder, root)
    for split in ("train", "val"):
        copy = root / split / "dark" / "a_test_image.png"
        shutil.copy(root / "test" / "bright" / "b000.png", copy)
    return root


class Finished(NamedTuple):
    """A finished run with what it printed, and the content of each file that was decoded."""

    objective: str
    result: PretrainingResult
    directory: pathlib.Path
    printed: str
    read: list[bytes]


@pytest.fixture(scope="module", params=["teacher", "bytes"])
def finished(request, data, tmp_path_factory) -> Finished:
    directory = tmp_path_factory.mktemp(request.param)
    read: list[bytes] = []

    def noted(records, *arguments, **more):
        read.extend(record.read() for record in records)
        return decode(records, *arguments, **more)

    decode = teacher_targets.decode_records
    printed = io.StringIO()
    cache = str(directory / "cache")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        for module in (teacher_targets, teacher_objective, byte_objective):
            patch.setattr(module, "decode_records", noted)
        result = pretrain(options(data, directory, request.param, cache_dir=cache))
    return Finished(request.param, result, directory, printed.getvalue(), read)


def test_files_and_figures_of_a_run(finished):
    metrics, run_dir = finished.result.metrics, finished.directory / "run-1" / "run"
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == metrics["epochs"]
    errors = [line["train"]["error"] for line in metrics["epochs"]]
    assert errors[1] < errors[0]
    assert metrics["objective"] == finished.objective
    if finished.objective == "bytes":
        assert (metrics["patches"], metrics["masked"]) == (16, 10)
        assert 0 < metrics["trivial_predictors"]["val"]["visible_mean"] < 0.2
        return
    (features,) = (finished.directory / "cache").glob("targets-*/features")  # chosen, so kept
    features = np.fromfile(features, np.float16)
    assert features.size == metrics["crops"] * WIDTH == 24 * 2 * WIDTH
    for line in metrics["epochs"]:
        assert line["train"]["r2"] == pytest.approx(1 - line["train"]["error"])
        assert line["val"].keys() == {"error", "r2"}


def test_no_test_image_is_seen(finished, data):
    """Test images are neither decoded for crops nor for masks, not even a copy among the others."""
    held_out = {path.read_bytes() for path in (data / "test").rglob("*.*")}
    assert len({*finished.read}) == {"teacher": 24 + 8, "bytes": 24}[finished.objective]
    assert held_out.isdisjoint(finished.read)
    assert finished.printed.count("left out, it is a test image too: ") == 2


def test_training_starts_from_the_weights(finished):
    weights = finished.result.weights_dir
    fine_tuning = TrainingOptions(
        backbone="1x64", layout="patches32x8", protocol="absent", weights=weights
    )
    classifier = build_classifier(fine_tuning, ("bright", "dark"))
    stored = load_file(f"{weights}/model.safetensors")["bert.embeddings.position_embeddings.weight"]
    found = classifier.backbone.position_embedding.position_embeddings
    np.testing.assert_array_equal(found, stored)


@pytest.mark.slow  # test_pretrain has `words`
@pytest.mark.parametrize("finished", ["teacher", "bytes"], indirect=True)
def test_an_interrupted_run_equals_another_bit_for_bit(finished, data, tmp_path, monkeypatch):
    def send_sigterm(*arguments) -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return ""

    chosen = options(data, tmp_path, finished.objective)
    with monkeypatch.context() as inner:
        inner.setattr(pretraining.OBJECTIVES[finished.objective], "epoch_text", send_sigterm)
        with pytest.raises(Terminated, match="saved after epoch 1, step 1"):
            pretrain(chosen)
    resumed = pretrain(chosen)
    assert sorted(os.listdir(tmp_path / "run-1")) == ["run", "weights"]
    results = finished.result, resumed
    for one, two in zip(*(result.metrics["epochs"] for result in results), strict=True):
        assert {**one, "seconds": 0} == {**two, "seconds": 0}
    files = [pathlib.Path(result.weights_dir, "model.safetensors") for result in results]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("channels", [1, 3])
def test_halves_of_a_batch_have_the_features_of_the_whole(monkeypatch, channels):
    pixels = np.random.default_rng(2).integers(0, 256, (5, 32, 32, channels), dtype=np.uint8)
    features = []
    for halves in (True, False):
        monkeypatch.setattr(parallel_parts, "two_parts", lambda halves=halves: halves)
        teacher = teacher_objective.TeacherNetwork("weights", 32, channels)
        features.append(teacher.predict_on_batch(pixels))
    assert features[0].shape == (5, WIDTH)
    assert len(np.unique(features[0], axis=0)) == 5
    np.testing.assert_array_equal(*features)


def test_lines_and_text_of_an_epoch():
    metrics = {"epoch": 2, "seconds": 3.4, "error": 0.5, "val_error": 0.75, "loss": 1}
    line = base.split_line(metrics, "error")
    expected = {"epoch": 2, "seconds": 3.4, "train": {"error": 0.5}, "val": {"error": 0.75}}
    assert line == expected
    assert base.split_text(line, 4) == "epoch 2/4: train error 0.5000; val error 0.7500 (3 s)"
    del metrics["val_error"]
    assert "val" not in base.split_line(metrics, "error")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "words"}, "--objective=words: only for tokens of one byte; use bytes or te"),
        (
            {"objective": "bytes", "layout": "gray22"},
            "--objective=bytes: only for layouts of patches, such as --layout=patches64x8",
        ),
        (
            {"layout": "gray22", "objective": None, "augment": "light"},
            "--augment=light: not with --objective=words",
        ),
        ({"mask_rate": 0.5}, "--mask_rate=0.5: not with --objective=teacher"),
        ({"tpu": "grpc://h:1"}, "--tpu=grpc://h:1: not with --objective=teacher, whose files are"),
        ({"crops": 0}, "--crops=0: must be at least 1"),
    ],
)
def test_options_that_do_not_go_together(image_folder, tmp_path, changes, message):
    with pytest.raises(InputError) as error:
        options(image_folder, tmp_path, **changes)
    assert str(error.value).startswith(message)


def test_defaults_follow_from_layout_and_objective():
    def derived(**settings):
        chosen = PretrainingOptions(**settings)
        return chosen.objective, chosen.mask_rate, chosen.augment

    assert derived() == ("words", 0.15, "none")
    assert derived(layout="patches64x8") == ("bytes", 0.6, "heavy")
    assert derived(objective="teacher") == ("teacher", None, "heavy")
    command = PretrainingOptions(layout="patches64x8", mask_rate=0.6).command
    assert command == "python tools/pretrain.py --layout=patches64x8"


def test_a_schedule_fixes_the_number_of_epochs():
    constant = PretrainingOptions(epochs=3)
    dataclasses.replace(constant, epochs=4).check_resumable(dataclasses.asdict(constant), "here")
    cosine = PretrainingOptions(epochs=3, schedule="cosine")
    with pytest.raises(
        InputError, match=r"^here: holds a run with --epochs=3 \(now --epochs=4\); repeat"
    ):
        dataclasses.replace(cosine, epochs=4).check_resumable(dataclasses.asdict(cosine), "here")

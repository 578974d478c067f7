"""Pre-training of patches: from a teacher's features and from masked bytes."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

from covid_lm import pretrain as pretraining
from covid_lm.backbones import convolutional
from covid_lm.backbones.convolutional import TEACHER
from covid_lm.errors import InputError
from covid_lm.objectives import objective as base
from covid_lm.objectives import teacher as teacher_objective
from covid_lm.pretrain import pretrain
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


@pytest.fixture(autouse=True)
def small_teacher(monkeypatch, tmp_path_factory):
    """A teacher of one convolution, whose weights file is any file."""

    def constructor(include_top, weights, input_shape, pooling):
        start = keras.initializers.RandomNormal(stddev=0.2, seed=1)
        inputs = keras.Input(input_shape)
        x = keras.layers.Conv2D(WIDTH, 16, strides=16, kernel_initializer=start)(inputs)
        return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(keras.ops.abs(x)))

    weights = tmp_path_factory.mktemp("teacher") / "weights"
    weights.write_bytes(b"teacher")
    for module in (convolutional, teacher_objective):
        monkeypatch.setattr(module, "teacher_weights", lambda source: str(weights))
    monkeypatch.setattr(convolutional, "load_efficientnet", lambda network, path: None)
    monkeypatch.setitem(convolutional._NETWORKS, TEACHER, (constructor, convolutional.scale_pixels))
    monkeypatch.setattr(teacher_objective, "FEATURES", WIDTH)


def check_files(directory, result, objective) -> None:
    """Checks the files and figures of a finished run."""
    metrics, run_dir = result.metrics, directory / "a" / "run-1" / "run"
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == metrics["epochs"]
    errors = [line["train"]["error"] for line in metrics["epochs"]]
    assert errors[1] < errors[0]
    assert metrics["objective"] == objective
    if objective == "bytes":
        assert (metrics["patches"], metrics["masked"]) == (16, 10)
        assert 0 < metrics["trivial_predictors"]["val"]["visible_mean"] < 0.2
        return
    (folder,) = os.listdir(directory / "cache")  # kept, because it was chosen
    features = np.fromfile(directory / "cache" / folder / "features", np.float16)
    assert features.size == metrics["crops"] * WIDTH == 24 * 2 * WIDTH
    for line in metrics["epochs"]:
        assert line["train"]["r2"] == pytest.approx(1 - line["train"]["error"])
        assert line["val"].keys() == {"error", "r2"}


@pytest.mark.parametrize("objective", ["teacher", "bytes"])
def test_a_run_interrupted_and_not(image_folder, tmp_path, monkeypatch, objective):
    """An interrupted run, resumed, equals another run bit for bit; training starts from both."""
    cache = str(tmp_path / "cache") if objective == "teacher" else None
    first = pretrain(options(image_folder, tmp_path / "a", objective, cache=cache))
    check_files(tmp_path, first, objective)

    def send_sigterm(*arguments) -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return ""

    chosen = options(image_folder, tmp_path / "b", objective)
    with monkeypatch.context() as inner:
        inner.setattr(pretraining.OBJECTIVES[objective], "epoch_text", send_sigterm)
        with pytest.raises(Terminated, match="saved after epoch 1, step 1"):
            pretrain(chosen)
    second = pretrain(chosen)
    assert sorted(os.listdir(tmp_path / "b" / "run-1")) == ["run", "weights"]
    for one, two in zip(first.metrics["epochs"], second.metrics["epochs"], strict=True):
        assert {**one, "seconds": 0} == {**two, "seconds": 0}
    files = [f"{result.weights_dir}/model.safetensors" for result in (first, second)]
    assert pathlib.Path(files[0]).read_bytes() == pathlib.Path(files[1]).read_bytes()

    fine_tuning = TrainingOptions(
        backbone="1x64", layout="patches32x8", protocol="absent", weights=first.weights_dir
    )
    classifier = build_classifier(fine_tuning, ("bright", "dark"))
    stored = load_file(files[0])["bert.embeddings.position_embeddings.weight"]
    found = classifier.backbone.position_embedding.position_embeddings
    np.testing.assert_array_equal(found, stored)


def test_no_test_image_is_seen(image_folder, tmp_path, monkeypatch, capsys):
    """Test images are neither decoded for crops nor for masks, not even a copy among the others."""
    data = tmp_path / "data"
    shutil.copytree(image_folder, data)
    for split in ("train", "val"):
        copy = data / split / "dark" / "a_test_image.png"
        shutil.copy(data / "test" / "bright" / "b000.png", copy)
    held_out = {path.read_bytes() for path in (data / "test").rglob("*.*")}
    seen: set[bytes] = set()

    def noted(records, *arguments, **more):
        seen.update(record.read() for record in records)
        return decode(records, *arguments, **more)

    from covid_lm.objectives import bytes as byte_objective
    from covid_lm.pipeline import teacher_targets

    decode = teacher_targets.decode_records
    for module in (teacher_targets, teacher_objective, byte_objective):
        monkeypatch.setattr(module, "decode_records", noted)
    for objective, count in (("teacher", 24 + 8), ("bytes", 24)):
        seen.clear()
        directory = tmp_path / objective
        pretrain(options(data, directory, objective, epochs=1))
        assert len(seen) == count
        assert seen.isdisjoint(held_out)
        out = capsys.readouterr().out
        assert out.count("left out, it is a test image too: ") == 2


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
        (
            {"output_dir": "gs://bucket"},
            "--output_dir=gs://bucket: with --objective=teacher, give a --cache on this machine",
        ),
        ({"cache": "gs://bucket"}, "--cache=gs://bucket: must be on this machine"),
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

"""Training on a small folder: results, export, versions, refusals."""

import dataclasses
import json
import os
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.util import event_pb2

from covid_lm.data.folder import folder
from covid_lm.errors import InputError, RunError
from covid_lm.models.classifier import predict_tokens
from covid_lm.models.saving import load_classifier
from covid_lm.pipeline.decoded import DecodedRecords, decode_records
from covid_lm.serving.saved_model import export_difference
from covid_lm.training.batch_size import default_batch_size
from covid_lm.training.build import build_classifier
from covid_lm.training.inputs import check_reachable
from covid_lm.training.options import TrainingOptions
from covid_lm.training_run import decode_splits, train


def options(image_folder, tmp_path, **changes) -> TrainingOptions:
    settings = {
        "dataset": "folder",
        "data_dir": image_folder,
        "backbone": "1x64",
        "epochs": 1,
        "batch_size": 4,
        "learning_rate": 3e-3,
        "output_dir": str(tmp_path),
        "name": "run-1",
    }
    return TrainingOptions(**{**settings, **changes})


FROZEN = {"frozen": True, "epochs": 8, "batch_size": None, "learning_rate": 1e-4}


@pytest.fixture(scope="module")
def finished(finished_run, tmp_path_factory):
    """A copy of the finished run, to which tests add versions, and its `output_dir`."""
    directory = tmp_path_factory.mktemp("saved_models")
    model_dir = directory / "run-1"
    shutil.copytree(finished_run.model_dir, model_dir)
    version_dir = str(model_dir / "1")
    return (
        dataclasses.replace(finished_run, model_dir=str(model_dir), version_dir=version_dir),
        directory,
    )


def test_a_run_leaves_its_files(finished):
    result, directory = finished
    run = directory / "run-1" / "run"
    assert sorted(os.listdir(directory / "run-1")) == ["1", "run"]
    assert result.version_dir == str(directory / "run-1" / "1")
    config = json.loads((run / "config.json").read_text())
    assert config["run"]["batch_size"] == 4
    assert config["run"]["command"].startswith("python tools/train.py --dataset=folder")
    assert config["run"]["machine"]["cores"] == os.cpu_count()
    assert config["classifier"]["classes"] == ["bright", "dark"]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "seconds"} <= set(lines[0])
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["dataset"], metrics["split"]) == ("folder", "test")
    assert list(metrics["protocols"]) == ["paper", "visible", "fixed", "absent"]
    row = metrics["protocols"]["paper"]
    assert (row["n"], row["training_policy"], row["test_policy"]) == (10, "visible", "masked")
    assert row["ci95"][0] <= row["accuracy"] <= row["ci95"][1]
    assert len(list((run / "samples").iterdir())) > 0
    assert "<title>1x64 on folder, test split</title>" in (run / "report.html").read_text()
    card = (run / "README.md").read_text()
    assert "\n# Model card: 1x64 on folder\n\nThe file name makes no difference that" in card
    extra = directory / "run-1" / "1" / "assets.extra"
    assert (extra / "model_card.md").read_text() == card


def test_two_easy_classes_are_learned(finished):
    result, _ = finished
    assert result.metrics["protocols"]["paper"]["auc"] == 1.0


def test_the_export_gives_the_live_models_probabilities(finished, image_folder):
    result, directory = finished
    assert result.export_difference < 1e-6
    classifier = load_classifier(str(directory / "run-1" / "run"))
    records = folder(image_folder).split("test")
    preprocessor = classifier.preprocessor()
    images = decode_records(records, preprocessor.image_input)
    probabilities = predict_tokens(classifier, images.tokenize(preprocessor).tokens)
    assert export_difference(result.version_dir, records, probabilities) < 1e-6
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_a_second_run_gets_the_next_version(finished, image_folder):
    _, directory = finished
    changes = {"protocol": "fixed", "layout": "gray22", "dtype": "bfloat16"}
    again = train(options(image_folder, directory, tensorboard=True, **changes))
    logs = directory / "run-1" / "run" / "tensorboard"
    events = tf.data.TFRecordDataset([os.path.join(logs, name) for name in os.listdir(logs)])
    values = [v for e in events for v in event_pb2.Event.FromString(e.numpy()).summary.value]
    assert {"loss", "val_loss", "val_accuracy"} <= {value.tag for value in values}
    assert again.version_dir == str(directory / "run-1" / "2")
    assert list(again.metrics["protocols"]) == ["fixed"]
    assert again.export_difference < 0.02
    classifier = load_classifier(str(directory / "run-1" / "run"))
    assert classifier.config.layout == "gray22"
    report = (directory / "run-1" / "run" / "report.html").read_text()
    assert "Left: the image resized to 22x22." in report


def test_a_frozen_encoder_gets_a_fitted_head(image_folder, tmp_path, capsys):
    chosen = options(image_folder, tmp_path, **FROZEN)
    result = train(chosen)
    classifier = load_classifier(os.path.join(result.model_dir, "run"))
    keras.utils.set_random_seed(chosen.seed)
    initial = build_classifier(chosen, ("bright", "dark"))
    for before, after in zip(initial.backbone.weights, classifier.backbone.weights, strict=True):
        np.testing.assert_array_equal(before, after)
    assert "trained on 32 images" in (printed := capsys.readouterr().out)
    assert "epoch 1/1: accuracy 1.0000, loss 0." in printed
    assert result.metrics["protocols"]["paper"]["correct"] == 10
    assert result.export_difference < 1e-5


@pytest.mark.parametrize(
    ("early_stopping", "counts"),
    [
        ("val", {"train": 24, "val": 8, "test": 10}),
        ("none", {"train": 32, "test": 10}),
        ("test", {"train": 32, "test": 10}),
    ],
)
def test_the_validation_split_is_held_out_only_for_itself(
    image_folder, tmp_path, early_stopping, counts
):
    chosen = options(image_folder, tmp_path, early_stopping=early_stopping)
    dataset = folder(image_folder)
    images = decode_splits(build_classifier(chosen, dataset.classes), dataset, chosen)
    assert {split: len(decoded.records) for split, decoded in images.items()} == counts


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "--batch_size=0: must be at least 1"),
        ({"epochs": 0}, "--epochs=0: must be at least 1"),
        ({"learning_rate": -1.0}, "--learning_rate=-1.0: must be above 0"),
        ({"weight_decay": -1.0}, "--weight_decay=-1.0: must be at least 0"),
        ({"label_smoothing": 1.0}, "--label_smoothing=1.0: must be at least 0 and below 1"),
        (
            {"mix": "both"},
            "--mix=both: the visible name of a mixed image belongs to one of two; use",
        ),
        ({"mix": "half"}, "--mix=half: choose one of none, mixup, cutmix, both"),
        ({**FROZEN, "augment": "light"}, "--augment=light: not with --frozen, which fits"),
        ({**FROZEN, "epochs": 3}, "--epochs=3: not with --frozen, which fits the head once"),
        ({**FROZEN, "optimizer": "muon"}, "--optimizer=muon: not with --frozen, which fits"),
        ({**FROZEN, "early_stopping": "val"}, "--early_stopping=val: not with --frozen"),
        ({"name": "../up"}, "--name=../up: use only letters"),
        ({"backbone": "huge"}, "--backbone=huge: no such backbone; choose one of tiny"),
        ({"backbone": "resnet50"}, "--protocol=paper: resnet50 reads no file name; use"),
        (
            {"backbone": "resnet50", "protocol": "absent", "layout": "gray22"},
            "--layout=gray22: resnet50 reads all pixels; use --image_size",
        ),
        (
            {"backbone": "resnet50", "protocol": "absent", "image_size": 16},
            "--image_size=16: must be from 32 to 1024",
        ),
        (
            {"backbone": "resnet50", "protocol": "absent", "optimizer": "muon"},
            "--optimizer=muon: not with --backbone=resnet50",
        ),
        ({"image_size": 64}, "--image_size=64: only for resnet50, densenet121, densenet169, "),
        ({"data_dir": "absent"}, "absent: no such directory"),
        ({"output_dir": "/proc/none"}, "/proc/none/run-1: can't be written"),
    ],
)
def test_unusable_options(image_folder, tmp_path, changes, message):
    with pytest.raises(InputError) as error:
        train(options(image_folder, tmp_path, **changes))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == []


def test_tensorboard_is_an_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^--tensorboard: needs pip install 'covid_lm\[tensorb"):
        TrainingOptions(tensorboard=True)


def test_the_command_repeats_options_without_their_default():
    told = TrainingOptions(
        dataset="covid_ct", data_dir="/data/ct", weights="/w", seed=3, name="x", skip_invalid=True
    )
    assert told.command == (
        "python tools/train.py --dataset=covid_ct --data_dir=DIR --weights=WEIGHTS_DIR --seed=3 "
        "--skip_invalid"
    )


@pytest.fixture
def corrupt_folder(image_folder, tmp_path) -> str:
    path = tmp_path / "data"
    shutil.copytree(image_folder, path)
    (path / "train" / "dark" / "d001.jpeg").write_bytes(b"\xff\xd8\xff cut")
    return str(path)


def test_corrupt_images_of_all_splits_are_counted(corrupt_folder, tmp_path):
    first = f"{corrupt_folder}/train/dark/d001.jpeg: truncated or damaged"
    with pytest.raises(InputError) as error:
        train(options(corrupt_folder, tmp_path / "out"))
    assert str(error.value) == f"{first}; repair or remove it, or pass --skip_invalid"
    for name, content in (
        ("val/dark/x.png", b""),
        ("val/dark/y.png", b""),
        ("train/dark/z", b"\xff\xd8\xff "),
    ):
        (pathlib.Path(corrupt_folder) / name).write_bytes(content)
    dataset, chosen = folder(corrupt_folder), options(corrupt_folder, tmp_path)
    classifier = build_classifier(chosen, dataset.classes)
    with pytest.raises(InputError) as error:
        decode_splits(classifier, dataset, chosen)
    assert str(error.value) == (
        f"{first} (in all 4 can't be decoded: 2 truncated or damaged, 2 empty); repair or remove "
        "them, or pass --skip_invalid"
    )


def test_skip_invalid_counts_and_lists(corrupt_folder, tmp_path, capsys):
    chosen = options(corrupt_folder, tmp_path, skip_invalid=True)
    dataset = folder(corrupt_folder)
    images = decode_splits(build_classifier(chosen, dataset.classes), dataset, chosen)
    assert len(images["train"].records) == 23
    assert [skipped.record.filename for skipped in images["train"].skipped] == ["d001.jpeg"]
    assert capsys.readouterr().out == (
        f"skipped, truncated or damaged: {corrupt_folder}/train/dark/d001.jpeg\n"
        "in all 1 can't be decoded: 1 truncated or damaged\n"
    )


def test_a_distant_tpu_reads_no_files_of_this_machine():
    images = DecodedRecords(np.empty((1, 2**14, 2**14), np.uint8), ())
    check_reachable([images], TrainingOptions(tpu="grpc://h:1"))
    more = DecodedRecords(np.empty((2, 2**14, 2**14), np.uint8), ())
    check_reachable([more], TrainingOptions(tpu="local"))
    with pytest.raises(InputError, match=r"^--tpu=grpc://h:1: not with more than 256 MiB of deco"):
        check_reachable([images, more], TrainingOptions(tpu="grpc://h:1"))


def test_a_non_finite_loss_stops_the_run(image_folder, tmp_path):
    with pytest.raises(RunError, match=r"epoch \d, step \d+: the loss is (nan|inf); lower --lear"):
        train(options(image_folder, tmp_path, learning_rate=1e30))
    assert os.listdir(tmp_path) == []


def test_batch_size_fits_data_and_memory():
    assert default_batch_size("tiny", 240) == 8
    assert default_batch_size("tiny", 425) == 16
    assert default_batch_size("tiny", 10) == 1
    assert 1 <= default_batch_size("roberta-wwm-ext-large", 10**6) < 512
    assert default_batch_size("resnet50", 425) == 16
    assert default_batch_size("resnet50", 10**6) == 64
    longest, shorter = (default_batch_size("rbtl3", 10**6, length) for length in (512, 64))
    assert shorter > longest

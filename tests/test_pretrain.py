"""The whole line on a small folder: pre-train, continue, fine-tune, export, refuse."""

import functools
import json
import os
import pathlib
import re
import shutil

import numpy as np
import pytest

from covid_lm.backbones.vocabulary import built_in_vocabulary
from covid_lm.data.folder import folder
from covid_lm.errors import InputError
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.pipeline.decoded import decode_records
from covid_lm.pretrain import build_masking, pretrain, read_sequences, settle_config
from covid_lm.protocols import LAYOUTS
from covid_lm.train import train
from covid_lm.training.batch_size import default_batch_size
from covid_lm.training.callbacks import epoch_table
from covid_lm.training.options import PretrainingOptions, TrainingOptions
from tests.conftest import encode, random_picture

WEIGHTS = ["config.json", "model.safetensors", "vocab.txt"]


def options(image_folder, directory, **changes) -> PretrainingOptions:
    settings = {
        "datasets": ("folder",),
        "data_dirs": (str(image_folder),),
        "backbone": "1x64",
        "layout": "gray22",
        "epochs": 2,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "output_dir": str(directory),
        "name": "run-1",
    }
    return PretrainingOptions(**{**settings, **changes})


def weights_file(directory) -> bytes:
    return (pathlib.Path(directory) / "run-1" / "weights" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def finished(image_folder, tmp_path_factory):
    directory = tmp_path_factory.mktemp("pretrained")
    return pretrain(options(image_folder, directory)), pathlib.Path(directory)


def test_a_run_leaves_its_files(finished):
    result, directory = finished
    run = directory / "run-1" / "run"
    assert sorted(os.listdir(directory / "run-1")) == ["run", "weights"]
    assert result.weights_dir == str(directory / "run-1" / "weights")
    assert sorted(os.listdir(result.weights_dir)) == WEIGHTS
    assert sorted(os.listdir(run)) == [
        "checkpoints",
        "config.json",
        "metrics.json",
        "metrics.jsonl",
    ]
    assert os.listdir(run / "checkpoints") == ["epoch-0002"]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert lines == result.metrics["epochs"]
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics == result.metrics
    assert metrics["images"] == {"train": 24, "val": 8}
    for split in ("train", "val"):
        figures = lines[1][split]
        assert figures["perplexity"] == pytest.approx(np.exp(figures["loss"]))
        for name in ("accuracy", "image_accuracy", "name_accuracy"):
            assert 0 <= figures[name] <= 1
    assert lines[1]["train"]["loss"] < lines[0]["train"]["loss"]


@pytest.fixture(scope="module")
def interrupted(image_folder, tmp_path_factory):
    """The same run in two calls, with other test images, of which half can't be decoded.

    Returns the result, its directory, and the weights after the first call.
    """
    directory = tmp_path_factory.mktemp("interrupted")
    data = directory / "data"
    shutil.copytree(image_folder, data)
    for number, path in enumerate(sorted((data / "test").rglob("*.*"))):
        path.write_bytes(b"no image" if number % 2 else encode(random_picture(20, 30, number)))
    pretrain(options(data, directory, epochs=1))
    halfway = weights_file(directory)
    return pretrain(options(data, directory)), directory, halfway


def test_a_run_that_goes_on_gives_what_it_gives_at_once(finished, interrupted):
    result, directory, halfway = interrupted
    assert halfway != weights_file(directory) == weights_file(finished[1])
    histories = [
        [{**line, "seconds": 0} for line in run.metrics["epochs"]] for run in (result, finished[0])
    ]
    assert histories[0] == histories[1]


def test_test_images_have_no_influence(finished, interrupted):
    """Bit for bit, in the weights and in every figure."""
    assert weights_file(interrupted[1]) == weights_file(finished[1])
    assert interrupted[0].metrics["images"] == finished[0].metrics["images"]
    trivial = [run.metrics["trivial_predictors"] for run in (interrupted[0], finished[0])]
    assert trivial[0] == trivial[1]


def test_a_finished_run_repeats_its_result_without_training(finished, image_folder, tmp_path):
    _, directory = finished
    shutil.copytree(directory / "run-1", tmp_path / "run-1")
    shutil.rmtree(tmp_path / "run-1" / "weights")
    result = pretrain(options(image_folder, tmp_path))
    assert weights_file(tmp_path) == weights_file(directory)
    assert len(result.metrics["epochs"]) == 2


@pytest.fixture(scope="module")
def sequences(image_folder):
    preprocessor = Preprocessor(built_in_vocabulary(), policy="visible", **LAYOUTS["gray22"])
    return read_sequences(options(image_folder, "unused"), preprocessor)


def settle(finished, sequences, **changes) -> int:
    chosen = options("moved", "elsewhere", **changes)
    run_dir = str(finished[1] / "run-1" / "run")
    return settle_config(chosen, sequences, run_dir)


def test_a_new_run_gets_the_default_batch_size(tmp_path, sequences):
    chosen = options("moved", "elsewhere", batch_size=None)
    fitting = settle_config(chosen, sequences, str(tmp_path))
    assert fitting == default_batch_size(chosen.backbone, 24) == 1


def test_the_batch_size_of_the_run_is_kept(finished, sequences):
    assert settle(finished, sequences, batch_size=None, epochs=7) == 8


def test_a_batch_size_that_fits_the_images_and_the_devices(sequences, tmp_path):
    chosen = options("moved", tmp_path, batch_size=None)
    for devices in (1, 3):
        assert settle_config(chosen, sequences, str(tmp_path), devices) == devices
    with pytest.raises(InputError) as error:
        settle_config(options("moved", tmp_path), sequences, str(tmp_path), num_replicas=3)
    assert str(error.value) == "--batch_size=8: must be a multiple of 3, the number of devices"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "the run there has seed 0, now it is 1; give the same, or another --name"),
        ({"batch_size": 4}, "the run there has batch_size 8, now it is 4; give the same"),
        ({"layout": "paper"}, "the run there has layout 'gray22', now it is 'paper'; give"),
        ({"epochs": 1}, "has 2 already; give more, or another --name"),
    ],
)
def test_a_run_does_not_go_on_under_other_options(finished, sequences, changes, message):
    before = (finished[1] / "run-1" / "run" / "config.json").read_text()
    with pytest.raises(InputError, match=re.escape(message)):
        settle(finished, sequences, **changes)
    assert (finished[1] / "run-1" / "run" / "config.json").read_text() == before


def test_a_run_does_not_go_on_with_other_images(finished, sequences):
    token_ids = sequences["train"]["token_ids"].copy()
    token_ids[0, 7] += 1
    other = {**sequences, "train": {**sequences["train"], "token_ids": token_ids}}
    with pytest.raises(InputError, match=r"the run there has train '[0-9a-f]{64}', now it is"):
        settle(finished, other)


def test_fine_tuning_starts_from_the_weights_and_exports(finished, image_folder, tmp_path):
    result, _ = finished
    tuned = train(
        TrainingOptions(
            dataset="folder",
            data_dir=image_folder,
            backbone="1x64",
            weights=result.weights_dir,
            layout="gray22",
            epochs=1,
            batch_size=8,
            learning_rate=1e-9,
            output_dir=str(tmp_path),
            name="tuned",
        )
    )
    assert tuned.export_difference < 1e-6
    vocabulary = (pathlib.Path(tuned.version_dir) / "assets" / "vocab.txt").read_text()
    assert vocabulary == (pathlib.Path(result.weights_dir) / "vocab.txt").read_text()


def test_no_test_image_is_among_the_sequences(image_folder, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(image_folder, data)
    copied = data / "train" / "dark" / "a_test_image.png"
    shutil.copy(data / "test" / "bright" / "b000.png", copied)
    chosen = options(data, tmp_path, datasets=("folder", "folder"), data_dirs=(str(data),) * 2)
    preprocessor = Preprocessor(built_in_vocabulary(), policy="absent", **LAYOUTS["gray22"])
    sequences = read_sequences(chosen, preprocessor)
    assert [len(sequences[split]["token_ids"]) for split in ("train", "val")] == [48, 16]
    test = decode_records(folder(str(data)).split("test"), preprocessor.image_input)
    test_rows = {row.tobytes() for row in test.tokenize(preprocessor).tokens["token_ids"]}
    assert len(test_rows) == 10
    for tokens in sequences.values():
        assert test_rows.isdisjoint(row.tobytes() for row in tokens["token_ids"])
    assert f"left out, it is a test image too: {copied}" in capsys.readouterr().out


@functools.cache
def masking_of(policy: str):
    """A masking, the tokens of two pictures and their vocabulary, under a metadata policy."""
    vocabulary = built_in_vocabulary()
    preprocessor = Preprocessor(vocabulary, policy=policy, **LAYOUTS["gray22"])
    pictures = [encode(random_picture(22, 22, seed)) for seed in range(2)]
    tokens = preprocessor(np.array(pictures, object), np.array([b"a b.png", b"x\xff.png"], object))
    tokens = {name: tokens[name].numpy() for name in ("token_ids", "segment_ids", "padding_mask")}
    return build_masking(tokens, preprocessor, 0.15), tokens, vocabulary


@pytest.mark.parametrize(
    ("policy", "most_words"), [("visible", 484 + 6), ("masked", 484), ("fixed", 484)]
)
def test_slots_and_words_of_real_sequences(policy, most_words):
    masking, tokens, vocabulary = masking_of(policy)
    assert masking.num_masked == round(0.15 * most_words)
    words = {vocabulary[word_id] for word_id in masking.word_ids}
    assert {"0", "255", "a", "%"} <= words
    assert words.isdisjoint({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"})
    inputs, targets = masking(tokens, np.array([0, 1]))
    chosen = np.take_along_axis(tokens["token_ids"], inputs["masked_positions"].numpy(), axis=1)
    used = targets.numpy()[..., 1] > 0
    np.testing.assert_array_equal(masking.word_ids[targets.numpy()[..., 0]][used], chosen[used])
    assert vocabulary.index("[MASK]") not in chosen[used]


def test_the_table_shows_the_model_beside_the_trivial_predictors(finished):
    result, _ = finished
    text = epoch_table(result.metrics["epochs"][-1], result.metrics["trivial_predictors"])
    lines = text.splitlines()
    assert lines[0].split()[:7] == ["epoch", "2", "loss", "perplexity", "accuracy", "image", "name"]
    assert [line[:18].strip() for line in lines[1:]] == [
        "train  model",
        "train  unigram",
        "val    model",
        "val    unigram",
    ]
    loss = result.metrics["trivial_predictors"]["val"]["unigram"]["loss"]
    assert lines[4].split()[2] == f"{loss:.3f}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask_rate": 0.0}, "--mask_rate=0.0: must be above 0 and below 1"),
        ({"batch_size": 0}, "--batch_size=0: must be at least 1"),
        ({"epochs": 0}, "--epochs=0: must be at least 1"),
        ({"learning_rate": float("nan")}, "--learning_rate=nan: must be above 0"),
        ({"seed": -1}, "--seed=-1: must be at least 0"),
        ({"name": "../up"}, "--name=../up: use only letters"),
        ({"tpu_zone": "us-a"}, "--tpu_zone=us-a: only with --tpu"),
        ({"data_dirs": ()}, "--data_dir: given 0 time(s), but needed once for each --dataset but "),
        ({"data_dirs": ("absent",)}, "absent: no such directory"),
        ({"backbone": "huge"}, "--backbone=huge: no such backbone"),
        ({"weights": "absent"}, "absent: no such directory"),
        ({"output_dir": "/proc/none"}, "/proc/none/run-1: can't be written"),
    ],
)
def test_unusable_options(image_folder, tmp_path, changes, message):
    with pytest.raises(InputError) as error:
        pretrain(options(image_folder, tmp_path, **changes))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == []


def test_data_dirs_go_to_the_data_sets_that_need_one_in_order():
    chosen = PretrainingOptions(
        datasets=("folder", "phantom", "covid_ct"), data_dirs=("/images", "/ct")
    )
    assert chosen.sources == [("folder", "/images"), ("phantom", None), ("covid_ct", "/ct")]
    assert chosen.model_dir == os.path.join(
        "saved_models", "pretrained-folder+phantom+covid_ct-tiny-paper-paper"
    )

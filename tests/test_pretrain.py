"""Pre-training on a small folder: results, interruption, stores, refusals."""

import collections
import dataclasses
import functools
import json
import os
import pathlib
import shutil
import signal

import numpy as np
import pytest
from safetensors import safe_open

from covid_lm import pretrain as pretraining
from covid_lm.backbones.vocabulary import built_in_vocabulary
from covid_lm.data.folder import folder
from covid_lm.errors import InputError
from covid_lm.files import list_names, read_bytes
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.objectives import words as word_objective
from covid_lm.objectives.words import build_masking, epoch_table
from covid_lm.pipeline.decoded import decode_records
from covid_lm.pipeline.tokenized import TokenizedRecords
from covid_lm.pretrain import decode_images, pretrain
from covid_lm.protocols import LAYOUTS
from covid_lm.training.build import build_classifier
from covid_lm.training.options import TrainingOptions
from covid_lm.training.pretraining_options import PretrainingOptions
from covid_lm.training.run_directory import UNFINISHED
from covid_lm.training.termination import Terminated
from tests.conftest import encode, random_picture, refused_as_locked
from tests.ram_store import replace_on_copy

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
    assert sorted(os.listdir(run)) == ["config.json", "metrics.json", "metrics.jsonl"]
    config = json.loads((run / "config.json").read_text())["pretraining"]
    assert (config["epochs"], config["batch_size"]) == (2, 8)
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
    """The finished run again, written to ram:// and terminated within its second epoch.

    TensorFlow's in-memory file system replaces gs://. The test images are other ones, of which half
    can't be decoded.

    Returns the result and the output directory.
    """
    data = tmp_path_factory.mktemp("interrupted") / "data"
    shutil.copytree(image_folder, data)
    for number, path in enumerate(sorted((data / "test").rglob("*.*"))):
        path.write_bytes(b"no image" if number % 2 else encode(random_picture(20, 30, number)))
    chosen = options(data, "ram://pretrained")

    def send_sigterm(*arguments) -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return epoch_table(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        replace_on_copy(patch)
        with patch.context() as inner:
            inner.setattr(word_objective, "epoch_table", send_sigterm)
            with pytest.raises(Terminated) as error:
                pretrain(chosen)
        assert list_names("ram://pretrained/run-1") == [UNFINISHED]
        result = pretrain(chosen)
    assert str(error.value) == "SIGTERM: saved after epoch 1, step 1; the same command resumes"
    assert error.value.exit_status == 143
    return result, "ram://pretrained"


def test_a_resumed_run_gives_what_an_uninterrupted_one_gives(finished, interrupted):
    """Bit for bit, in the weights and in every figure; test images have no influence on either."""
    weights = read_bytes(f"{interrupted[1]}/run-1/weights/model.safetensors")
    assert weights == weights_file(finished[1])
    (result, _), (expected, _) = interrupted, finished
    histories = [
        [{**line, "seconds": 0} for line in run.metrics["epochs"]] for run in (result, expected)
    ]
    assert histories[0] == histories[1]
    for name in ("images", "trivial_predictors"):
        assert result.metrics[name] == expected.metrics[name]


def test_output_to_a_store(interrupted):
    run_dir = f"{interrupted[1]}/run-1/run"
    assert list_names(f"{interrupted[1]}/run-1") == ["run", "weights"]
    assert list_names(f"{interrupted[1]}/run-1/weights") == WEIGHTS
    assert list_names(run_dir) == ["config.json", "metrics.json", "metrics.jsonl"]
    lines = read_bytes(f"{run_dir}/metrics.jsonl").decode().splitlines()
    assert [json.loads(line) for line in lines] == interrupted[0].metrics["epochs"]
    assert not os.path.exists("ram:")


def test_a_second_process_is_refused(image_folder, tmp_path):
    with refused_as_locked(tmp_path / "run-1"):
        pretrain(options(image_folder, tmp_path))


@pytest.fixture
def unfinished(finished, tmp_path) -> pathlib.Path:
    """A directory with an unfinished run, whose checkpoint can't be read."""
    staged = tmp_path / "run-1" / UNFINISHED
    (staged / "checkpoints").mkdir(parents=True)
    shutil.copy(finished[1] / "run-1" / "run" / "config.json", staged)
    (staged / "checkpoints" / "step-000000003.npz").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "change"),
    [
        ({"seed": 1}, "--seed=0 (now --seed=1)"),
        (
            {"learning_rate": 0.1, "mask_rate": 0.2},
            "--mask_rate=0.15 (now --mask_rate=0.2), "
            "--learning_rate=0.001 (now --learning_rate=0.1)",
        ),
    ],
)
def test_a_run_is_not_resumed_with_other_options(image_folder, unfinished, changes, change):
    with pytest.raises(InputError) as error:
        pretrain(options(image_folder, unfinished, **changes))
    assert str(error.value) == (
        f"{unfinished}/run-1/{UNFINISHED}: holds a run with {change}; repeat its flags "
        "to resume it, give another --name, or remove the directory"
    )


def test_a_run_is_not_resumed_with_other_images(image_folder, unfinished):
    data = unfinished / "data"
    shutil.copytree(image_folder, data)
    (data / "val" / "dark" / "d000.png").write_bytes(encode(random_picture(20, 30)))
    message = (
        r"a run with other data \(validation images 8, \w{16}, now 8, \w{16}\); restore the data"
    )
    with pytest.raises(InputError, match=message):
        pretrain(options(data, unfinished))


def test_the_same_options_resume_although_the_data_moved(image_folder, unfinished):
    data = unfinished / "moved"
    shutil.copytree(image_folder, data)
    with pytest.raises(InputError, match="all checkpoints are damaged"):
        pretrain(options(data, unfinished))


def test_fine_tuning_starts_from_the_weights(finished, image_folder):
    result, _ = finished
    chosen = TrainingOptions(backbone="1x64", weights=result.weights_dir, layout="gray22")
    classifier = build_classifier(chosen, ("bright", "dark"))
    vocabulary = (pathlib.Path(result.weights_dir) / "vocab.txt").read_text().splitlines()
    assert list(classifier.vocabulary) == vocabulary
    with safe_open(f"{result.weights_dir}/model.safetensors", "numpy") as file:
        expected = file.get_tensor("bert.embeddings.word_embeddings.weight")
    np.testing.assert_array_equal(classifier.backbone.token_embedding.embeddings.numpy(), expected)


def test_no_test_image_is_among_the_sequences(image_folder, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(image_folder, data)
    copied = data / "train" / "dark" / "a_test_image.png"
    shutil.copy(data / "test" / "bright" / "b000.png", copied)
    chosen = options(data, tmp_path, datasets=("folder", "folder"), data_dirs=(str(data),) * 2)
    preprocessor = Preprocessor(built_in_vocabulary(), policy="absent", **LAYOUTS["gray22"])
    images = decode_images(chosen, preprocessor)
    assert [len(images[split].records) for split in ("train", "val")] == [48, 16]
    test = decode_records(folder(str(data)).split("test"), preprocessor.image_input)
    test_pixels = {row.tobytes() for row in test.pixels}
    assert len(test_pixels) == 10
    for decoded in images.values():
        assert test_pixels.isdisjoint(row.tobytes() for row in decoded.pixels)
    assert f"left out, it is a test image too: {copied}" in capsys.readouterr().out


def test_every_file_is_read_once(image_folder, monkeypatch):
    reads: collections.Counter = collections.Counter()

    def counted(name, directory, reading):
        dataset = folder(directory)

        def read(record):
            reads[record.path] += 1
            return record.read()

        records = [
            dataclasses.replace(record, read=functools.partial(read, record))
            for record in dataset.records
        ]
        return dataclasses.replace(dataset, records=tuple(records))

    monkeypatch.setattr(pretraining, "load_dataset", counted)
    preprocessor = Preprocessor(built_in_vocabulary(), policy="absent", **LAYOUTS["gray22"])
    decode_images(options(image_folder, "unused"), preprocessor)
    assert set(reads.values()) == {1}
    assert len(reads) == 42


@functools.cache
def masking_of(policy: str):
    """A masking, the tokens of two pictures and their vocabulary, under a metadata policy."""
    vocabulary = built_in_vocabulary()
    preprocessor = Preprocessor(vocabulary, policy=policy, **LAYOUTS["gray22"])
    pictures = [encode(random_picture(22, 22, seed)) for seed in range(2)]
    tokens = preprocessor(np.array(pictures, object), np.array([b"a b.png", b"x\xff.png"], object))
    tokens = {name: tokens[name].numpy() for name in ("token_ids", "segment_ids", "padding_mask")}
    sequences = TokenizedRecords(tokens, np.zeros(2, np.int32))
    return build_masking(sequences, preprocessor, 0.15), tokens, vocabulary


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


def test_the_table_compares_the_model_with_the_trivial_predictors(finished):
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

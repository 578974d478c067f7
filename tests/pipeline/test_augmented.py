"""Epochs of augmented images: the order of plain ones, and changes that can be drawn again."""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

from covid_lm.backbones.vocabulary import built_in_vocabulary
from covid_lm.data.records import ImageRecord
from covid_lm.layers.augmentation import Augmentation
from covid_lm.layers.image_input import ImageInput
from covid_lm.layers.random_operations import ImageMixing
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.pipeline import augmented as pipeline
from covid_lm.pipeline import decoded
from covid_lm.pipeline.augmented import AugmentedRecords, token_batches, working_image_input
from covid_lm.pipeline.decoded import decode_records
from covid_lm.pipeline.tokenized import TokenizedRecords
from tests.conftest import encode, random_picture

VOCABULARY = built_in_vocabulary()
PREPROCESSOR = Preprocessor(VOCABULARY, policy="visible", image_size=(4, 6), head=20, tail=61)
FILES = [encode(random_picture(20, 30, seed)) for seed in range(5)]
RECORDS = [
    ImageRecord(f"n{number}.png", number % 2, "train", f"n{number}.png", lambda f=file: f)
    for number, file in enumerate(FILES)
]


@functools.cache
def plain() -> AugmentedRecords:
    return AugmentedRecords(decode_records(RECORDS, PREPROCESSOR.image_input), PREPROCESSOR)


@functools.cache
def augmented() -> AugmentedRecords:
    image_input = PREPROCESSOR.image_input
    return AugmentedRecords(
        decode_records(RECORDS, working_image_input(image_input)),
        PREPROCESSOR,
        Augmentation(image_input.image_size, smallest_crop=0.7, flip=True, brightness=0.1),
    )


@functools.cache
def mixed() -> AugmentedRecords:
    changes = Augmentation((4, 6), shift=0.2, operations=0.5, erasing=0.5)
    mixing = ImageMixing("both", num_classes=2)
    return AugmentedRecords(plain().images, PREPROCESSOR, changes, mixing)


def batches(records, **changes) -> list[tuple[dict, np.ndarray]]:
    arguments = {"batch_size": 2, "seed": 0, "epochs": range(1), **changes}
    return [
        ({key: value.numpy() for key, value in inputs.items()}, labels.numpy())
        for inputs, labels in records.epochs(**arguments)
    ]


def assert_equal(some: list, others: list) -> None:
    assert len(some) == len(others)
    for (tokens, labels), (other_tokens, other_labels) in zip(some, others, strict=True):
        np.testing.assert_array_equal(labels, other_labels)
        for key in tokens.keys() | other_tokens.keys():
            np.testing.assert_array_equal(tokens[key], other_tokens[key])


def test_without_changes_an_epoch_is_that_of_the_tokenized_images():
    tokenized = plain().images.tokenize(PREPROCESSOR)
    assert tokenized.steps(2) == plain().steps(2) == 3
    assert_equal(batches(plain(), epochs=range(4, 5)), batches(tokenized, epochs=range(4, 5)))


@pytest.mark.parametrize(
    "first_step",
    [pytest.param(0, marks=pytest.mark.slow), 1, pytest.param(2, marks=pytest.mark.slow), 3],
)
@pytest.mark.parametrize("records", [augmented, mixed])
def test_what_is_left_of_two_epochs(records, first_step):
    source = records()
    whole = [*batches(source, epochs=range(3, 4)), *batches(source, epochs=range(4, 5))]
    rest = batches(source, epochs=range(3, 5), first_step=first_step)
    assert_equal(rest, whole[first_step:])


@pytest.fixture
def nothing_kept(monkeypatch):
    """No pixels or tokens are kept in memory."""
    monkeypatch.setattr(pipeline, "KEPT_BYTES", 0)


@pytest.mark.parametrize("records", [plain, augmented, pytest.param(mixed, marks=pytest.mark.slow)])
def test_epochs_of_pixels_on_disk_are_those_of_pixels_in_memory(records, nothing_kept, monkeypatch):
    on_disk = dataclasses.replace(records())
    remaining = batches(on_disk, epochs=range(3, 4), first_step=1)
    monkeypatch.setattr(pipeline, "KEPT_BYTES", 2**28)
    in_memory = dataclasses.replace(records())
    assert_equal(remaining, batches(in_memory, epochs=range(3, 4))[1:])
    spec, expected = (x.epochs(2, 0, range(1)).element_spec for x in (on_disk, in_memory))
    assert spec == expected


def test_tokens_that_are_too_many_are_made_in_parts(nothing_kept, monkeypatch):
    images = plain().images
    few, many = images.tokenize(PREPROCESSOR), token_batches(images, PREPROCESSOR)
    assert isinstance(many, AugmentedRecords)
    assert_equal(batches(many, epochs=range(2, 3)), batches(few, epochs=range(2, 3)))
    monkeypatch.setattr(decoded, "CHUNK_SIZE", 2)
    parts = list(many.parts())
    assert [part.labels.tolist() for part in parts] == [[0, 1], [0, 1], [0]]
    for key, tokens in few.tokens.items():
        np.testing.assert_array_equal(np.concatenate([part.tokens[key] for part in parts]), tokens)
    for one, other in zip(many.once(2), few.once(2), strict=True):
        assert_equal([(one[0], one[1])], [(other[0], other[1])])
        np.testing.assert_array_equal(one[2], other[2])
    monkeypatch.setattr(pipeline, "KEPT_BYTES", 10**6)
    assert isinstance(token_batches(images, PREPROCESSOR), TokenizedRecords)


def test_a_split_is_passed_again_after_each_epoch():
    tokens = {"token_ids": np.arange(6, dtype=np.int32).reshape(3, 2)}
    records = TokenizedRecords(tokens, np.arange(3, dtype=np.int32))
    for _ in range(2):
        (first, _, _), (last, labels, weights) = records.once(2).as_numpy_iterator()
        assert first["token_ids"].tolist() == [[0, 1], [2, 3]]
        assert last["token_ids"].tolist() == [[4, 5], [0, 1]]
        assert (labels.tolist(), weights.tolist()) == ([2, 0], [1, 0])


def test_processes_share_the_batches_of_pixels_on_disk(nothing_kept):
    images = plain().images
    shares = [AugmentedRecords(images, PREPROCESSOR, None, None, i, 2) for i in range(2)]
    labels = [[labels for _, labels in batches(share, batch_size=4)] for share in shares]
    expected = [labels for _, labels in batches(plain(), batch_size=4)]
    np.testing.assert_array_equal(np.concatenate(labels, axis=1), expected)


def test_mixed_labels_are_probabilities():
    labels = np.concatenate([labels for _, labels in batches(mixed(), batch_size=5 * 8)])
    assert labels.shape == (40, 2)
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
    assert len(np.unique(labels)) > 2


def by_image(**changes) -> dict[bytes, bytes]:
    """The name's tokens, which tell the image, to all of its tokens."""
    return {
        row[-7:].tobytes(): row.tobytes()
        for tokens, _ in batches(augmented(), **changes)
        for row in tokens["token_ids"]
    }


def test_an_image_changes_with_seed_and_epoch_and_not_with_the_batches():
    first = by_image()
    assert len(first) == 5
    assert by_image(batch_size=4) == first
    for other in (by_image(epochs=range(1, 2)), by_image(seed=1)):
        assert other.keys() == first.keys()
        assert all(other[name] != first[name] for name in first)


def test_shapes_are_static():
    tokens, labels = augmented().epochs(2, 0, range(1)).element_spec
    assert tokens["token_ids"].shape.as_list() == [2, 81]
    assert labels == tf.TensorSpec([2], tf.int32)


@pytest.mark.parametrize(
    ("size", "working"), [((22, 22), (66, 66)), ((32, 64), (96, 96)), ((224, 224), (280, 280))]
)
def test_the_working_size(size, working):
    larger = working_image_input(ImageInput(size, "luminance", max_pixels=999))
    assert (larger.image_size, larger.color, larger.max_pixels) == (working, "luminance", 999)

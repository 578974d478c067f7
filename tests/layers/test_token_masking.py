import keras
import numpy as np
import pytest
import tensorflow as tf

from covid_lm.layers.token_masking import IMAGE, NAME, UNUSED, TokenMasking, masked_count

# Ids of a vocabulary of 40: specials 0-4 ([MASK] is 4), words 10-29, the others never occur.
WORD_IDS = np.arange(10, 30)
MASK_ID = 4
LENGTH = 100


def make_masking(num_masked=15, rate=0.15) -> TokenMasking:
    return TokenMasking(WORD_IDS, MASK_ID, 40, num_masked, rate)


def make_tokens(rows=1) -> dict[str, tf.Tensor]:
    """[CLS], 79 words, [SEP], 9 words, 4 [MASK]s for a name, [UNK], [SEP], padding."""
    generator = np.random.default_rng(0)
    ids = np.zeros([rows, LENGTH], np.int32)
    ids[:, 0], ids[:, 80], ids[:, 95] = 2, 3, 3
    ids[:, 1:80] = generator.integers(10, 30, [rows, 79])
    ids[:, 81:90] = generator.integers(10, 30, [rows, 9])
    ids[:, 90:94], ids[:, 94] = MASK_ID, 1
    segments = np.zeros_like(ids)
    segments[:, 81:96] = 1
    padding_mask = (np.arange(LENGTH) < 96).astype(np.int32)[np.newaxis].repeat(rows, axis=0)
    arrays = {"token_ids": ids, "segment_ids": segments, "padding_mask": padding_mask}
    return {name: tf.constant(array) for name, array in arrays.items()}


def mask(masking, tokens, seed=(1, 2)):
    inputs, targets = masking(tokens, tf.constant(seed))
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    return arrays, targets.numpy()


def test_targets_are_the_hidden_words_and_nothing_else_changes():
    tokens = make_tokens(rows=50)
    original = tokens["token_ids"].numpy()
    inputs, targets = mask(make_masking(), tokens)
    positions = inputs["masked_positions"]
    assert positions.shape == (50, 15)
    assert positions.dtype == inputs["token_ids"].dtype == targets.dtype == np.int32
    # 88 words of 100 positions: 15% are 13.2, so 13 of the 15 slots are used.
    np.testing.assert_array_equal(targets[..., 1] != UNUSED, [[True] * 13 + [False] * 2] * 50)
    for row in range(50):
        used = positions[row, :13]
        assert len(set(positions[row])) == 15
        np.testing.assert_array_equal(WORD_IDS[targets[row, :13, 0]], original[row, used])
        is_name = targets[row, :13, 1] == NAME
        np.testing.assert_array_equal(is_name, used > 80)
        assert set(targets[row, :13, 1]) <= {IMAGE, NAME}
        changed = np.flatnonzero(inputs["token_ids"][row] != original[row])
        assert set(changed) <= set(used)
    for name in ("segment_ids", "padding_mask"):
        np.testing.assert_array_equal(inputs[name], tokens[name])


def test_special_tokens_are_never_selected():
    selectable = np.r_[1:80, 81:90]
    inputs, targets = mask(make_masking(num_masked=88, rate=1.0), make_tokens(rows=3))
    assert (targets[..., 1] != UNUSED).all()
    np.testing.assert_array_equal(np.sort(inputs["masked_positions"]), [selectable] * 3)
    rows = 400
    inputs, targets = mask(make_masking(), make_tokens(rows))
    chosen = inputs["masked_positions"][targets[..., 1] != UNUSED]
    counts = np.bincount(chosen, minlength=LENGTH)
    assert counts[np.setdiff1d(np.arange(LENGTH), selectable)].sum() == 0
    # All words are equally likely: 400 * 13 / 88 = 59 times, within 5 standard deviations.
    assert np.abs(counts[selectable] - rows * 13 / 88).max() < 5 * (rows * 13 / 88) ** 0.5


def test_of_the_words_drawn_80_percent_become_mask_10_random_10_stay():
    rows = 1000
    tokens = make_tokens(rows)
    inputs, targets = mask(make_masking(num_masked=88, rate=1.0), tokens)
    positions = inputs["masked_positions"]
    now = np.take_along_axis(inputs["token_ids"], positions, axis=1).ravel()
    before = WORD_IDS[targets[..., 0]].ravel()
    n = len(now)

    def assert_share(count, expected):
        assert abs(count / n - expected) < 4 * (expected * (1 - expected) / n) ** 0.5

    assert_share(np.sum(now == MASK_ID), 0.8)
    # A random word is the original one in 1 of 20 cases.
    assert_share(np.sum((now != MASK_ID) & (now != before)), 0.1 * 19 / 20)
    assert_share(np.sum(now == before), 0.1 + 0.1 / 20)
    random_words = now[(now != MASK_ID) & (now != before)]
    assert set(random_words) == set(WORD_IDS)
    counts = np.bincount(random_words)[10:30]
    assert np.abs(counts - len(random_words) / 20).max() < 5 * (len(random_words) / 20) ** 0.5


def test_masks_follow_the_seed_alone_eagerly_and_in_a_dataset():
    masking, tokens = make_masking(), make_tokens(rows=6)
    first, targets = mask(masking, tokens)
    tf.random.set_seed(7)
    again, _ = mask(masking, tokens)
    for name, array in first.items():
        np.testing.assert_array_equal(again[name], array)
    other, _ = mask(masking, tokens, seed=(1, 3))
    assert (other["masked_positions"] != first["masked_positions"]).mean() > 0.9
    dataset = tf.data.Dataset.from_tensors(tokens).map(lambda x: masking(x, tf.constant([1, 2])))
    (graph, graph_targets) = next(iter(dataset))
    np.testing.assert_array_equal(graph["token_ids"], first["token_ids"])
    np.testing.assert_array_equal(graph_targets, targets)
    # Equal rows get different masks.
    equal = {name: tf.repeat(tensor[:1], 4, axis=0) for name, tensor in tokens.items()}
    inputs, _ = mask(masking, equal)
    assert (inputs["masked_positions"][0] != inputs["masked_positions"][1]).any()


def test_a_sequence_with_few_words_or_none():
    tokens = {name: tensor.numpy() for name, tensor in make_tokens(rows=2).items()}
    tokens["token_ids"][0, 1:90] = 0
    tokens["token_ids"][1, 3:90] = 0  # leaves two words, of which 15% are 0.3: one is drawn
    inputs, targets = mask(make_masking(), {name: tf.constant(x) for name, x in tokens.items()})
    np.testing.assert_array_equal((targets[..., 1] != UNUSED).sum(axis=1), [0, 1])
    np.testing.assert_array_equal(inputs["token_ids"][0], tokens["token_ids"][0])
    assert inputs["masked_positions"][1, 0] in (1, 2)


@pytest.mark.parametrize(
    ("selectable", "rate", "expected"), [(509, 0.15, 76), (484, 0.15, 73), (3, 0.15, 1), (3, 1, 3)]
)
def test_masked_count(selectable, rate, expected):
    assert masked_count(selectable, rate) == expected


def test_config_round_trip():
    masking = make_masking()
    copy = TokenMasking.from_config(keras.saving.serialize_keras_object(masking)["config"])
    assert copy.get_config() == masking.get_config()
    tokens = make_tokens(rows=2)
    np.testing.assert_array_equal(mask(copy, tokens)[1], mask(masking, tokens)[1])

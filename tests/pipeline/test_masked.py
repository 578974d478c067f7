import numpy as np

from covid_lm.layers.token_masking import UNUSED, TokenMasking
from covid_lm.pipeline.masked import MaskedTokens

COUNT, LENGTH = 10, 20


def make_sequences(seed=0) -> MaskedTokens:
    """The first word of each sequence is 100 + its row, and can't be masked."""
    token_ids = np.random.default_rng(0).integers(5, 50, [COUNT, LENGTH], dtype=np.int32)
    token_ids[:, 0] = 100 + np.arange(COUNT)
    tokens = {
        "token_ids": token_ids,
        "segment_ids": np.zeros_like(token_ids),
        "padding_mask": np.ones_like(token_ids),
    }
    masking = TokenMasking(np.arange(5, 50), 4, 200, num_masked=3, rate=0.15)
    return MaskedTokens(tokens, masking, seed)


def collect(dataset):
    """Rows, token ids and targets, in the order of the batches, and how many count in each.

    What fills up the last batch is left out.
    """
    token_ids, targets, counts = [], [], []
    for inputs, batch, weights in dataset:
        counted = (batch.numpy()[..., 1] != UNUSED).any(axis=1)
        assert len(counted) == 4
        assert (weights.numpy() > 0).any(axis=1).tolist() == counted.tolist()
        token_ids.append(inputs["token_ids"].numpy()[counted])
        targets.append(batch.numpy()[counted])
        counts.append(counted.sum())
    token_ids = np.concatenate(token_ids)
    return token_ids[:, 0] - 100, token_ids, np.concatenate(targets), counts


def test_an_epoch_holds_every_sequence_once_and_differs_from_the_next():
    sequences = make_sequences()
    rows, token_ids, _, sizes = collect(sequences.epochs(4, 0, 2))
    assert sizes == [4, 4, 2] * 2
    assert sequences.steps(4) == 3
    first, second = rows[:COUNT], rows[COUNT:]
    assert sorted(first) == sorted(second) == list(range(COUNT))
    assert list(first) != list(second)
    by_row = [token_ids[:COUNT][np.argsort(first)], token_ids[COUNT:][np.argsort(second)]]
    assert (by_row[0] != by_row[1]).any(axis=1).mean() > 0.8  # masked anew


def test_an_epoch_is_the_same_whether_or_not_others_came_before_it():
    _, token_ids, targets, _ = collect(make_sequences().epochs(4, 0, 3))
    _, later_ids, later_targets, _ = collect(make_sequences().epochs(4, 2, 3))
    np.testing.assert_array_equal(token_ids[2 * COUNT :], later_ids)
    np.testing.assert_array_equal(targets[2 * COUNT :], later_targets)
    _, other_ids, _, _ = collect(make_sequences(seed=1).epochs(4, 2, 3))
    assert (other_ids != later_ids).any()


def test_batches_to_measure_with_are_in_order_and_the_same_each_time():
    sequences = make_sequences()
    rows, token_ids, _, sizes = collect(sequences.batches(4))
    assert list(rows) == list(range(COUNT))
    assert sizes == [4, 4, 2]
    np.testing.assert_array_equal(collect(sequences.batches(4))[1], token_ids)


def test_the_shapes_are_static():
    for dataset in (make_sequences().epochs(4, 0, 2), make_sequences().batches(4)):
        inputs, targets, weights = dataset.element_spec
        assert inputs["token_ids"].shape == (4, LENGTH)
        assert (targets.shape, weights.shape) == ((4, 3, 2), (4, 3))


def test_weights_make_the_mean_over_slots_the_mean_over_masked_tokens():
    sequences = make_sequences()
    token_ids = sequences.tokens["token_ids"]
    token_ids[::2, 5:] = 0  # four words, of which one is masked, and not three
    numbers = []
    for _, targets, weights in sequences.batches(4):
        losses = np.random.default_rng(0).random(weights.shape)
        used = targets.numpy()[..., 1] != UNUSED
        numbers.append(used.sum())
        np.testing.assert_allclose((losses * weights.numpy()).mean(), losses[used].mean(), 1e-6)
    assert numbers == [8, 8, 4]

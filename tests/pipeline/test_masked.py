import numpy as np

from covid_lm.layers.token_masking import UNUSED, TokenMasking
from covid_lm.pipeline.masked import MaskedTokens
from covid_lm.pipeline.tokenized import TokenizedRecords

COUNT, LENGTH = 10, 20


def make_sequences() -> MaskedTokens:
    """The first word of each sequence is 100 + its row, and can't be masked."""
    token_ids = np.random.default_rng(0).integers(5, 50, [COUNT, LENGTH], dtype=np.int32)
    token_ids[:, 0] = 100 + np.arange(COUNT)
    tokens = {
        "token_ids": token_ids,
        "segment_ids": np.zeros_like(token_ids),
        "padding_mask": np.ones_like(token_ids),
    }
    masking = TokenMasking(np.arange(5, 50), 4, 200, num_masked=3, rate=0.15)
    sequences = TokenizedRecords(tokens, np.zeros(COUNT, np.int32))
    return MaskedTokens(sequences, masking)


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


def test_an_epoch_has_every_sequence_once_and_differs_from_the_next():
    sequences = make_sequences()
    first, first_ids, _, sizes = collect(sequences.epochs(4, 0, range(1)))
    second, second_ids, _, _ = collect(sequences.epochs(4, 0, range(1, 2)))
    assert sizes == [4, 4, 2]
    assert sequences.steps(4) == 3
    assert sorted(first) == sorted(second) == list(range(COUNT))
    assert list(first) != list(second)
    by_row = [first_ids[np.argsort(first)], second_ids[np.argsort(second)]]
    assert (by_row[0] != by_row[1]).any(axis=1).mean() > 0.8  # masked again


def test_epochs_in_a_row_are_those_one_by_one():
    _, token_ids, targets, _ = collect(make_sequences().epochs(4, 0, range(3), first_step=1))
    parts = [collect(make_sequences().epochs(4, 0, range(epoch, epoch + 1))) for epoch in range(3)]
    np.testing.assert_array_equal(token_ids, np.concatenate([part[1] for part in parts])[4:])
    np.testing.assert_array_equal(targets, np.concatenate([part[2] for part in parts])[4:])


def test_an_epoch_is_resumed_at_any_step_with_the_same_masks():
    _, token_ids, targets, _ = collect(make_sequences().epochs(4, 0, range(2, 3)))
    _, later_ids, later_targets, sizes = collect(
        make_sequences().epochs(4, 0, range(2, 3), first_step=1)
    )
    assert sizes == [4, 2]
    np.testing.assert_array_equal(token_ids[4:], later_ids)
    np.testing.assert_array_equal(targets[4:], later_targets)
    _, other_ids, _, _ = collect(make_sequences().epochs(4, 1, range(2, 3)))
    assert (other_ids != token_ids).any()


def test_batches_for_evaluation_are_in_order_and_the_same_each_time():
    sequences = make_sequences()
    rows, token_ids, _, sizes = collect(sequences.once(4, 0))
    assert list(rows) == list(range(COUNT))
    assert sizes == [4, 4, 2]
    np.testing.assert_array_equal(collect(sequences.once(4, 0))[1], token_ids)


def test_the_shapes_are_static():
    for dataset in (make_sequences().epochs(4, 0, range(1)), make_sequences().once(4, 0)):
        inputs, targets, weights = dataset.element_spec
        assert inputs["token_ids"].shape == (4, LENGTH)
        assert (targets.shape, weights.shape) == ((4, 3, 2), (4, 3))


def test_weights_make_the_mean_over_slots_the_mean_over_masked_tokens():
    sequences = make_sequences()
    token_ids = sequences.sequences.tokens["token_ids"]
    token_ids[::2, 5:] = 0  # four words, of which one is masked, and not three
    numbers = []
    for _, targets, weights in sequences.once(4, 0):
        losses = np.random.default_rng(0).random(weights.shape)
        used = targets.numpy()[..., 1] != UNUSED
        numbers.append(used.sum())
        np.testing.assert_allclose((losses * weights.numpy()).mean(), losses[used].mean(), 1e-6)
    assert numbers == [8, 8, 4]

"""The order of an epoch, which a resumed run must be able to draw again."""

import dataclasses

import numpy as np
import pytest

from covid_lm.pipeline.tokenized import TokenizedRecords

RECORDS = TokenizedRecords(
    tokens={"token_ids": np.arange(20, dtype=np.int32).reshape(10, 2)},
    labels=np.arange(10, dtype=np.int32),
)


def order(records: TokenizedRecords = RECORDS, **changes) -> list[list[int]]:
    arguments = {"batch_size": 4, "seed": 0, "epochs": range(1), **changes}
    return [labels.numpy().tolist() for _, labels in records.epochs(**arguments)]


def share(process_id: int, num_processes: int) -> TokenizedRecords:
    return dataclasses.replace(RECORDS, process_id=process_id, num_processes=num_processes)


def test_every_image_comes_and_the_first_ones_fill_the_last_batch():
    batches = order()
    assert [len(batch) for batch in batches] == [4, 4, 4]
    assert RECORDS.steps(4) == 3
    flat = [label for batch in batches for label in batch]
    assert sorted(flat[:10]) == list(range(10))
    assert flat[10:] == flat[:2]


def test_a_token_row_stays_with_its_label():
    for tokens, labels in RECORDS.epochs(4, 0, range(1)):
        np.testing.assert_array_equal(tokens["token_ids"][:, 0], 2 * labels)


def test_the_shapes_are_static():
    tokens, labels = RECORDS.epochs(4, 0, range(1)).element_spec
    assert (tokens["token_ids"].shape, labels.shape) == ((4, 2), (4,))


def test_the_order_follows_from_seed_and_epoch():
    assert order() == order()
    assert order() != order(epochs=range(1, 2)) != order(seed=1)


def test_epochs_in_a_row_are_those_one_by_one():
    in_a_row = order(epochs=range(3), first_step=1)
    assert in_a_row == [
        *order(first_step=1),
        *order(epochs=range(1, 2)),
        *order(epochs=range(2, 3)),
    ]


@pytest.mark.parametrize("first_step", [0, 1, 2, 3])
def test_what_is_left_of_an_epoch(first_step):
    assert order(first_step=first_step) == order()[first_step:]


@pytest.mark.parametrize("num_processes", [1, 2, 4])
def test_the_shares_of_several_processes_are_the_batches_of_one(num_processes):
    shares = [order(share(number, num_processes)) for number in range(num_processes)]
    assert {len(batch) for share in shares for batch in share} == {4 // num_processes}
    np.testing.assert_array_equal(np.concatenate(shares, axis=1), order())


@pytest.mark.parametrize("num_processes", [1, 2])
def test_the_whole_split_once(num_processes):
    shares = [
        [
            (tokens["token_ids"].numpy()[:, 0] // 2, labels.numpy(), weights.numpy())
            for tokens, labels, weights in share(number, num_processes).once(4)
        ]
        for number in range(num_processes)
    ]
    rows, labels, weights = np.concatenate(shares, axis=2).transpose(1, 0, 2).reshape(3, 12)
    np.testing.assert_array_equal(rows, labels)
    assert labels[:10].tolist() == list(range(10))
    assert weights.tolist() == [1] * 10 + [0] * 2


def test_a_batch_larger_than_the_data():
    (batch,) = order(batch_size=25)
    assert batch == (batch[:10] * 3)[:25]

import collections

import pytest

from covid_lm.data.records import ImageDataset, ImageRecord
from covid_lm.data.splits import describe_splits, limit_images


def dataset(counts: dict[tuple[str, int], int], reverse: bool = False) -> ImageDataset:
    """A data set from (split, label) to the number of its images."""
    records = [
        ImageRecord(f"{i}.png", label, split, f"{split}/{label}/{i}.png", read=bytes)
        for (split, label), count in counts.items()
        for i in range(count)
    ]
    return ImageDataset("some", ("a", "b"), tuple(records[::-1] if reverse else records))


COUNTS = {("train", 0): 30, ("train", 1): 10, ("val", 0): 4, ("val", 1): 4, ("test", 0): 50}


@pytest.mark.parametrize(
    ("max_images", "expected"),
    [
        (20, {**COUNTS, ("train", 0): 15, ("train", 1): 5}),
        (8, {**COUNTS, ("train", 0): 6, ("train", 1): 2}),
        (4, {**COUNTS, ("train", 0): 3, ("train", 1): 1, ("val", 0): 2, ("val", 1): 2}),
        (40, COUNTS),
        (None, COUNTS),
    ],
)
def test_classes_keep_their_shares_and_the_test_split_stays_whole(max_images, expected):
    smaller = limit_images(dataset(COUNTS), max_images)
    assert collections.Counter((r.split, r.label) for r in smaller.records) == expected


def test_the_draw_does_not_depend_on_the_records_order_and_grows_with_the_number():
    def paths(max_images, reverse=False):
        return {
            record.path for record in limit_images(dataset(COUNTS, reverse), max_images).records
        }

    assert paths(20) == paths(20, reverse=True)
    assert paths(8) < paths(20)
    order = [record.path for record in limit_images(dataset(COUNTS), 8).records]
    assert order == [r.path for r in dataset(COUNTS).records if r.path in set(order)]


def test_the_plan_lists_the_classes_of_each_split():
    assert describe_splits(dataset(COUNTS)) == (
        "some:\n  train: 40 images (30 a, 10 b)\n  val: 8 images (4 a, 4 b)\n"
        "  test: 50 images (50 a, 0 b)"
    )
    counts = {("train", label): 2 for label in range(15)}
    many = ImageDataset("many", tuple("abcdefghijklmno"), dataset(counts).records)
    assert describe_splits(many).endswith("2 k, 2 l, 6 of 3 more classes)")

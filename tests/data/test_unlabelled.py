import functools

from covid_lm.data.records import ImageDataset, ImageRecord
from covid_lm.data.unlabelled import unlabelled_images


def dataset(name: str, files: dict[str, tuple[str, bytes]]) -> ImageDataset:
    """A data set from file name to split and content."""
    records = tuple(
        ImageRecord(
            filename=filename,
            label=0,
            split=split,
            path=f"{name}/{filename}",
            read=functools.partial(bytes, content),
        )
        for filename, (split, content) in files.items()
    )
    return ImageDataset(name, ("one",), records)


def paths(records) -> list[str]:
    return [record.path for record in records]


def test_training_and_validation_images_of_all_data_sets_and_no_test_image():
    first = dataset("a", {"1": ("train", b"1"), "2": ("val", b"2"), "3": ("test", b"3")})
    second = dataset("b", {"4": ("train", b"4"), "5": ("test", b"5")})
    images = unlabelled_images([first, second])
    assert paths(images.train) == ["a/1", "b/4"]
    assert paths(images.val) == ["a/2"]
    assert images.left_out == ()


def test_a_copy_of_any_data_set_s_test_image_is_left_out():
    first = dataset("a", {"1": ("train", b"1"), "2": ("val", b"5"), "3": ("test", b"3")})
    second = dataset("b", {"4": ("train", b"3"), "5": ("test", b"5")})
    images = unlabelled_images([first, second])
    assert paths(images.train) == ["a/1"]
    assert images.val == ()
    assert paths(images.left_out) == ["b/4", "a/2"]

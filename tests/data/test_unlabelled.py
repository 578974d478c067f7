import functools

from covid_lm.data.records import ImageDataset, ImageRecord
from covid_lm.data.unlabelled import content_digest, held_out_digests, unlabelled_records


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
    assert paths(unlabelled_records([first, second], "train")) == ["a/1", "b/4"]
    assert paths(unlabelled_records([first, second], "val")) == ["a/2"]
    assert held_out_digests([first, second]) == {content_digest(b"3"), content_digest(b"5")}

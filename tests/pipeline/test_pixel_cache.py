"""The cache of decoded pixels: what is decoded again, damage, interruption, and errors."""

import contextlib
import errno
import json
import os
import pathlib
import threading

import numpy as np
import pytest
import tensorflow as tf

from covid_lm.command_line import PathParser
from covid_lm.data.records import ImageRecord
from covid_lm.errors import InputError, RunError
from covid_lm.layers.image_input import ImageInput
from covid_lm.pipeline import pixel_cache
from covid_lm.pipeline.cache_folder import CacheFull
from covid_lm.pipeline.decoded import decode_records
from covid_lm.pipeline.pixel_cache import (
    ENTRY,
    PixelCache,
    map_pixels,
    run_cache,
    stored_arrays,
    stored_pixels,
)
from tests.conftest import encode, random_picture

FILES = [encode(random_picture(12, 9, seed)) for seed in range(40)]
ROW = 4 * 6 * 3


def record(number: int, content: bytes | None = None) -> ImageRecord:
    content = FILES[number] if content is None else content
    return ImageRecord(f"{number}.png", 0, "train", f"{number}.png", lambda: content)


RECORDS = [record(number) for number in range(len(FILES))]


class CountingInput(ImageInput):
    """An `ImageInput` that counts the images that it decodes."""

    count = 0

    def __call__(self, image_bytes):
        self.count += len(image_bytes)
        return super().__call__(image_bytes)


def decode(folder, records=RECORDS, size=(4, 6)) -> tuple[np.ndarray, int]:
    """Pixels of the records by a cache, and the number of images that were decoded for them."""
    image_input = CountingInput(size)
    images = decode_records(records, image_input, cache=PixelCache(str(folder)))
    assert images.records == tuple(records)
    return images.pixels[:], image_input.count


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.concatenate([ImageInput((4, 6))(tf.constant([file]))["pixels"] for file in FILES])


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> pathlib.Path:
    """A cache with all images, for tests that don't change it."""
    folder = tmp_path_factory.mktemp("cache")
    decode(folder)
    return folder


@pytest.fixture
def copy(filled, tmp_path) -> pathlib.Path:
    """The folder of rows in a copy of the cache."""
    (source,) = filled.iterdir()
    target = tmp_path / "cache" / source.name
    target.mkdir(parents=True)
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def test_pixels_are_those_of_the_layer_and_stored_once(filled, pixels):
    (folder,) = filled.iterdir()
    assert folder.name.startswith("pixels-4x6-rgb-")
    assert (folder / "rows").read_bytes() == pixels.tobytes()
    assert (folder / "index").stat().st_size == ENTRY.itemsize * len(FILES)
    description = json.loads((folder / "preprocessing.json").read_text())
    assert description["image_size"] == [4, 6]
    assert description["tensorflow"] == tf.__version__


def test_any_records_of_the_same_files_are_found(filled, pixels):
    order = [7, 3, 3, 39, 0]
    found, count = decode(filled, [record(number) for number in order])
    np.testing.assert_array_equal(found, pixels[order])
    assert count == 0


def test_equal_files_share_a_row(tmp_path, pixels):
    found, count = decode(tmp_path, [record(5), record(1), record(5)])
    np.testing.assert_array_equal(found, pixels[[5, 1, 5]])
    (folder,) = tmp_path.iterdir()
    assert (count, (folder / "rows").stat().st_size) == (2, 2 * ROW)


def test_a_changed_file_is_decoded_again(copy, pixels):
    changed = [*RECORDS[:3], record(3, FILES[8]), *RECORDS[4:], record(0, encode(pixels[0]))]
    found, count = decode(copy.parent, changed)
    np.testing.assert_array_equal(found, pixels[[0, 1, 2, 8, *range(4, 40), 0]])
    assert count == 1


@pytest.mark.parametrize("change", ["size", "color", "max_pixels", "decoder", "tensorflow"])
def test_another_preprocessing_has_other_rows(filled, monkeypatch, change):
    before = pixel_cache.describe(ImageInput((4, 6)))
    changes = {"size": {"image_size": (6, 4)}, "color": {"color": "luminance"}}
    arguments = {"image_size": (4, 6), **changes.get(change, {})}
    if change == "max_pixels":
        arguments["max_pixels"] = 10**6
    if change == "decoder":
        monkeypatch.setattr(pixel_cache, "decoder_digest", lambda: "other")
    if change == "tensorflow":
        monkeypatch.setattr(tf, "__version__", "3.0")
    assert pixel_cache.describe(ImageInput(**arguments)) != before


def test_the_decoder_s_modules_are_part_of_the_key(monkeypatch, tmp_path):
    (tmp_path / "image_decode.py").write_text("first")
    monkeypatch.setattr(pixel_cache.layers, "__path__", [str(tmp_path)])
    first = pixel_cache.decoder_digest.__wrapped__()
    (tmp_path / "image_decode.py").write_text("second")
    assert pixel_cache.decoder_digest.__wrapped__() != first


def flip(path: pathlib.Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "decoded"),
    [
        (lambda folder: flip(folder / "rows", 5 * ROW + 7), 1),
        (lambda folder: flip(folder / "index", 5 * ENTRY.itemsize), 1),
        (lambda folder: flip(folder / "index", 6 * ENTRY.itemsize - 1), 1),
        (lambda folder: os.truncate(folder / "rows", 30 * ROW + 1), 10),
        (lambda folder: os.truncate(folder / "index", 30 * ENTRY.itemsize + 1), 10),
        (lambda folder: os.truncate(folder / "rows", 0), 40),
        (lambda folder: os.remove(folder / "rows"), 40),
        (lambda folder: os.remove(folder / "index"), 40),
        (lambda folder: os.remove(folder / "preprocessing.json"), 0),
    ],
)
def test_damaged_and_missing_rows_are_decoded_again(copy, pixels, damage, decoded):
    damage(copy)
    found, count = decode(copy.parent)
    np.testing.assert_array_equal(found, pixels)
    assert count == decoded
    found, count = decode(copy.parent)
    np.testing.assert_array_equal(found, pixels)
    assert count == 0


def test_an_interrupted_pass_continues(tmp_path, pixels):
    def interrupt() -> bytes:
        raise KeyboardInterrupt

    broken = ImageRecord("x.png", 0, "train", "x.png", interrupt)
    with pytest.raises(KeyboardInterrupt):
        decode(tmp_path, [*RECORDS[:35], broken])
    found, count = decode(tmp_path)
    np.testing.assert_array_equal(found, pixels)
    assert count == 40 - 32  # the first batch had been written


def test_pixels_that_are_mapped_do_not_change(copy, pixels):
    image_input = ImageInput((4, 6))
    images = decode_records(RECORDS, image_input, cache=PixelCache(str(copy.parent)))
    os.truncate(copy / "index", 0)
    decode(copy.parent, RECORDS[::-1])
    assert (copy / "rows").stat().st_size == 80 * ROW
    np.testing.assert_array_equal(images.pixels, pixels)


def test_two_processes_wait_for_each_other(tmp_path, pixels, capfd):
    cache, found = PixelCache(str(tmp_path)), []
    with cache.rows(ImageInput((4, 6))):
        thread = threading.Thread(target=lambda: found.append(decode(tmp_path)))
        thread.start()
        thread.join(1)
        assert thread.is_alive()
    thread.join(60)
    np.testing.assert_array_equal(found[0][0], pixels)
    assert capfd.readouterr().err.endswith(": waiting for another process that fills it\n")


def test_a_full_disk_is_one_line_and_can_be_resumed(tmp_path, pixels, monkeypatch):
    write, sizes = os.pwrite, []

    def full(descriptor, content, position):
        sizes.append(len(content))
        if sum(sizes) > 33 * ROW + 32 * ENTRY.itemsize:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, content[: ROW + 1], position)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(CacheFull) as error:
            decode(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}/{os.listdir(tmp_path)[0]}: can't be written (No space left on device); make "
        "room, or give another --cache_dir, and repeat the command: it continues where it ended"
    )
    found, _ = decode(tmp_path)
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, code):
    def refuse(path, *arguments, **more):
        raise OSError(code, os.strerror(code), path)

    monkeypatch.setattr(os, "makedirs", refuse)
    with pytest.raises(InputError) as error:
        decode(tmp_path / "cache")
    assert str(error.value) == (
        f"{tmp_path}/cache: can't be written ({os.strerror(code)}); give another --cache_dir"
    )


def test_a_store_is_refused():
    message = "^--cache_dir=gs://bucket: must be on this machine$"
    with pytest.raises(InputError, match=message):
        PixelCache("gs://bucket")
    with pytest.raises(InputError, match=message):
        PathParser("local folder").check("cache_dir", "gs://bucket")


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(InputError, match=r"cache: can't be written \(Not a directory\); give"):
        decode(tmp_path / "cache")


def test_a_cache_that_can_only_be_read_serves_what_it_has(copy, pixels, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "pwrite", refuse)
    np.testing.assert_array_equal(decode(copy.parent)[0], pixels)
    with pytest.raises(InputError, match="Read-only file system"):
        decode(copy.parent, [record(0, encode(random_picture(5, 5, 99)))])


def test_a_run_s_cache_is_removed_when_it_is_finished_and_after_wrong_input(tmp_path):
    own = tmp_path / "cache"
    with run_cache(None, str(tmp_path)) as cache:
        decode(cache.folder)
        assert own.exists()
    assert not own.exists()
    for error in (InputError, RunError, CacheFull, KeyboardInterrupt):
        with contextlib.suppress(error), run_cache(None, str(tmp_path)) as cache:
            decode(cache.folder)
            raise error
        assert own.exists() == (error in (CacheFull, KeyboardInterrupt))
    with contextlib.suppress(InputError), run_cache(None, str(tmp_path)):
        raise InputError
    assert own.exists()  # it was of the interrupted run
    with run_cache(str(tmp_path / "chosen"), str(tmp_path)) as cache:
        decode(cache.folder)
    assert (tmp_path / "chosen").exists()
    with run_cache(None, "gs://bucket/run") as cache:
        assert os.path.isdir(cache.folder)
    assert not os.path.exists(cache.folder)


def test_pixels_are_indexed_as_an_array(filled, pixels):
    (folder,) = filled.iterdir()
    rows = np.array([4, 2, 9, 4])
    mapped = map_pixels(str(folder / "rows"), (4, 6, 3), rows)
    assert (mapped.shape, len(mapped), mapped.nbytes) == ((4, 4, 6, 3), 4, 4 * ROW)
    for index in (2, slice(1, 3), np.array([3, 0]), slice(None)):
        np.testing.assert_array_equal(mapped[index], pixels[rows][index])
    np.testing.assert_array_equal(mapped.select(np.array([1, 1])), pixels[[2, 2]])
    again = stored_pixels(stored_arrays(mapped))
    np.testing.assert_array_equal(again, pixels[rows])
    assert mapped.select(np.array([], int))[:].shape == (0, 4, 6, 3)
    assert map_pixels("unused", (4, 6, 3), np.array([], int)).shape == (0, 4, 6, 3)

import pathlib
import warnings
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from covid_lm.layers.image_input import ImageInput
from tests.layers import encoded_images
from tests.peak_memory import peak_megabytes

# All other bad images are truncated or damaged.
BAD_REASONS = {
    "empty": "empty",
    "one byte": "not an image",
    "text": "not an image",
    "zip": "not an image",
    "png signature": "not an image",
    "tiff": "format not supported: TIFF",
    "dicom": "format not supported: DICOM",
    "pdf": "format not supported: PDF",
    "svg": "format not supported: SVG",
    "jpeg xl": "format not supported: JPEG XL",
    "jpeg xl container": "format not supported: JPEG XL",
    "avif": "format not supported: AVIF",
    "bmp run lengths": "format not supported: run-length encoded BMP",
    "png huge": "too many pixels: 50000 x 50000",
    "png one huge row": "too many pixels: 60000000 x 1",
    "png unsigned overflow": "too many pixels: 2147483647 x 2147483647",
    "jpeg huge": "too many pixels: 65500 x 65500",
    "gif huge": "too many pixels: 65535 x 65535",
    "bmp huge": "too many pixels: 50000 x 50000",
    "bmp huge top-down": "too many pixels: 50000 x 2147483648",
    "webp huge lossy": "too many pixels: 16383 x 16383",
    "webp huge lossless": "too many pixels: 16384 x 16384",
    "webp huge canvas": "too many pixels: 16777216 x 16777216",
}
SIZES = [(1, 1), (5, 3), (200, 150), (1225, 1637)]


@pytest.fixture(scope="module")
def layer() -> ImageInput:
    return ImageInput()


@pytest.fixture(scope="module")
def mixed() -> tuple[list[bytes], np.ndarray]:
    """Every good and every bad kind, shuffled; and which are good."""
    good = list(encoded_images.good_images(60, 44).values())
    bad = list(encoded_images.bad_images().values())
    order = np.random.default_rng(0).permutation(len(good) + len(bad))
    return [(good + bad)[i] for i in order], order < len(good)


def assert_close_to_pillow(layer: ImageInput, files: dict[str, bytes]) -> None:
    output = layer(tf.constant(list(files.values())))
    assert output["valid"].numpy().all(), [*zip(files, output["valid"].numpy(), strict=True)]
    for kind, file, pixels in zip(files, files.values(), output["pixels"].numpy(), strict=True):
        with warnings.catch_warnings(action="ignore"):
            expected = encoded_images.resized(file, layer.image_size)
        assert np.abs(pixels - expected).max() <= 1, kind


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_kind_equals_pillow(layer, size):
    files = encoded_images.good_images(*size)
    assert len(files) == 36
    assert_close_to_pillow(layer, files)


def test_channels_are_in_order(layer):
    levels = np.broadcast_to(np.array([200, 90, 10], np.uint8), [50, 40, 3])
    for file_format in ("PNG", "BMP", "GIF", "WEBP", "JPEG"):
        file = encoded_images.encode(Image.fromarray(levels), file_format)
        pixels = layer(tf.constant([file]))["pixels"].numpy()
        assert np.abs(pixels.astype(int) - [200, 90, 10]).max() <= 3, file_format


def test_output_size_of_two_sides():
    assert_close_to_pillow(ImageInput((24, 40)), encoded_images.good_images(90, 70))


def test_resize_is_tensorflows_antialiased_bilinear(layer):
    for height, width in [(1, 1), (32, 32), (33, 31), (150, 200), (3, 700)]:
        pixels = encoded_images.picture(height, width)
        file = encoded_images.encode(Image.fromarray(pixels), "PNG")
        resized = tf.image.resize(pixels, [32, 32], antialias=True)
        expected = tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)
        np.testing.assert_array_equal(layer(tf.constant([file]))["pixels"][0], expected)


def test_luminance_is_pillows_from_the_resized_pixels(layer):
    files = tf.constant(list(encoded_images.good_images(70, 90).values()))
    gray = ImageInput(color="luminance")(files)
    assert gray["pixels"].shape == [36, 32, 32, 1]
    for one_gray, rgb in zip(gray["pixels"], layer(files)["pixels"].numpy(), strict=True):
        np.testing.assert_array_equal(one_gray[..., 0], Image.fromarray(rgb).convert("L"))


def test_each_bad_kind_is_invalid_and_black(layer):
    bad = encoded_images.bad_images()
    output = layer(tf.constant(list(bad.values())))
    accepted = [kind for kind, valid in zip(bad, output["valid"], strict=True) if valid]
    assert not accepted
    assert len(bad) >= 14
    assert not output["pixels"].numpy().any()
    reasons = {
        kind: reason.decode() for kind, reason in zip(bad, output["reason"].numpy(), strict=True)
    }
    expected = dict.fromkeys(bad, "truncated or damaged") | BAD_REASONS
    assert reasons == expected


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"MM\0*" + bytes(20), "TIFF"),
        (b"II+\0" + bytes(20), "TIFF"),
        (b"\0\0\0\x18ftypheic" + bytes(50), "HEIC"),
        (b"\0\0\0\x18ftypmif1" + bytes(50), "HEIC"),
        (b"\0\0\0\x20ftypavis" + bytes(50), "AVIF"),
        (encoded_images.encode(Image.new("L", (9, 9)), "JPEG2000"), "JPEG 2000"),
        (b"\xff\x4f\xff\x51" + bytes(20), "JPEG 2000"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
        (b"<html><body>404 Not Found</body></html>", "HTML"),
        (b"\n <!DOCTYPE html>\n<p>\xff", "HTML"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><!-- \xe9 --> <svg xmlns='x'/>", "SVG"),
        (b"<?xml version='1.0'?>\n<!DOCTYPE svg PUBLIC '-//W3C//DTD'>\n<svg\n/>\xff", "SVG"),
    ],
)
def test_formats_that_are_recognized_to_be_named(layer, start, name):
    assert layer(tf.constant([start]))["reason"][0] == f"format not supported: {name}"


def test_bad_kinds_are_valid_without_their_damage(layer):
    image = Image.fromarray(encoded_images.picture(40, 50))
    whole = [encoded_images.encode(image, kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP")]
    whole.append(encoded_images.encode(image, "JPEG", progressive=True))
    whole.append(encoded_images.encode(image, "WEBP", lossless=True))
    whole.append(encoded_images.encode(image.convert("L"), "BMP"))
    assert layer(tf.constant(whole))["valid"].numpy().all()


def test_bad_images_do_not_affect_others(layer, mixed):
    files, is_good = mixed
    output = layer(tf.constant(files))
    np.testing.assert_array_equal(output["valid"], is_good)
    for index in np.flatnonzero(is_good):
        alone = layer(tf.constant([files[index]]))
        np.testing.assert_array_equal(output["pixels"][index], alone["pixels"][0])


@pytest.mark.parametrize("position", [0.1, 0.3, 0.6, 0.9, 0.97])
def test_jpeg_cut_after_its_scan_started(layer, position):
    file = encoded_images.encode(Image.fromarray(encoded_images.picture(120, 160)), "JPEG")
    start = file.index(b"\xff\xda") + 14
    cut = file[: start + int(position * (len(file) - start))]
    assert not layer(tf.constant([cut]))["valid"][0]


def test_gif_frame_on_a_larger_screen():
    palette = Image.fromarray(encoded_images.picture(16, 30)).quantize(16)
    file = encoded_images.gif(palette, (24, 40), (5, 6))
    pixels = ImageInput((24, 40))(tf.constant([file]))["pixels"][0]
    np.testing.assert_array_equal(pixels, encoded_images.resized(file, (24, 40)))


def test_later_frames_of_a_gif_do_not_matter(layer):
    palette = Image.fromarray(encoded_images.picture(20, 30)).quantize(16)
    single = encoded_images.encode(palette, "GIF")
    frames = {"save_all": True, "append_images": [palette.rotate(90)] * 3}
    animated = encoded_images.encode(palette, "GIF", **frames)
    output = layer(tf.constant([single, animated, animated[:-30] + b"\x99" * 30]))
    assert output["valid"].numpy().all()
    assert (output["pixels"].numpy() == output["pixels"][0].numpy()).all()


def test_pixel_limit():
    kinds = {"PNG": {}, "JPEG": {}, "GIF": {}, "BMP": {}, "WEBP": {"lossless": True}}
    layer = ImageInput(max_pixels=1200)
    for height, width, valid in ((30, 40, True), (1, 1201, False)):
        image = Image.fromarray(encoded_images.picture(height, width))
        files = tf.constant([encoded_images.encode(image, kind, **o) for kind, o in kinds.items()])
        np.testing.assert_array_equal(layer(files)["valid"], [valid] * len(kinds))


def test_sides_are_limited_independent_of_the_area(layer):
    row = b"\x00" * 70_001
    wide = encoded_images.png_file(1, 70_000, 8, 0, encoded_images.zlib.compress(row))
    high = encoded_images.png_file(70_000, 1, 8, 0, encoded_images.zlib.compress(bytes(140_000)))
    assert not layer(tf.constant([wide, high]))["valid"].numpy().any()


def test_memory_of_decompression_bombs(layer):
    bombs = [file for kind, file in encoded_images.bad_images().items() if "huge" in kind] * 32
    assert not layer(tf.constant(bombs[:16]))["valid"].numpy().any()
    assert peak_megabytes(lambda: layer(tf.constant(bombs))) < 100


@pytest.mark.parametrize("color", ["rgb", "luminance"])
def test_empty_batch(color):
    output = ImageInput(color=color)(tf.constant([], tf.string))
    assert output["pixels"].shape == [0, 32, 32, {"rgb": 3, "luminance": 1}[color]]
    assert output["pixels"].dtype == tf.uint8
    assert output["valid"].shape == [0]
    assert output["valid"].dtype == tf.bool


def test_graphs_give_the_same_as_eager_calls(layer, mixed):
    files, _ = mixed
    eager = layer(tf.constant(files))
    compiled = tf.function(layer, input_signature=[tf.TensorSpec([None], tf.string)])
    signature = compiled.get_concrete_function().structured_outputs
    assert signature["pixels"].shape.as_list() == [None, 32, 32, 3]
    assert signature["valid"].shape.as_list() == [None]
    dataset = tf.data.Dataset.from_tensor_slices(files).batch(7)
    batches = list(dataset.map(layer, num_parallel_calls=2).as_numpy_iterator())
    for key in ("pixels", "valid", "reason"):
        np.testing.assert_array_equal(compiled(tf.constant(files))[key], eager[key])
        np.testing.assert_array_equal(np.concatenate([b[key] for b in batches]), eager[key])


def test_an_export_gives_the_same_as_the_layer(layer, mixed, tmp_path):
    files, _ = mixed
    expected = layer(tf.constant(files))
    archive = keras.export.ExportArchive()
    specification = tf.TensorSpec([None], tf.string, name="image_bytes")
    archive.add_endpoint("serve", lambda image_bytes: layer(image_bytes), [specification])
    archive.write_out(str(tmp_path), verbose=False)
    exported = tf.saved_model.load(str(tmp_path)).signatures["serve"]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path))
        outputs = {key: info.name for key, info in graph.signature_def["serve"].outputs.items()}
        placeholder = graph.signature_def["serve"].inputs["image_bytes"].name
        in_session = session.run(outputs, {placeholder: np.array(files, object)})
    for key in ("pixels", "valid", "reason"):
        np.testing.assert_array_equal(exported(image_bytes=tf.constant(files))[key], expected[key])
        np.testing.assert_array_equal(in_session[key], expected[key])
    assert exported(image_bytes=tf.constant([], tf.string))["pixels"].shape == [0, 32, 32, 3]


def test_config_round_trip():
    layer = ImageInput((20, 24), color="luminance", max_pixels=5000, name="pictures")
    restored = keras.layers.deserialize(keras.layers.serialize(layer))
    assert restored.get_config() == layer.get_config()
    files = tf.constant(list(encoded_images.good_images(30, 20).values()))
    np.testing.assert_array_equal(restored(files)["pixels"], layer(files)["pixels"])


@pytest.mark.parametrize(
    "arguments", [{"image_size": 0}, {"image_size": (8, -1)}, {"color": "gray"}, {"max_pixels": 0}]
)
def test_arguments_out_of_range(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        ImageInput(**arguments)


def test_covid_ct_equals_pillow(layer, covid_ct_dir):
    files = {}
    for archive in sorted(pathlib.Path(covid_ct_dir, "Images-processed").glob("*.zip")):
        with zipfile.ZipFile(archive) as opened:
            names = [name for name in sorted(opened.namelist()) if "__MACOSX" not in name]
            images = [name for name in names if name.lower().endswith((".png", ".jpg", ".jpeg"))]
            files |= {name: opened.read(name) for name in images[:: len(images) // 32][:32]}
    assert len(files) >= 63
    assert_close_to_pillow(layer, files)

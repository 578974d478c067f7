"""Functional layer 1, Input (paper, section 3.1): encoded images to small arrays of pixels."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from covid_lm.layers.image_decode import (
    common_files,
    decode_common,
    decode_rgb,
    resize,
)
from covid_lm.layers.image_inspection import (
    DECODER_BYTES,
    Inspection,
    decoder_bytes,
    inspect_images,
)
from covid_lm.layers.image_plain import Decoded, decode_plain, turn_and_resize
from covid_lm.layers.image_reason import image_reasons
from covid_lm.layers.tensorflow_layer import TensorFlowLayer

# Images decoded at the same time within one call, fewer if they are large; no need for more than a
# server's cores.
_PARALLEL_IMAGES = 16

# ITU-R 601 luma in 16-bit fixed point, as Pillow's convert("L") computes it.
_LUMA_WEIGHTS = (19595, 38470, 7471)


@keras.saving.register_keras_serializable(package="covid_lm")
class ImageInput(TensorFlowLayer):
    """Decodes and resizes encoded images; a bad image is reported and never fails its batch.

    Reads PNG, JPEG, BMP (not run-length encoded), and the first frame of GIF and WebP, recognized
    by their magic bytes. Damage to pixels is detected in PNG only, which has checksums.

    JPEG, PNG and WebP are turned as their EXIF orientation demands, as viewers show them.

    Alpha is dropped, not composited; of 16-bit samples, the high byte is kept. The image is resized
    ignoring its aspect ratio: bilinear, antialiased, rounded half to even, clipped to 0..255, which
    is within one level of Pillow's `Image.resize(..., BILINEAR)`.

    Core TensorFlow ops only: works eagerly, in `Dataset.map` and in an export. A `tf.data` pipeline
    within the graph decodes each image by itself and drops those whose decoder fails.

    Args:
        image_size: side of the square output in pixels, or (height, width).
        color: "rgb", or "luminance" (ITU-R 601, from the resized pixels) for one channel.
        max_pixels: an image whose header declares more pixels, or a side above 65,535, is invalid
            and is not allocated. Kinds that need more memory to decode have a lower limit.

    Call arguments:
        image_bytes: string [batch], encoded images.

    Returns:
        A dict of `pixels`, uint8 [batch, height, width, 3 or 1], `valid`, bool [batch], and
        `reason`, string [batch], why an image is not valid, else "". The pixels of an invalid image
        are zeros.

    Raises:
        ValueError: arguments out of range.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 32,
        color: Literal["rgb", "luminance"] = "rgb",
        max_pixels: int = 64_000_000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        height, width = (image_size,) * 2 if isinstance(image_size, int) else image_size
        if min(height, width) < 1:
            raise ValueError(f"image_size must be at least 1, got {image_size!r}")
        if color not in ("rgb", "luminance"):
            raise ValueError(f"color must be 'rgb' or 'luminance', got {color!r}")
        if max_pixels < 1:
            raise ValueError(f"max_pixels must be at least 1, got {max_pixels}")
        self.image_size = (height, width)
        self.color = color
        self.max_pixels = max_pixels
        # Strings are TensorFlow tensors under every Keras backend.
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True

    def call(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Decodes a batch; shapes and dtypes as in the class's docstring."""
        decoded = decode_function()(
            image_bytes,
            tf.constant(self.image_size, tf.int32),
            tf.constant(self.max_pixels, tf.int64),
        )
        pixels = decoded["pixels"]
        if self.color == "luminance":
            weighted = tf.reduce_sum(tf.cast(pixels, tf.int32) * _LUMA_WEIGHTS, -1, keepdims=True)
            pixels = tf.cast((weighted + 0x8000) // 2**16, tf.uint8)
        channels = 1 if self.color == "luminance" else 3
        return {**decoded, "pixels": tf.ensure_shape(pixels, [None, *self.image_size, channels])}


@functools.cache
def decode_function() -> Callable:
    """The graph function of all `ImageInput`s, traced once in a process, which takes two seconds.

    It takes string [batch], the images' height and width, int32 [2], and the largest number of
    pixels, int64, and gives what `ImageInput` gives with colours.
    """

    def decode(
        image_bytes: tf.Tensor, image_size: tf.Tensor, max_pixels: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        def any_images() -> Decoded:
            seen = inspect_images(image_bytes, max_pixels)
            pixels, valid = decode_valid_images(image_bytes, seen, image_size)
            return pixels, valid, image_reasons(image_bytes, seen, valid)

        # Most calls of a server have one image.
        pixels, valid, reason = decode_plain(image_bytes, image_size, max_pixels, any_images)
        return {"pixels": pixels, "valid": valid, "reason": reason}

    signature = [
        tf.TensorSpec([None], tf.string),
        tf.TensorSpec([2], tf.int32),
        tf.TensorSpec([], tf.int64),
    ]
    return tf.function(decode, input_signature=signature, autograph=False)


def decode_valid_images(
    image_bytes: tf.Tensor, seen: Inspection, image_size: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes and resizes the images that can be decoded.

    Returns:
        RGB pixels, uint8 [batch, height, width, 3], zeros where not valid, and bool [batch].
    """
    rows = (image_bytes, seen.headers, seen.formats, seen.parts, seen.sizes, seen.max_pixels)
    parallel = tf.clip_by_value(DECODER_BYTES // decoder_bytes(seen), 1, _PARALLEL_IMAGES)
    count = tf.size(image_bytes, tf.int64)

    def isolated(decode_at: Callable, *elements: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return map_isolated(decode_at, elements, count, image_size, parallel)

    def turned(pixels: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        return turn_and_resize(pixels, seen.orientations[index], image_size)

    def decode_rare() -> tuple[tf.Tensor, tf.Tensor]:
        return isolated(
            lambda index: turned(decode_rgb(*(values[index] for values in rows)), index),
            tf.where(seen.decodable)[:, 0],
        )

    def decode_all_common() -> tuple[tf.Tensor, tf.Tensor]:
        both = tf.range(count), common_files(image_bytes, seen)
        return tf.cond(
            tf.reduce_any(seen.decodable & (seen.orientations > 1)),
            lambda: isolated(lambda i, file: turned(decode_common(file), i), *both),
            lambda: isolated(lambda i, file: resize(decode_common(file), image_size), *both),
        )

    # A mapped function is set up again in each call, at a cost that grows with its ops, and nearly
    # all of these are for the rare kinds.
    index, pixels = tf.cond(
        tf.reduce_any(seen.decodable & ~seen.common), decode_rare, decode_all_common
    )
    index = index[:, None]  # [survivors + 1, 1]
    shape = tf.concat([[count + 1], tf.cast(image_size, tf.int64), [3]], 0)
    pixels = tf.scatter_nd(index, pixels, shape)[:-1]
    valid = tf.scatter_nd(index, tf.ones_like(index[:, 0]), [count + 1])[:-1] > 0
    return pixels, valid


def map_isolated(
    decode_at: Callable,
    elements: Sequence[tf.Tensor],
    count: tf.Tensor,
    image_size: tf.Tensor,
    parallel: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Indices and pixels of the images that `decode_at` can decode, then of one blank image.

    Args:
        decode_at: from an image's elements to uint8 [*image_size, 3].
        elements: [n] each; the first ones are the images' indices, int64.
        count: size of the batch, the index of the blank image.
        parallel: images decoded at the same time.
    """
    blank = tf.ensure_shape(tf.zeros(tf.concat([image_size, [3]], 0), tf.uint8), [None, None, 3])
    return (
        tf.data.Dataset.from_tensor_slices(tuple(elements))
        .map(
            lambda *values: (values[0], decode_at(*values)),
            num_parallel_calls=parallel,
            deterministic=False,
        )
        .ignore_errors()
        # An element that can't fail, because get_single_element rejects an empty dataset.
        .concatenate(tf.data.Dataset.from_tensors((count, blank)))
        .batch(count + 1)
        .get_single_element()
    )

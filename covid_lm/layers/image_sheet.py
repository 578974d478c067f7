"""One picture in several sizes on one sheet, so that it is one array of pixels all the same.

```
sizes (3, 3), (2, 2):   a a a b b
                        a a a b b
                        a a a . .      . blank, and never among the tokens
```
A single size is a sheet of its own.
"""

from collections.abc import Sequence

import tensorflow as tf

from covid_lm.layers.image_decode import resize

Sizes = Sequence[tuple[int, int]]  # heights and widths, from left to right


def sheet_size(sizes: Sizes) -> tuple[int, int]:
    """Height and width of the sheet."""
    return max(height for height, _ in sizes), sum(width for _, width in sizes)


def resize_to_sheet(pixels: tf.Tensor, sizes: Sizes) -> tf.Tensor:
    """One picture, uint8 [any height, any width, channels], to uint8 [*sheet_size, channels]."""
    return _side_by_side([resize(pixels, size) for size in sizes])


def sheet_blocks(sheet: tf.Tensor, sizes: Sizes) -> list[tf.Tensor]:
    """The pictures on sheets [..., *sheet_size, channels]: [..., height, width, channels] each."""
    blocks, left = [], 0
    for height, width in sizes:
        blocks.append(sheet[..., :height, left : left + width, :])
        left += width
    return blocks


def mirrored_sheet(sheet: tf.Tensor, sizes: Sizes) -> tf.Tensor:
    """The sheets with every picture on them mirrored left to right; shape and dtype are kept."""
    blocks = sheet_blocks(sheet, sizes)
    return _side_by_side([tf.reverse(block, axis=[-2]) for block in blocks])


def _side_by_side(blocks: list[tf.Tensor]) -> tf.Tensor:
    if len(blocks) == 1:
        return blocks[0]
    tallest = max(block.shape[-3] for block in blocks)
    padded = []
    for block in blocks:
        below = [0, tallest - block.shape[-3]]
        padded.append(tf.pad(block, [*[[0, 0]] * (len(block.shape) - 3), below, [0, 0], [0, 0]]))
    return tf.concat(padded, axis=-2)

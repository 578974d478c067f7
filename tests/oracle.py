"""An independent tokenizer, written from the paper instead of from the layers.

For resized pixels, Pillow is the oracle: `encoded_images.resized`.
"""

import numpy as np


def oracle_sequence(
    pixels: np.ndarray,
    name: bytes,
    vocabulary: list[str],
    policy: str,
    head: int = 256,
    tail: int = 256,
    patch_size: int | None = None,
) -> dict[str, list]:
    """Token ids, segment ids and padding mask of one image, as lists of head + tail numbers.

    Args:
        pixels: uint8 [height, width, channels], already resized.
        patch_size: if given, each token id is a list of a patch's words.
    """
    length = head + tail
    ids = {word: number for number, word in enumerate(vocabulary)}
    unknown = ids["[UNK]"]

    def word_id(word: str) -> int:
        return ids.get(word, unknown)

    characters = {
        "visible": [word_id(chr(b).lower()) if b < 128 else unknown for b in name],
        "masked": [word_id("[MASK]")] * len(name),
        "fixed": [word_id("[MASK]")] * 24,
        "absent": [],
    }[policy]
    blank, cls, sep = (word_id(word) for word in ("[PAD]", "[CLS]", "[SEP]"))
    if patch_size is None:
        image = [word_id(str(value)) for value in plane_values(pixels)]
    else:
        size = patch_size**2 * pixels.shape[2]
        image = [
            [word_id(str(value)) for value in plane_values(patch)]
            for patch in patches_of(pixels, patch_size)
        ]
        blank, cls, sep, *characters = (
            [word] + [word_id("[PAD]")] * (size - 1) for word in (blank, cls, sep, *characters)
        )
    first = [cls, *image, sep]
    second = [*characters, sep]
    token_ids = first + second
    segment_ids = [0] * len(first) + [1] * len(second)
    if len(token_ids) > length:
        token_ids = token_ids[:head] + token_ids[-tail:]
        segment_ids = segment_ids[:head] + segment_ids[-tail:]
    used = len(token_ids)
    padding = length - used
    return {
        "token_ids": token_ids + [blank] * padding,
        "segment_ids": segment_ids + [0] * padding,
        "padding_mask": [1] * used + [0] * padding,
    }


def plane_values(pixels: np.ndarray) -> list[int]:
    """Plane after plane, row by row."""
    values = []
    for channel in range(pixels.shape[2]):
        for row in range(pixels.shape[0]):
            for column in range(pixels.shape[1]):
                values.append(int(pixels[row, column, channel]))
    return values


def patches_of(pixels: np.ndarray, side: int) -> list[np.ndarray]:
    """The square patches, from left to right and from top to bottom."""
    return [
        pixels[top : top + side, left : left + side]
        for top in range(0, pixels.shape[0], side)
        for left in range(0, pixels.shape[1], side)
    ]

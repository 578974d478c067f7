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
) -> dict[str, list[int]]:
    """Token ids, segment ids and padding mask of one image, as lists of head + tail numbers.

    Args:
        pixels: uint8 [height, width, channels], already resized.
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
    image = [word_id(str(value)) for value in plane_values(pixels)]
    first = [word_id("[CLS]"), *image, word_id("[SEP]")]
    second = [*characters, word_id("[SEP]")]
    token_ids = first + second
    segment_ids = [0] * len(first) + [1] * len(second)
    if len(token_ids) > length:
        token_ids = token_ids[:head] + token_ids[-tail:]
        segment_ids = segment_ids[:head] + segment_ids[-tail:]
    used = len(token_ids)
    padding = length - used
    return {
        "token_ids": token_ids + [word_id("[PAD]")] * padding,
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

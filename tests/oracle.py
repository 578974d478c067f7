"""An independent tokenizer, written from the paper and not from the layers.

The resized pixels have an oracle of their own, Pillow's: `encoded_images.resized`.
"""

import numpy as np


def oracle_sequence(
    pixels: np.ndarray | list[int],
    name: bytes,
    vocabulary: list[str],
    policy: str,
    reading: str = "decimal",
    head: int = 256,
    tail: int = 256,
) -> dict[str, list[int]]:
    """Token ids, segment ids and padding mask of one image, as lists of 512.

    Args:
        pixels: uint8 [height, width, channels], already resized; or values in their order.
    """
    length = head + tail
    unknown = vocabulary.index("[UNK]")

    def word_id(word: str) -> int:
        return vocabulary.index(word) if word in vocabulary else unknown

    def value_id(value: int) -> int:
        return word_id(str(value) if reading == "decimal" else chr(value).lower())

    characters = {
        "visible": [word_id(chr(b).lower()) if b < 128 else unknown for b in name],
        "masked": [word_id("[MASK]")] * len(name),
        "fixed": [word_id("[MASK]")] * 24,
        "absent": [],
    }[policy]
    values = pixels if isinstance(pixels, list) else plane_values(pixels)
    image = [value_id(value) for value in values]
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


def hilbert_places(side: int) -> list[tuple[int, int]]:
    """Rows and columns along Hilbert's curve, drawn by its rewriting rules (as a turtle would)."""
    rules = {"A": "+BF-AFA-FB+", "B": "-AF+BFB+FA-"}
    way = "A"
    for _ in range(side.bit_length() - 1):
        way = "".join(rules.get(step, step) for step in way)
    row, column, down, right = 0, 0, 0, 1
    places = [(row, column)]
    for step in way:
        if step == "F":
            row, column = row + down, column + right
            places.append((row, column))
        elif step in "+-":  # a quarter turn to the right, or to the left
            down, right = (right, -down) if step == "+" else (-right, down)
    return places

"""Where each token of a sequence comes from: which pixel, or which place of the file name."""

import dataclasses

import numpy as np
import tensorflow as tf

from covid_lm.layers.symbols import NUM_SYMBOLS, PAD
from covid_lm.models.preprocessor import Preprocessor


@dataclasses.dataclass(frozen=True)
class TokenPositions:
    """The origin of every token of one sequence.

    Attributes:
        pixels: int32 [length, 3], the plane, row and column of a channel value; -1 elsewhere.
        name: int32 [length], the index, from 0, of what stands for the name between the two
            [SEP]; -1 elsewhere. An index of n counts from the last 1024 bytes of a longer name.
        special: bool [length], true at [CLS] and [SEP].
        planes: (planes, height, width) of the picture.
        name_length: how many positions stand for the name before the trim.
    """

    pixels: np.ndarray
    name: np.ndarray
    special: np.ndarray
    planes: tuple[int, int, int]
    name_length: int

    def kept(self) -> np.ndarray:
        """Which channel values the sequence holds: bool [planes, height, width]."""
        return self.on_planes(np.ones(len(self.name))) > 0

    def on_planes(self, values: np.ndarray) -> np.ndarray:
        """Puts a value per token, float [length], where its pixel is: [planes, height, width]."""
        picture = np.zeros(self.planes, np.float64)
        inside = self.pixels[:, 0] >= 0
        picture[tuple(self.pixels[inside].T)] = values[inside]
        return picture

    def on_name(self, values: np.ndarray) -> np.ndarray:
        """Puts a value per token where its name character is: [name_length], NaN if trimmed."""
        characters = np.full(self.name_length, np.nan)
        inside = self.name >= 0
        characters[self.name[inside]] = values[inside]
        return characters


def token_positions(preprocessor: Preprocessor, filename: bytes) -> TokenPositions:
    """Asks the preprocessor's own concatenation and trim: they get places instead of values.

    Every place is a number above all symbols, so that what comes out below is a special token.

    Args:
        filename: the name's bytes; only its length matters, and only if the policy reads it.
    """
    height, width = preprocessor.image_input.image_size
    channels = 3 if preprocessor.image_input.color == "rgb" else 1
    size = channels * height * width
    places = np.arange(size, dtype=np.int32).reshape(channels, height, width)
    pixels = (NUM_SYMBOLS + places).transpose(1, 2, 0)[np.newaxis]  # [1, height, width, channels]

    name = preprocessor.file_name_input(tf.constant([filename]))
    name_length = int(name["lengths"][0])
    name_places = tf.range(tf.shape(name["symbols"])[1])[tf.newaxis] + NUM_SYMBOLS + size
    name = {"symbols": name_places, "lengths": name["lengths"]}

    sequence = preprocessor.trim(preprocessor.concatenation(tf.constant(pixels), name))
    symbols = sequence["symbols"].numpy()[0]
    source = symbols - NUM_SYMBOLS
    from_image = (source >= 0) & (source < size)
    coordinates = np.stack(np.unravel_index(np.where(from_image, source, 0), places.shape), axis=1)
    return TokenPositions(
        pixels=np.where(from_image[:, np.newaxis], coordinates, -1).astype(np.int32),
        name=np.where(source >= size, source - size, -1).astype(np.int32),
        special=(source < 0) & (symbols != PAD),
        planes=(channels, height, width),
        name_length=name_length,
    )

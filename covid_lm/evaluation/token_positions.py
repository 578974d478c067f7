"""The origin of each token of a sequence: a pixel, or a character of the file name."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from covid_lm.layers.symbols import NUM_SYMBOLS, PAD
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.models.word_gradients import picture_planes, word_sources


@dataclasses.dataclass(frozen=True)
class TokenPositions:
    """The origin of every token of one sequence.

    Attributes:
        pixels: plane, row and column of each byte of a token, int32 [length, bytes, 3], with one
            byte unless the tokens are patches; -1 elsewhere.
        name: index among the tokens for the name, which are between the two [SEP], int32
            [length]; -1 elsewhere. Of a name of more than 1024 bytes only the last 1024 count.
        special: true at [CLS] and [SEP], bool [length].
        planes: (planes, height, width) of the picture.
        name_length: number of tokens for the name before the trim.
    """

    pixels: np.ndarray
    name: np.ndarray
    special: np.ndarray
    planes: tuple[int, int, int]
    name_length: int

    def kept(self) -> np.ndarray:
        """True for the channel values in the sequence, bool [planes, height, width]."""
        return self.on_planes(np.ones(len(self.name))) > 0

    def on_planes(self, values: np.ndarray) -> np.ndarray:
        """Put the values at their pixels: [planes, height, width].

        Args:
            values: one per token, float [length], or one per byte, float [length, bytes].
        """
        picture, inside = np.zeros(self.planes), self.pixels[..., 0] >= 0
        values = np.broadcast_to(values.reshape(len(values), -1), inside.shape)
        picture[tuple(self.pixels[inside].T)] = values[inside]
        return picture

    @property
    def from_image(self) -> np.ndarray:
        """True for tokens of the image, bool [length]."""
        return self.pixels[:, 0, 0] >= 0

    def on_name(self, values: np.ndarray) -> np.ndarray:
        """Put one value per token at its name character: [name_length], NaN if trimmed."""
        characters, inside = np.full(self.name_length, np.nan), self.name >= 0
        characters[self.name[inside]] = values[inside]
        return characters


def token_positions(preprocessor: Preprocessor, filename: bytes) -> TokenPositions:
    """Trace every token, as `word_sources`. Of the name only the length matters."""
    planes = picture_planes(preprocessor)
    size = math.prod(planes)
    name_lengths = preprocessor.file_name_input(tf.constant([filename]))["lengths"]
    source = word_sources(preprocessor, name_lengths).numpy()[0]
    source = source.reshape(len(source), -1)  # [length, bytes]
    from_image = (source >= 0) & (source < size)
    coordinates = np.stack(np.unravel_index(np.where(from_image, source, 0), planes), axis=-1)
    first = source[:, 0]
    return TokenPositions(
        pixels=np.where(from_image[..., np.newaxis], coordinates, -1).astype(np.int32),
        name=np.where(first >= size, first - size, -1).astype(np.int32),
        special=(first < 0) & (first != PAD - NUM_SYMBOLS),
        planes=planes,
        name_length=int(name_lengths[0]),
    )

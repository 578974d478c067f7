"""Which tokens are hidden: those of the image, in the share asked for, by the seed alone."""

import keras
import numpy as np
import tensorflow as tf

from covid_lm.backbones.vocabulary import built_in_vocabulary
from covid_lm.layers.token_dropout import TokenDropout
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.protocols import LAYOUTS
from tests.conftest import encode, random_picture

VOCABULARY = list(built_in_vocabulary())
MASK = VOCABULARY.index("[MASK]")
NAME = b"12 345.png"  # its digits are words of channel values, too


def layer(rate: float) -> TokenDropout:
    encoder = Preprocessor(VOCABULARY).token_encoder
    return TokenDropout(rate, encoder.image_token_ids, MASK, len(VOCABULARY))


def tokens(count: int, policy: str = "visible") -> dict[str, tf.Tensor]:
    preprocessor = Preprocessor(VOCABULARY, policy=policy, **LAYOUTS["gray22"])
    images = tf.repeat([encode(random_picture(30, 40))], count)
    output = preprocessor(images, tf.repeat([NAME], count))
    return {key: output[key] for key in ("token_ids", "segment_ids", "padding_mask")}


def seeds(count: int) -> tf.Tensor:
    return tf.stack([tf.range(count), tf.fill([count], 3)], axis=1)


def test_only_image_tokens_are_hidden_and_in_their_share():
    before = tokens(20)
    after = layer(0.3)(before, seeds(20))
    np.testing.assert_array_equal(after["segment_ids"], before["segment_ids"])
    np.testing.assert_array_equal(after["padding_mask"], before["padding_mask"])
    changed = (after["token_ids"] != before["token_ids"]).numpy()
    assert (after["token_ids"].numpy()[changed] == MASK).all()
    values = slice(1, 1 + 22 * 22)
    assert not changed[:, 0].any()
    assert not changed[:, values.stop :].any()
    assert 0.27 < changed[:, values].mean() < 0.33
    assert changed[:, values].mean(axis=0).max() < 1


def test_at_the_highest_rate_every_value_goes_and_nothing_else():
    before = tokens(1, policy="fixed")
    after = layer(np.nextafter(1.0, 0.0))(before, seeds(1))["token_ids"][0].numpy()
    expected = before["token_ids"][0].numpy().copy()
    expected[1 : 1 + 22 * 22] = MASK
    np.testing.assert_array_equal(after, expected)


def test_a_sequence_depends_on_its_seed_and_not_on_its_batch():
    together = layer(0.5)(tokens(6), seeds(6))["token_ids"].numpy()
    alone = layer(0.5)(tokens(1), seeds(6)[4:5])["token_ids"].numpy()
    np.testing.assert_array_equal(together[4:5], alone)
    assert len({row.tobytes() for row in together}) == 6


def test_config_round_trip():
    again = keras.layers.deserialize(keras.layers.serialize(layer(0.5)))
    np.testing.assert_array_equal(
        again(tokens(2), seeds(2))["token_ids"], layer(0.5)(tokens(2), seeds(2))["token_ids"]
    )

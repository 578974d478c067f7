import numpy as np
import pytest
import tensorflow as tf

from covid_lm.backbones.vocabulary import built_in_vocabulary, read_vocabulary
from covid_lm.errors import InputError
from covid_lm.layers.symbols import CLS, MASK, NAME_OFFSET, PAD, SEP
from covid_lm.layers.token_encoder import TokenEncoder, symbol_token_ids

VOCABULARY = built_in_vocabulary()


def words_of(symbols, vocabulary=VOCABULARY):
    sequence = {"symbols": tf.constant([symbols]), "segment_ids": tf.zeros([1, len(symbols)])}
    output = TokenEncoder(vocabulary)(sequence)
    return [vocabulary[i] for i in output["token_ids"][0]], output


def test_decimal_words():
    symbols = [CLS, 0, 10, 255, SEP, *(NAME_OFFSET + b for b in b"Aa9-% \x00\xff"), MASK, PAD]
    words, output = words_of(symbols)
    name = ["a", "a", "9", "-", "%", "[UNK]", "[UNK]", "[UNK]"]
    assert words == ["[CLS]", "0", "10", "255", "[SEP]", *name, "[MASK]", "[PAD]"]
    np.testing.assert_array_equal(output["padding_mask"][0], [1] * 14 + [0])


def test_chinese_vocabulary_has_every_channel_value(chinese_vocabulary_file):
    vocabulary = read_vocabulary(chinese_vocabulary_file)
    assert len(vocabulary) == 21128
    ids = symbol_token_ids(vocabulary)
    assert [vocabulary[i] for i in ids[:256]] == [str(v) for v in range(256)]
    assert np.isin(ids, TokenEncoder(vocabulary).reachable_token_ids).all()


def test_a_value_without_a_word_is_an_error():
    vocabulary = [word for word in VOCABULARY if word != "17"]
    with pytest.raises(InputError, match=r"no word for '17' \(1 missing in all\)"):
        TokenEncoder(vocabulary)


def test_config_round_trip():
    layer = TokenEncoder.from_config(TokenEncoder(VOCABULARY).get_config())
    assert layer.vocabulary == VOCABULARY

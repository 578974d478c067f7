"""`ClsEncoder` compared with keras_nlp's backbone: eager, in graphs, compiled and exported."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from covid_lm.backbones.attention import attention_in_training, mask_bias, probabilities
from covid_lm.backbones.cls_encoder import ClsEncoder
from covid_lm.backbones.configs import BACKBONES, BackboneConfig, exact_flops
from covid_lm.backbones.elementwise import ACTIVATIONS, keep_mask
from covid_lm.backbones.patch_embedding import build_backbone

CONFIG = BackboneConfig(2, 64, 4, 128, vocabulary_size=50, max_sequence_length=32)
LENGTH = 24


def make_inputs(lengths=(24, 13, 5)) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    shape = (len(lengths), LENGTH)
    return {
        "token_ids": generator.integers(0, 50, shape, dtype=np.int32),
        "segment_ids": generator.integers(0, 2, shape, dtype=np.int32),
        "padding_mask": (np.arange(LENGTH) < np.array(lengths)[:, None]).astype(np.int32),
    }


def make_backbone(num_layers: int = 2, dtype: str = "float32"):
    """A backbone whose biases and normalizations aren't at their 0 and 1."""
    keras.utils.set_random_seed(0)
    config = dataclasses.replace(CONFIG, num_layers=num_layers)
    backbone = build_backbone(config, dtype=dtype)
    generator = np.random.default_rng(2)
    for variable in backbone.weights:
        noise = generator.normal(0, 0.1, variable.shape)
        variable.assign(variable.numpy() + noise)
    return backbone


def make_encoder(**kwargs) -> ClsEncoder:
    backbone = make_backbone(dtype=kwargs.pop("dtype", "float32"))
    return ClsEncoder(backbone, activation="gelu_approximate", **kwargs)


def make_model(encoder: ClsEncoder) -> keras.Model:
    inputs = {name: keras.Input((LENGTH,), dtype="int32", name=name) for name in make_inputs()}
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(encoder(inputs)))


def output_and_gradients(function, variables):
    target = np.random.default_rng(3).normal(size=(3, 64)).astype(np.float32)
    with tf.GradientTape() as tape:
        output = function(make_inputs())
        loss = tf.reduce_sum(tf.cast(output, tf.float32) * target)
    gradients = tape.gradient(loss, variables)
    assert all(gradient is not None for gradient in gradients)
    return output.numpy(), [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]


WAYS = {
    "eager": lambda function: function,
    "graph": tf.function,
    "xla": lambda function: tf.function(function, jit_compile=True),
}


@pytest.mark.parametrize(
    ("way", "training"),
    [
        *(("eager", False), ("graph", False), ("graph", True)),
        pytest.param("xla", True, marks=pytest.mark.slow),  # test_global_equality compiles, too
    ],
)
def test_equals_the_library_forward_and_backward(way, training):
    encoder = make_encoder(dropout=0.0)
    variables = encoder.trainable_variables
    backbone = encoder.backbone
    expected = output_and_gradients(lambda x: backbone(x)["sequence_output"][:, 0], variables)
    actual = output_and_gradients(WAYS[way](lambda x: encoder(x, training=training)), variables)
    np.testing.assert_allclose(actual[0], expected[0], atol=1e-5)
    for variable, ours, theirs in zip(variables, actual[1], expected[1], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4, err_msg=variable.path)


def test_one_layer():
    backbone = make_backbone(num_layers=1)
    encoder = ClsEncoder(backbone, activation="gelu_approximate")
    expected = backbone(make_inputs())["sequence_output"][:, 0]
    np.testing.assert_allclose(encoder(make_inputs()), expected, atol=1e-5)


def test_padding_is_not_read():
    encoder = make_encoder()
    inputs, changed = make_inputs(), make_inputs()
    padding = changed["padding_mask"] == 0
    changed["token_ids"][padding] = 7
    changed["segment_ids"][padding] = 1
    np.testing.assert_array_equal(encoder(inputs), encoder(changed))
    changed["padding_mask"][:] = 1
    assert np.abs(encoder(inputs) - encoder(changed))[1:].max() > 1e-2


@pytest.mark.parametrize("way", ["graph", pytest.param("xla", marks=pytest.mark.slow)])
def test_mixed_bfloat16_is_near_float32(way):
    expected = make_encoder()(make_inputs()).numpy()
    encoder = make_encoder(dtype="mixed_bfloat16")
    output = WAYS[way](lambda x: encoder(x))(make_inputs())
    assert output.dtype == tf.bfloat16
    assert all(variable.dtype == "float32" for variable in encoder.trainable_variables)
    error = np.abs(tf.cast(output, tf.float32).numpy() - expected)
    assert error.mean() < 0.01 * np.abs(expected).mean()


def test_mixed_bfloat16_gradients_are_near_float32():
    gradients = {}
    for dtype in ("float32", "mixed_bfloat16"):
        encoder = make_encoder(dtype=dtype, dropout=0.0)
        call = tf.function(lambda x, encoder=encoder: encoder(x, training=True))
        gradients[dtype] = output_and_gradients(call, encoder.trainable_variables)[1]
    for exact, rounded in zip(*gradients.values(), strict=True):
        # The key biases' gradient vanishes, so the error has nothing to be relative to.
        assert np.linalg.norm(rounded - exact) < 0.05 * np.linalg.norm(exact) + 0.02


def test_exact_gelu_and_epsilon_are_used():
    x = np.linspace(-4, 4, 81, dtype=np.float32)
    exact = ACTIVATIONS["gelu"](keras.ops.convert_to_tensor(x))
    np.testing.assert_allclose(exact, keras.activations.gelu(x, approximate=False), atol=1e-6)
    backbone = make_backbone()
    reference = ClsEncoder(backbone, "gelu_approximate")(make_inputs()).numpy()
    for other in (ClsEncoder(backbone, "gelu"), ClsEncoder(backbone, "gelu_approximate", 0.1)):
        assert np.abs(other(make_inputs()).numpy() - reference).max() > 1e-4


def test_inference_is_deterministic_and_dropout_is_for_training():
    encoder = make_encoder(seed=1)
    inputs = make_inputs()
    np.testing.assert_array_equal(encoder(inputs), encoder(inputs, training=False))
    first, second = encoder(inputs, training=True), encoder(inputs, training=True)
    assert np.abs(first - second).max() > 1e-2
    again = make_encoder(seed=1)
    np.testing.assert_array_equal(again(inputs, training=True), first)


def test_gradient_flows_through_what_dropout_kept():
    generator = np.random.default_rng(5)
    query, key, value, upstream = (
        tf.constant(generator.normal(size=(2, 3, 9, 4)), tf.float32) for _ in range(4)
    )
    bias = mask_bias(np.array([[1] * 9, [1] * 6 + [0] * 3]), "float32")
    seed = tf.constant([5, 2])
    keep = tf.cast(keep_mask((2, 3, 9, 9), 0.3, seed), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([query, key, value])
        written_out = attention_in_training(query, key, value, bias, 0.3, seed)
        automatic = tf.matmul(
            probabilities(query, key, bias, query.shape[-1] ** -0.5) * keep / 0.7, value
        )
        losses = [tf.reduce_sum(output * upstream) for output in (written_out, automatic)]
    np.testing.assert_allclose(written_out, automatic, atol=1e-6)
    ours, theirs = (tape.gradient(loss, [query, key, value]) for loss in losses)
    for actual, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_trainable_variables_leave_the_pooler_out():
    encoder = make_encoder()
    paths = [variable.path for variable in encoder.trainable_variables]
    assert not any("pooled_dense" in path for path in paths)
    assert len(paths) == 5 + 2 * 16


def test_config_round_trip():
    encoder = make_encoder(layer_norm_epsilon=1e-7, dropout=0.2, seed=4, name="cls")
    config = keras.saving.serialize_keras_object(encoder)
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == encoder.get_config()
    assert (copy.dropout, copy.layer_norm_epsilon, copy.name) == (0.2, 1e-7, "cls")
    copy.set_weights(encoder.get_weights())
    np.testing.assert_array_equal(copy(make_inputs()), encoder(make_inputs()))


def test_model_saves_and_loads(tmp_path):
    inputs = make_inputs()
    model = make_model(make_encoder())
    expected = model.predict_on_batch(inputs)
    model.save_weights(tmp_path / "model.weights.h5")
    other = make_model(ClsEncoder(build_backbone(CONFIG), activation="gelu_approximate"))
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other.predict_on_batch(inputs), expected)
    model.save(tmp_path / "model.keras")
    whole = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(whole.predict_on_batch(inputs), expected)


@pytest.mark.filterwarnings("error:Gradients do not exist")
def test_model_learns_in_mixed_bfloat16():
    model = make_model(make_encoder(dtype="mixed_bfloat16", seed=0))
    model.compile(
        keras.optimizers.AdamW(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    labels = np.array([0, 1, 1])
    losses = [float(model.train_on_batch(make_inputs(), labels)) for _ in range(12)]
    assert losses[-1] < 0.5 * losses[0]


def test_exported_model_gives_the_same(tmp_path):
    model = make_model(make_encoder())
    archive = keras.export.ExportArchive()
    signature = {name: tf.TensorSpec([None, LENGTH], tf.int32, name=name) for name in make_inputs()}
    archive.add_endpoint("serve", lambda inputs: model(inputs, training=False), [signature])
    archive.track(model)
    archive.write_out(str(tmp_path / "export"), verbose=False)
    inputs = {name: tf.constant(array) for name, array in make_inputs().items()}
    loaded = tf.saved_model.load(str(tmp_path / "export"))
    np.testing.assert_allclose(
        loaded.serve(inputs), model.predict_on_batch(make_inputs()), atol=1e-6
    )


def test_flops_of_the_exact_result():
    assert exact_flops(BACKBONES["rbt3"], 512) == 16_139_157_504
    one_layer = BackboneConfig(1, 64, 4, 128)
    assert exact_flops(one_layer, 24) == 8 * 64**2 + 4 * 4 * 24 * 64 + 4 * 64 * 128

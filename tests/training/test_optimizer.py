"""Loss and learning rate against their formulas."""

import math

import keras
import numpy as np
import pytest

from covid_lm.backbones.configs import backbone_config
from covid_lm.backbones.patch_embedding import build_backbone
from covid_lm.training.optimizer import (
    averaged_weights,
    build_optimizer,
    compile_for_training,
    cross_entropy,
    matrix_shape,
    scheduled_learning_rate,
)
from covid_lm.training.options import TrainingOptions


def test_the_cosine_schedule_step_by_step():
    schedule = scheduled_learning_rate("cosine", 2e-4, 40)
    rising = [2e-4 * share for share in (0.25, 0.4375, 0.625, 0.8125)]  # from a quarter to all
    falling = [2e-4 * (1 + math.cos(math.pi * step / 36)) / 2 for step in range(37)]
    rates = [float(schedule(step)) for step in range(41)]
    np.testing.assert_allclose(rates, [*rising, *falling], atol=1e-10)
    assert max(rates) == pytest.approx(2e-4)
    assert rates[-1] == pytest.approx(0, abs=1e-10)


def test_a_schedule_of_one_step():
    assert float(scheduled_learning_rate("cosine", 1e-3, 1)(0)) == pytest.approx(1e-3)


def test_a_constant_rate_is_a_number():
    assert scheduled_learning_rate("constant", 1e-3, 40) == 1e-3


def test_label_smoothing_is_the_formula():
    logits = np.array([[2.0, -1.0, 0.5], [0.0, 1.0, -3.0]], np.float32)
    labels = np.array([2, 0])
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    targets = np.full((2, 3), 0.3 / 3)
    targets[[0, 1], labels] += 0.7
    expected = -(targets * log_probabilities).sum(axis=1)
    for shaped in (labels, labels[:, np.newaxis]):
        given = cross_entropy(0.3)(shaped, keras.ops.convert_to_tensor(logits))
        np.testing.assert_allclose(given, expected, rtol=1e-6)
    plain = cross_entropy()(labels, logits)
    assert float(plain) == pytest.approx(-log_probabilities[[0, 1], labels].mean(), rel=1e-6)


def test_labels_that_are_probabilities_are_smoothed_in_the_same_way():
    logits = np.array([[2.0, -1.0, 0.5], [0.0, 1.0, -3.0]], np.float32)
    labels = np.array([2, 0])
    loss = cross_entropy(0.3, soft=True)(np.eye(3, dtype=np.float32)[labels], logits)
    hard = cross_entropy(0.3)(labels, keras.ops.convert_to_tensor(logits))
    assert float(loss) == pytest.approx(float(np.mean(hard)), rel=1e-6)
    shares = np.array([[0.0, 0.25, 0.75], [0.5, 0.5, 0.0]], np.float32)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -(shares * log_probabilities).sum(axis=1).mean()
    assert float(cross_entropy(soft=True)(shares, logits)) == pytest.approx(expected, rel=1e-6)


def test_accuracy_on_mixed_images_is_that_of_the_larger_share():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, use_bias=False)])
    model.set_weights([np.eye(2)])
    compile_for_training(model, TrainingOptions(mix="both", protocol="fixed"), steps_per_epoch=1)
    targets = np.array([[0.6, 0.4], [0.3, 0.7], [0.9, 0.1]], np.float32)
    inputs = np.array([[1.0, 0.0], [1.0, 0.0], [2.0, 1.0]])
    assert model.evaluate(inputs, targets, verbose=0, return_dict=True)["accuracy"] == (
        pytest.approx(2 / 3)
    )


def test_one_step_with_smoothing_and_weight_decay():
    """A step of AdamW on logits x W: decay first, then the rate times the gradient's sign."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, use_bias=False)])
    model.set_weights([np.array([[0.5, -1.0], [2.0, 0.25]])])
    options = TrainingOptions(learning_rate=0.1, weight_decay=0.5, label_smoothing=0.2)
    compile_for_training(model, options, steps_per_epoch=1)
    model.train_on_batch(np.array([[1.0, 2.0]]), np.array([1]))
    signs = np.array([[1.0, -1.0], [1.0, -1.0]])  # of the gradient: class 0 is too probable
    expected = np.array([[0.5, -1.0], [2.0, 0.25]]) * (1 - 0.1 * 0.5) - 0.1 * signs
    np.testing.assert_allclose(model.get_weights()[0], expected, atol=1e-5)


def test_weight_decay_leaves_out_biases_normalization_and_position_tables():
    """Without a gradient, a step of AdamW is the decay alone."""
    backbone = build_backbone(backbone_config("1x64"))
    for variable in backbone.trainable_variables:
        variable.assign(np.ones(variable.shape))
    optimizer = build_optimizer("adamw", 0.1, weight_decay=0.5)
    zeros = [keras.ops.zeros(variable.shape) for variable in backbone.trainable_variables]
    optimizer.apply(zeros, backbone.trainable_variables)
    decayed = {
        variable.path for variable in backbone.trainable_variables if np.allclose(variable, 0.95)
    }
    kernels = {
        variable.path for variable in backbone.trainable_variables if variable.name == "kernel"
    }
    assert decayed == {"token_embedding/embeddings", *kernels}
    assert len(kernels) == 7
    for variable in backbone.trainable_variables:
        if variable.path not in decayed:
            np.testing.assert_array_equal(variable, 1)


def test_the_papers_weight_decay_changes_no_weight():
    layer = keras.layers.Dense(64)
    layer.build([None, 64])
    before = layer.get_weights()
    build_optimizer("adamw", 0.1).apply(
        [keras.ops.zeros([64, 64]), keras.ops.zeros([64])], layer.variables
    )
    for value, weight in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, value)


@pytest.mark.parametrize("ema", [0.0, 0.75])
def test_averaged_weights(ema):
    """The average starts with the weights after the first step; `fit` leaves the weights."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, use_bias=False)])
    model.set_weights([np.array([[0.5, -1.0], [2.0, 0.25]])])
    options = TrainingOptions(learning_rate=0.1, ema=ema)
    compile_for_training(model, options, steps_per_epoch=1)
    steps = []
    for _ in range(4):
        model.fit(np.array([[1.0, 2.0]]), np.array([1]), verbose=0)
        steps.append(model.get_weights()[0])
    expected = steps[0]
    for weights in steps[1:]:
        expected = ema * expected + (1 - ema) * weights
    with averaged_weights(model):
        np.testing.assert_allclose(model.get_weights()[0], expected, rtol=1e-6)
    np.testing.assert_array_equal(model.get_weights()[0], steps[-1])
    assert np.array_equal(expected, steps[-1]) == (ema == 0)


def test_the_papers_constants():
    config = build_optimizer("adamw", 1e-4).get_config()
    assert config["weight_decay"] == 1e-8
    assert (config["beta_1"], config["beta_2"]) == (0.99, 0.999)
    assert config["learning_rate"] == pytest.approx(1e-4)


def test_gradients_of_a_row_that_is_read_twice_are_summed_before_they_are_squared():
    """The first step of AdamW is the learning rate, whatever the size of the gradient."""
    model = keras.Sequential([keras.Input((3,), dtype="int32"), keras.layers.Embedding(4, 1)])
    model.set_weights([np.zeros([4, 1])])
    model.compile(build_optimizer("adamw", 0.1), "mse", jit_compile=False)
    model.train_on_batch(np.array([[1, 1, 2]]), np.ones([1, 3, 1]))
    np.testing.assert_allclose(model.get_weights()[0][:, 0], [0, 0.1, 0.1, 0], atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "matrix"),
    [
        ((64, 256), (64, 256)),  # a dense layer
        ((128, 2, 64), (128, 128)),  # queries, keys, values
        ((2, 64, 128), (128, 128)),  # output of the attention
        ((64, 1, 64), (64, 64)),
        ((1, 64, 64), (64, 64)),
        ((3, 3, 16, 32), (144, 32)),  # a convolution
    ],
)
def test_the_matrix_of_a_kernel(kernel, matrix):
    assert matrix_shape(kernel) == matrix


def orthogonalized(matrix: np.ndarray, steps: int = 5) -> np.ndarray:
    """Newton-Schulz iteration of Muon's definition (Jordan 2024), in float64."""
    wide = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    x = wide / np.linalg.norm(wide)
    for _ in range(steps):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x if wide is matrix else x.T


def test_two_steps_of_muon_on_an_encoder():
    """The encoder's kernels move along the orthogonalized momentum."""
    backbone = build_backbone(backbone_config("1x128"))
    variables = backbone.trainable_variables
    optimizer = build_optimizer("muon", 0.1, weight_decay=0.5)
    draw = np.random.default_rng(0)
    gradients = [[draw.normal(size=v.shape) for v in variables] for _ in range(2)]
    expected = [keras.ops.convert_to_numpy(v).astype(np.float64) for v in variables]
    paths = [v.path for v in variables]
    in_layers = [i for i, path in enumerate(paths) if path.startswith("transformer_layer")]
    kernels = [i for i in in_layers if paths[i].endswith("kernel")]
    momentum = [0.0] * len(variables)
    for step in gradients:
        for i in kernels:
            momentum[i] = 0.95 * momentum[i] + step[i]
            matrix = matrix_shape(step[i].shape)
            change = orthogonalized((step[i] + 0.95 * momentum[i]).reshape(matrix))
            change = change * 0.2 * np.sqrt(max(matrix))
            expected[i] = expected[i] * (1 - 0.1 * 0.5) - 0.1 * change.reshape(step[i].shape)
        optimizer.apply([keras.ops.convert_to_tensor(x, "float32") for x in step], variables)
    assert len(kernels) == 6
    for i in kernels:
        np.testing.assert_allclose(variables[i], expected[i], atol=2e-3)


def test_muon_moves_what_is_not_a_kernel_of_the_encoder_as_adamw_does():
    """The first step of Adam is the learning rate times the gradient's sign."""
    embedding = keras.layers.Embedding(4, 1, name="token_embedding")
    head = keras.layers.Dense(1, use_bias=False)
    model = keras.Sequential([keras.Input((3,), dtype="int32"), embedding, head])
    model.set_weights([np.zeros([4, 1]), np.ones([1, 1])])
    model.compile(build_optimizer("muon", 0.1, weight_decay=0.0), "mse", jit_compile=False)
    model.train_on_batch(np.array([[1, 1, 2]]), np.ones([1, 3, 1]))
    moved, kernel = model.get_weights()
    np.testing.assert_allclose(moved, [[0.0], [0.1], [0.1], [0.0]], atol=1e-5)
    np.testing.assert_allclose(kernel, [[1.0]])

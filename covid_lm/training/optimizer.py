"""Loss, optimizer and learning-rate schedule (paper, section 4.1)."""

import contextlib
import math
from collections.abc import Callable, Iterator

import keras
from keras import ops

from covid_lm.training.options import TrainingOptions

PAPER_WEIGHT_DECAY = 1e-8
ENCODER = ("transformer_layer", "patch_embedding")  # in the paths of the encoder's kernels
WARM_UP = 0.1  # of a cosine schedule's steps
# Words in the paths of variables that weight decay leaves out.
UNDECAYED = ("bias", "gamma", "beta", "position_embedding", "segment_embedding")


def compile_for_training(
    model: keras.Model, options: TrainingOptions, steps_per_epoch: int
) -> None:
    """Compiles with the optimizer, and the cross-entropy of the logits, that `options` name."""
    steps = options.epochs * steps_per_epoch
    learning_rate = scheduled_learning_rate(options.schedule, options.learning_rate, steps)
    accuracy = keras.metrics.SparseCategoricalAccuracy
    if options.mix != "none":  # against the class with the largest share
        accuracy = keras.metrics.CategoricalAccuracy
    model.compile(
        optimizer=build_optimizer(
            options.optimizer, learning_rate, options.weight_decay, options.ema
        ),
        loss=cross_entropy(options.label_smoothing, soft=options.mix != "none"),
        metrics=[accuracy(name="accuracy")],
        jit_compile=with_xla(),
    )


def with_xla() -> bool:
    """The argument `jit_compile` of a model to train.

    Under TensorFlow, XLA gives the same numbers; on CPU it is slower, on a TPU it is used anyway.
    """
    return keras.backend.backend() == "jax"


def build_optimizer(
    name: str,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    weight_decay: float = PAPER_WEIGHT_DECAY,
    ema: float = 0.0,
) -> keras.optimizers.Optimizer:
    """AdamW with the paper's constants unless given, or Muon.

    Args:
        name: one of `OPTIMIZERS`.
        ema: momentum of a moving average of the weights; 0 for none.
    """
    averages = {"use_ema": True, "ema_momentum": ema} if ema else {}
    if name == "muon":
        return MatrixMuon(
            learning_rate, weight_decay=weight_decay, adam_weight_decay=weight_decay, **averages
        )
    return SummedAdamW(
        learning_rate, beta_1=0.99, beta_2=0.999, weight_decay=weight_decay, **averages
    )


class EpochOptimizer(keras.optimizers.Optimizer):
    """Base of both optimizers: decay, sums of sparse gradients and averages of weights.

    Weight decay leaves out biases, normalization and the tables of positions and segments. The
    gradients of an embedding row are summed before they are used: TensorFlow gives the gradient of
    a table as one slice per reading of a row.
    """

    def build(self, variables: list[keras.Variable]) -> None:
        """Makes the optimizer's variables."""
        undecayed = [v for v in variables if any(word in v.path for word in UNDECAYED)]
        self.exclude_from_weight_decay(undecayed)
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate):
        """Updates one variable with the sum of its gradient's slices."""
        dense = ops.add(gradient, ops.zeros(variable.shape, variable.dtype))
        super().update_step(dense, variable, learning_rate)

    def finalize_variable_values(self, var_list: list[keras.Variable]) -> None:
        """Does nothing: `fit` calls it after each epoch, and the next one needs the weights."""

    def assign_averages(self, variables: list[keras.Variable]) -> None:
        """Sets the given trainable variables to their averages, if there are any."""
        super().finalize_variable_values(variables)
        for variable in variables:  # JAX gave them the averages' own memory, to be overwritten
            variable.assign(ops.copy(variable))


@keras.saving.register_keras_serializable("covid_lm")
class SummedAdamW(EpochOptimizer, keras.optimizers.AdamW):
    """AdamW that sums the gradients of an embedding row before it squares them.

    Keras' AdamW adds up the squares of a row's slices, so that the second moment depends on how
    often a row was read, and on the number of devices. As defined (Kingma and Ba, 2015, algorithm
    1), and in JAX and PyTorch, the sum is squared. The paper's weight decay of 1e-8 is below the
    resolution of float32 weights and changes none at all.
    """


@keras.saving.register_keras_serializable("covid_lm")
class MatrixMuon(EpochOptimizer, keras.optimizers.Muon):
    """Muon for the encoder's kernels, AdamW for everything else (Jordan 2024; Liu et al. 2025).

    Keras' Muon updates kernels of two axes only. Here those of the attention, which have an axis of
    heads, and of convolutions are matrices, too: inputs x outputs. With Keras' scale of updates,
    learning rate and weight decay mean the same as for AdamW.
    """

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        """Overrides Keras' choice: only kernels of the encoder are for Muon."""
        encoder = any(part in variable.path for part in ENCODER)
        return not (encoder and variable.path.endswith("kernel"))

    def _muon_update_step(self, gradient, variable, lr, m):
        """Keras' step, on the momentum as a matrix."""
        self.assign_add(m, ops.add(gradient, m * (self.momentum - 1)))
        direction = ops.add(gradient, self.momentum * m)  # Nesterov's
        matrix = ops.reshape(direction, matrix_shape(variable.shape))
        update = self.lr_adjust(lr * self.zeropower_via_newtonschulz5(matrix, self.ns_steps))
        self.assign_sub(variable, ops.reshape(update, variable.shape))


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Inputs and outputs of a kernel.

    Args:
        shape: [inputs, outputs], [hidden_dim, heads, width of a head], [heads, width of a head,
            hidden_dim] or [height, width, inputs, outputs].
    """
    size = math.prod(shape)
    inputs = shape[0] if len(shape) == 3 and shape[0] ** 2 >= size else size // shape[-1]
    return inputs, size // inputs


@contextlib.contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Gives the model the averages of its weights, if its optimizer has any, within the context."""
    if not model.optimizer.use_ema:
        yield
        return
    weights = [ops.convert_to_numpy(variable) for variable in model.trainable_variables]
    model.optimizer.assign_averages(model.trainable_variables)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, weights, strict=True):
            variable.assign(value)


def cross_entropy(label_smoothing: float = 0.0, soft: bool = False) -> keras.losses.Loss | Callable:
    """The loss of logits [batch, k] for labels int [batch], or for probabilities [batch, k].

    With smoothing s the target is 1 - s + s / k for the label and s / k for each other class
    (Szegedy et al. 2016, section 7). Probabilities are smoothed in the same way.

    Args:
        soft: whether the labels are probabilities.
    """
    if soft:
        return keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=label_smoothing
        )
    if not label_smoothing:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def smoothed(labels, logits):
        labels = ops.reshape(ops.cast(labels, "int32"), (-1,))  # Keras may add an axis
        targets = ops.one_hot(labels, logits.shape[-1])
        return keras.losses.categorical_crossentropy(
            targets, logits, from_logits=True, label_smoothing=label_smoothing
        )

    return smoothed


def scheduled_learning_rate(
    schedule: str, learning_rate: float, steps: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The optimizer's learning rate over `steps` steps.

    `constant`, or `cosine`: it rises linearly to `learning_rate` in the first tenth of the steps,
    then falls along half a cosine wave to 0 after the last step (Loshchilov and Hutter 2017,
    without restarts). It follows from the optimizer's step count, which checkpoints hold.
    """
    if schedule == "constant":
        return learning_rate
    rising = max(round(WARM_UP * steps), 1)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=learning_rate / rising,  # a first step of 0 would be lost
        decay_steps=max(steps - rising, 1),
        warmup_target=learning_rate,
        warmup_steps=rising,
    )

"""Loss, optimizer and learning-rate schedule (paper, section 4.1)."""

from collections.abc import Callable

import keras
from keras import ops

from covid_lm.training.options import TrainingOptions

PAPER_WEIGHT_DECAY = 1e-8
WARM_UP = 0.1  # of a cosine schedule's steps


def compile_for_training(
    model: keras.Model, options: TrainingOptions, steps_per_epoch: int, jit_compile: bool = False
) -> None:
    """Compiles with the optimizer, and the cross-entropy of the logits, that `options` name.

    XLA (`jit_compile`) gives the same numbers. On CPU it is slower; on a TPU it is used anyway.
    """
    steps = options.epochs * steps_per_epoch
    learning_rate = scheduled_learning_rate(options.schedule, options.learning_rate, steps)
    accuracy = keras.metrics.SparseCategoricalAccuracy
    if options.mix != "none":  # against the class with the largest share
        accuracy = keras.metrics.CategoricalAccuracy
    model.compile(
        optimizer=paper_optimizer(learning_rate, options.weight_decay),
        loss=cross_entropy(options.label_smoothing, soft=options.mix != "none"),
        metrics=[accuracy(name="accuracy")],
        jit_compile=jit_compile,
    )


def paper_optimizer(
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    weight_decay: float = PAPER_WEIGHT_DECAY,
) -> keras.optimizers.AdamW:
    """AdamW with the paper's constants, unless given."""
    return SummedAdamW(learning_rate, beta_1=0.99, beta_2=0.999, weight_decay=weight_decay)


@keras.saving.register_keras_serializable("covid_lm")
class SummedAdamW(keras.optimizers.AdamW):
    """AdamW that sums the gradients of an embedding row before it squares them.

    TensorFlow gives the gradient of a table as one slice per reading of a row. Keras' AdamW adds up
    the squares of these slices, so that the second moment depends on how often a row was read, and
    on the number of devices. As defined (Kingma and Ba, 2015, algorithm 1), and in JAX and PyTorch,
    the sum is squared.
    """

    def update_step(self, gradient, variable, learning_rate):
        """Updates one variable with the sum of its gradient's slices."""
        dense = ops.add(gradient, ops.zeros(variable.shape, variable.dtype))
        super().update_step(dense, variable, learning_rate)


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

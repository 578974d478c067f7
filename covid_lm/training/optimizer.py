"""What is minimized, and how: the cross-entropy of the logits, by AdamW (paper, section 4.1)."""

from collections.abc import Callable

import keras
from keras import ops

PAPER_WEIGHT_DECAY = 1e-8
WARM_UP = 0.1  # of a cosine schedule's steps


def compile_for_training(
    model: keras.Model,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    weight_decay: float = PAPER_WEIGHT_DECAY,
    label_smoothing: float = 0.0,
    jit_compile: bool = False,
) -> None:
    """The paper's optimizer (section 4.1) on the cross-entropy of the logits.

    XLA (`jit_compile`) gives the same numbers; on CPU it is slower, and what a TPU runs is compiled
    by it in any case.
    """
    model.compile(
        optimizer=paper_optimizer(learning_rate, weight_decay),
        loss=cross_entropy(label_smoothing),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        jit_compile=jit_compile,
    )


def paper_optimizer(
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    weight_decay: float = PAPER_WEIGHT_DECAY,
    kind: type[keras.optimizers.AdamW] = keras.optimizers.AdamW,
) -> keras.optimizers.AdamW:
    """AdamW, or a kind of it, with the paper's constants (section 4.1) but for those given."""
    return kind(learning_rate, beta_1=0.99, beta_2=0.999, weight_decay=weight_decay)


def cross_entropy(label_smoothing: float = 0.0) -> keras.losses.Loss | Callable:
    """The loss of logits [batch, k] for labels int [batch].

    With smoothing s the target is 1 - s + s / k for the label and s / k for each other class
    (Szegedy et al. 2016, section 7).
    """
    if not label_smoothing:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def smoothed(labels, logits):
        labels = keras.ops.reshape(keras.ops.cast(labels, "int32"), (-1,))  # Keras may add an axis
        targets = keras.ops.one_hot(labels, logits.shape[-1])
        return keras.losses.categorical_crossentropy(
            targets, logits, from_logits=True, label_smoothing=label_smoothing
        )

    return smoothed


def scheduled_learning_rate(
    schedule: str, learning_rate: float, steps: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """What the optimizer takes for a learning rate over `steps` steps.

    `constant`, or `cosine`: in the first tenth of the steps it rises in a line to `learning_rate`,
    then it falls along half a cosine wave, to 0 after the last step (Loshchilov and Hutter 2017,
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


@keras.saving.register_keras_serializable("covid_lm")
class SummedAdamW(keras.optimizers.AdamW):
    """AdamW that sums the gradients of an embedding row before it squares them.

    TensorFlow gives the gradient of a table as one slice for each time that a row was read. Of
    those, Keras' AdamW adds up the squares, so that the second moment depends on how often a row
    was read, and on how many devices it was summed up; JAX and PyTorch square the sum (Kingma and
    Ba, 2015, algorithm 1).
    """

    def update_step(self, gradient, variable, learning_rate):
        """One variable\'s step, for the sum of its gradient\'s slices."""
        super().update_step(ops.add(gradient, ops.zeros_like(variable)), variable, learning_rate)

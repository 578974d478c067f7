"""AdamW as defined, where Keras on TensorFlow takes embedding gradients for sparse."""

import keras
from keras import ops


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

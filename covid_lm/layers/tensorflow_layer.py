"""The base of the layers before the token ids, which compute with TensorFlow on any backend."""

from typing import Any

import keras


class TensorFlowLayer(keras.layers.Layer):
    """A layer that takes and returns TensorFlow tensors, even if Keras runs on JAX.

    So the input pipeline is the same on every backend: it runs in `Dataset.map`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if keras.backend.backend() != "tensorflow":
            self._convert_input_args = False  # to tensors of the backend
            self._allow_non_tensor_positional_args = True

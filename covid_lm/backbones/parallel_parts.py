"""Parts of a batch, or of sequences, that TensorFlow computes at the same time.

TensorFlow's threads wait for each other after each operation that they share, on a CPU 50 to 100
microseconds each time, which is longer than many operations of a small encoder take. With one
thread within operations and two between them, each part is computed by a thread of its own. In
training, the gradients of two halves of a batch are summed.
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

Tensor = Any  # the backends of Keras share no type
CORES = 2  # on more of them, halves of one thread each would leave some idle


def prefer_two_parts() -> None:
    """Sets this process' threads for halves, if the machine has two cores and no GPU.

    Without effect once TensorFlow has run an operation.
    """
    import tensorflow as tf

    if len(os.sched_getaffinity(0)) != CORES or tf.config.list_physical_devices("GPU"):
        return
    threading = tf.config.threading
    with contextlib.suppress(RuntimeError):
        threading.set_intra_op_parallelism_threads(1)
        threading.set_inter_op_parallelism_threads(CORES)


def two_parts() -> bool:
    """Returns whether this process has the threads that `prefer_two_parts` sets."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    threading = tf.config.threading
    return (
        threading.get_intra_op_parallelism_threads() == 1
        and threading.get_inter_op_parallelism_threads() == CORES
    )


def in_halves(function: Callable[[dict[str, Tensor]], Tensor], inputs: dict[str, Tensor]) -> Tensor:
    """Computes a function of a batch, by halves if this process has the threads for that.

    The halves are equally large, so that what is compiled for one shape serves both. If the number
    is odd, both have the element in the middle, and the first one's result counts.

    Args:
        function: from tensors to one tensor; all of them have the batch as first dimension.
        inputs: tensors with the whole batch.
    """
    if not two_parts():
        return function(inputs)
    count = ops.shape(next(iter(inputs.values())))[0]
    middle = (count + 1) // 2
    first = function({name: x[:middle] for name, x in inputs.items()})
    second = function({name: x[count - middle :] for name, x in inputs.items()})
    return ops.concatenate([first, second[2 * middle - count :]], axis=0)


def side_by_side(tensors: Sequence[Tensor], axis: int = -1) -> Tensor:
    """Concatenates tensors; a single one is returned as it is."""
    return tensors[0] if len(tensors) == 1 else ops.concatenate(tensors, axis=axis)


class TokenBlocks:
    """The tokens of each sequence, in blocks of consecutive ones.

    Args:
        count: number of blocks.
    """

    def __init__(self, count: int):
        self.count = count

    def lengths(self, length: int) -> list[int]:
        """Numbers of tokens in the blocks of a sequence of `length`, as equal as possible."""
        ends = [length * block // self.count for block in range(self.count + 1)]
        return [end - start for start, end in itertools.pairwise(ends)]

    def split(self, x: Tensor, length: int) -> list[Tensor]:
        """Splits x, [batch * length, width], into blocks, each [batch * tokens, width]."""
        if self.count == 1:
            return [x]
        width = x.shape[-1]
        x = ops.reshape(x, (-1, length, width))
        ends = itertools.accumulate(self.lengths(length))
        pairs = zip(ends, self.lengths(length), strict=True)
        return [ops.reshape(x[:, end - rows : end], (-1, width)) for end, rows in pairs]

    def join(self, blocks: list[Tensor], length: int) -> Tensor:
        """Reverses `split`."""
        if self.count == 1:
            return blocks[0]
        width = blocks[0].shape[-1]
        pairs = zip(blocks, self.lengths(length), strict=True)
        x = ops.concatenate([ops.reshape(x, (-1, rows, width)) for x, rows in pairs], axis=1)
        return ops.reshape(x, (-1, width))

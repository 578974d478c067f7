"""The machine's ceiling: how fast the libraries multiply one large matrix by another.

No encoder can run its matrix products faster than this; what it falls short by is the cost of
everything else, and of products less well shaped.
"""

from covid_lm.benchmark.cases import Case
from covid_lm.benchmark.contenders import Step

SIZE = 2048
PRODUCT_FLOPS = 2 * SIZE**3


def tensorflow_product(case: Case) -> Step:
    """[2048, 2048] x [2048, 2048] in TensorFlow, in the case's dtype."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(case.threads)
    left = tf.cast(tf.random.normal([SIZE, SIZE]), case.dtype)
    right = tf.cast(tf.random.normal([SIZE, SIZE]), case.dtype)
    product = tf.function(tf.matmul)
    return lambda: product(left, right)


def torch_product(case: Case) -> Step:
    """The same in PyTorch."""
    import torch

    torch.set_num_threads(case.threads)
    left, right = torch.randn(2, SIZE, SIZE).to(getattr(torch, case.dtype))
    return lambda: left @ right

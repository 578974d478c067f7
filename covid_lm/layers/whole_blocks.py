"""Rows in whole blocks, so that an image's answer doesn't depend on the images beside it."""

from keras import ops

BLOCK = 8


def in_whole_blocks(x):
    """Zero rows appended to x [rows, width] up to a multiple of 8.

    A CPU's matrix product computes the rows of an incomplete block with another kernel, whose sums
    round otherwise: in the last bit, an image alone would not get the answer that it gets among
    others. The rows of whole blocks are computed alike wherever they stand.
    """
    missing = -ops.shape(x)[0] % BLOCK
    return ops.concatenate([x, ops.zeros((missing, x.shape[-1]), x.dtype)], axis=0)

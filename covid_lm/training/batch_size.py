"""The number of images per step: the default one, and its equal division over devices."""

import math
import os

from covid_lm.backbones.configs import CONVOLUTIONAL_NETWORKS, activation_bytes, backbone_config
from covid_lm.errors import InputError
from covid_lm.protocols import layout_trim
from covid_lm.training.options import TrainingOptions
from covid_lm.training.run_options import RunOptions


def default_batch_size(backbone_name: str, num_images: int, length: int = 512) -> int:
    """A power of two that leaves about 16 steps per epoch or more, at most the paper's 512.

    At most 64 for a convolutional network. For a BERT, activations are limited to a quarter of the
    machine's memory.
    """
    if backbone_name in CONVOLUTIONAL_NETWORKS:
        bound = min(64, num_images / 16)
    else:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 4
        activations = activation_bytes(backbone_config(backbone_name), length)
        bound = min(512, num_images / 16, memory / activations)
    return 2 ** int(math.log2(max(bound, 1)))


def global_batch_size(options: RunOptions, num_images: int, num_replicas: int = 1) -> int:
    """Images per step over all devices, or over all processes of JAX; the same number on each.

    Raises:
        InputError: the requested batch size can't be divided equally.
    """
    kind = "devices"
    if isinstance(options, TrainingOptions) and options.num_processes > 1:
        num_replicas, kind = options.num_processes, "processes"
    size = options.batch_size
    if size is None:
        length = sum(layout_trim(options.layout, options.protocol).values())
        size = default_batch_size(options.backbone, num_images, length)
        return math.ceil(size / num_replicas) * num_replicas
    if size % num_replicas:
        raise InputError(
            f"--batch_size={size}: must be a multiple of {num_replicas}, the number of {kind}"
        )
    return size

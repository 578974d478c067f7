"""Shapes and costs of the backbones: the paper's language models (table 1), and a few more.

Imports no TensorFlow, so that a command line can list the names at once.
"""

import dataclasses
import re
from typing import Any

from covid_lm.errors import InputError
from covid_lm.protocols import Layout

STEMS = ("patch", "conv")
BYTE_WIDTHS = {1: 4, 3: 8}  # of the bytes' own embeddings, by channels


@dataclasses.dataclass(frozen=True)
class PatchConfig:
    """Tokens of several bytes: geometry of the image, and their embedding (`PatchEmbedding`).

    Attributes:
        image_size, patch_size: sides in pixels.
        channels: 1 or 3 bytes per pixel.
        byte_width: width of a byte's embedding.
        own_table: false if the bytes' embeddings are the backbone's word embeddings.
        stem: one of `STEMS`.
    """

    image_size: int
    patch_size: int
    channels: int
    byte_width: int = 8
    own_table: bool = True
    stem: str = "patch"

    @classmethod
    def of_layout(cls, layout: Layout, **changes: Any) -> "PatchConfig | None":
        """The tokens of a layout, with other defaults changed; None for single bytes."""
        if "patch_size" not in layout:
            return None
        channels = 3 if layout["color"] == "rgb" else 1
        values = {"byte_width": BYTE_WIDTHS[channels], "stem": "conv", **changes}
        return cls(layout["image_size"], layout["patch_size"], channels, **values)

    @property
    def geometry(self) -> tuple[int, int, int]:
        """Sides of image and patch in pixels, and channels."""
        return self.image_size, self.patch_size, self.channels

    @property
    def grid(self) -> int:
        """Patches in a row, and rows of patches."""
        return self.image_size // self.patch_size

    @property
    def num_patches(self) -> int:
        """Patches of an image."""
        return self.grid**2

    @property
    def num_bytes(self) -> int:
        """Bytes per token."""
        return self.channels * self.patch_size**2

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the convolutions: three or more, that together shrink a patch to a point."""
        halvings = self.patch_size.bit_length() - 1
        return (1,) * (3 - halvings) + (2,) * halvings

    def flops(self, hidden_dim: int) -> int:
        """Operations of the matrix products that embed an image's patches."""
        if self.stem == "patch":
            return 2 * self.num_patches * self.num_bytes * self.byte_width * hidden_dim
        total, side, inputs = 0, self.image_size, self.channels * self.byte_width
        for stride, outputs in zip(self.strides, self.filters(hidden_dim), strict=True):
            side //= stride
            total += 2 * side**2 * 9 * inputs * outputs
            inputs = outputs
        return total

    def filters(self, hidden_dim: int) -> list[int]:
        """Outputs of each convolution, doubled from one to the next."""
        last = len(self.strides) - 1
        return [hidden_dim >> (last - index) for index in range(last + 1)]

    def to_dict(self) -> dict:
        """The constructor's arguments."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
    """Shape of a BERT.

    Attributes:
        activation: "gelu" (the exact one, Hugging Face's `hidden_act: gelu`), "gelu_approximate"
            (the tanh form) or "relu".
        dropout: rate inside the encoder, on embeddings, attention and both residual branches.
        stochastic_depth: probability that training skips a residual branch of the last layer for
            an image; it grows linearly from the first layer (Huang et al. 2016).
        patches: embedding of tokens of several bytes; None for one byte per token.
    """

    num_layers: int
    hidden_dim: int
    num_heads: int
    intermediate_dim: int
    vocabulary_size: int = 21_128
    max_sequence_length: int = 512
    num_segments: int = 2
    activation: str = "gelu"
    layer_norm_epsilon: float = 1e-12
    dropout: float = 0.1
    stochastic_depth: float = 0.0
    patches: PatchConfig | None = None

    @classmethod
    def from_dict(cls, values: dict) -> "BackboneConfig":
        """Rebuilds a config from `dataclasses.asdict`; else TypeError."""
        patches = values.get("patches")
        return cls(**{**values, "patches": patches and PatchConfig(**patches)})


BACKBONES = {
    "tiny": BackboneConfig(2, 128, 2, 512),
    "minilm-l6": BackboneConfig(6, 384, 12, 1536, vocabulary_size=30_522),
    "rbt3": BackboneConfig(3, 768, 12, 3072),
    "rbtl3": BackboneConfig(3, 1024, 16, 4096),
    "bert-base-chinese": BackboneConfig(12, 768, 12, 3072),
    "roberta-wwm-ext-large": BackboneConfig(24, 1024, 16, 4096),
}

# Width of encoders up to which training on two cores is at least as fast by halves of a batch.
HALVED_HIDDEN_DIM = 512
TEACHER = "efficientnet-lite0"  # a small network with published weights
# Networks of `keras.applications` with which the paper compares its models, and the teacher.
CONVOLUTIONAL_NETWORKS = ("resnet50", "densenet121", "densenet169", TEACHER)


def backbone_config(name: str) -> BackboneConfig:
    """Returns a named config, or that of a size such as "4x256": 4 layers, width 256, heads of 64.

    Raises:
        InputError: unknown name.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    size = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", name)
    if size:
        num_layers, hidden_dim = map(int, size.groups())
        if hidden_dim % 64 == 0:
            return BackboneConfig(num_layers, hidden_dim, hidden_dim // 64, 4 * hidden_dim)
    raise InputError(
        f"--backbone={name}: no such backbone; choose one of {', '.join(BACKBONES)}, "
        "or a size such as 4x256 (layers x width, a multiple of 64)"
    )


def activation_bytes(config: BackboneConfig, length: int) -> int:
    """Bytes of one sequence's float32 activations that the layers keep for its gradients.

    Twice the `34 * length * width + 5 * heads * length**2` per layer of 16-bit arithmetic
    (Korthikanti et al. 2022, equation 2).
    """
    layer = 34 * length * config.hidden_dim + 5 * config.num_heads * length**2
    return 2 * config.num_layers * layer


def exact_flops(config: BackboneConfig, length: int) -> int:
    """Floating-point operations of the matrix products behind one vector of a sequence.

    A product [m, k] x [k, n] counts as 2mkn, everything else as nothing. For rbt3 at 512 tokens,
    16.1e9. For the [CLS] vector the last layer is computed at one position, with averages over
    full-width vectors; with patches, for the mean, at all.

    Args:
        length: tokens per sequence.
    """
    d, i = config.hidden_dim, config.intermediate_dim
    # Projections, scores and averages, feed-forward network.
    full = 8 * length * d**2 + 4 * length**2 * d + 4 * length * d * i
    if config.patches is not None:
        return config.patches.flops(d) + config.num_layers * full
    last = 8 * d**2 + 4 * config.num_heads * length * d + 4 * d * i
    return (config.num_layers - 1) * full + last

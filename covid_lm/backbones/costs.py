"""What a BERT costs before it is built: parameters and bytes, by formula.

Free of TensorFlow. The floating-point operations are `cls_encoder.exact_flops`.
"""

from covid_lm.backbones.named import BackboneConfig

STATE_BYTES = 16  # of a parameter in training, see `state_bytes`


def parameter_count(config: BackboneConfig, num_classes: int) -> int:
    """Parameters of a classifier: embeddings, layers, the (unread) pooler and the dense layer."""
    d, i = config.hidden_dim, config.intermediate_dim
    rows = config.vocabulary_size + config.max_sequence_length + config.num_segments
    layer_norm = 2 * d
    layer = 4 * (d**2 + d) + (d * i + i) + (i * d + d) + 2 * layer_norm
    pooler = d**2 + d
    head = d * num_classes + num_classes
    return rows * d + layer_norm + config.num_layers * layer + pooler + head


def state_bytes(config: BackboneConfig, num_classes: int) -> int:
    """Bytes of float32 weights, their gradients and AdamW's two moments, 4 a parameter each.

    The same under mixed_bfloat16, whose weights stay float32.
    """
    return STATE_BYTES * parameter_count(config, num_classes)


def activation_bytes(config: BackboneConfig, length: int, dtype: str = "bfloat16") -> int:
    """Bytes that the layers keep of one sequence for its gradients.

    `34 * length * width + 5 * heads * length**2` a layer in 16-bit arithmetic (Korthikanti et al.,
    2022, equation 2), and twice that in float32.
    """
    layer = 34 * length * config.hidden_dim + 5 * config.num_heads * length**2
    return config.num_layers * layer * {"bfloat16": 1, "float32": 2}[dtype]

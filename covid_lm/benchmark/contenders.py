"""Contenders from token ids to logits: each function builds a step for a case.

Frameworks are imported inside functions, so that a worker process loads only the one it needs.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from covid_lm.backbones.configs import HALVED_HIDDEN_DIM, PatchConfig, backbone_config
from covid_lm.benchmark.cases import BUILT_IN_WORDS, TASKS, Case

Step = Callable[[], object]
CLASSES = 2
# The paper's optimizer (section 4.1).
LEARNING_RATE, BETAS, WEIGHT_DECAY = 1e-4, (0.99, 0.999), 1e-8


def covid_lm(case: Case, fixed: bool = True, look_up: bool = True) -> Step:
    """Build a step of `ClsEncoder` or, for patches, of `MeanEncoder`, with weights as exported."""
    from covid_lm.backbones.cls_encoder import ClsEncoder
    from covid_lm.backbones.pooled_encoder import MeanEncoder

    encoder = MeanEncoder if case.layout else ClsEncoder

    def encode(backbone, inputs):
        layer = encoder(backbone, activation=case.config.activation)
        if fixed and case.task == "inference":
            layer.fix_weights(np.arange(_num_words(case)), look_up=look_up)
        return layer(inputs), layer

    return _keras_step(case, encode, threads_within(case))


def unfixed(case: Case) -> Step:
    """Build a step of the same encoder without anything that `fix_weights` prepares."""
    return covid_lm(case, fixed=False)


def no_look_up(case: Case) -> Step:
    """Build a step of the same encoder with fixed weights, whose first layer is computed."""
    return covid_lm(case, look_up=False)


def gray22(case: Case) -> Step:
    """Build the step of the same encoder for 512 single bytes, as layout gray22 has them."""
    return covid_lm(dataclasses.replace(case, layout="", length=512))


def keras_hub(case: Case) -> Step:
    """Build a step of the library's `BertBackbone`; reads its sequence output at position 0."""

    def encode(backbone, inputs):
        return backbone(inputs)["sequence_output"][:, 0], None

    return _keras_step(case, encode, case.threads)


def hugging_face(case: Case) -> Step:
    """Build a step of transformers' `BertModel`: PyTorch's fused attention (sdpa), no pooler.

    Inference in bfloat16 has bfloat16 weights. Training in bfloat16 has float32 weights and
    autocast, which corresponds to Keras' mixed policy.
    """
    import torch
    from transformers import BertModel

    torch.set_num_threads(case.threads)
    bert = BertModel(hugging_face_config(case), add_pooling_layer=False)
    dense = torch.nn.Linear(bert.config.hidden_size, CLASSES)
    device = torch_device(case)
    model = torch.nn.ModuleDict({"bert": bert, "dense": dense}).to(device)
    ids, labels = token_data(case), _labels(case)
    inputs = {name: values.to(device) for name, values in torch_inputs(ids).items()}

    def logits():
        return dense(bert(**inputs).last_hidden_state[:, 0])

    if case.task == "inference":
        model.eval().to(getattr(torch, case.dtype))
        return torch.inference_mode()(lambda: logits().cpu())
    return torch_training_step(case, model, logits, torch.from_numpy(labels).long())


def hugging_face_vit(case: Case) -> Step:
    """Build a step of transformers' `ViTModel` of the same shape: its mean over all tokens.

    dtypes as for `hugging_face`. Its patches are embedded by one convolution over the pixels.
    """
    import torch

    torch.set_num_threads(case.threads)
    config = case.config
    image_size, _, channels = cast(PatchConfig, config.patches).geometry
    vit = build_vit(case)
    dense = torch.nn.Linear(config.hidden_dim, CLASSES)
    device = torch_device(case)
    model = torch.nn.ModuleDict({"vit": vit, "dense": dense}).to(device)
    pixels = torch.rand(case.batch_size, channels, image_size, image_size).to(device)
    labels = torch.from_numpy(_labels(case)).long()

    def logits():
        return dense(vit(pixel_values=pixels).last_hidden_state.mean(dim=1))

    if case.task == "inference":
        dtype = getattr(torch, case.dtype)
        model.eval().to(dtype)
        pixels = pixels.to(dtype)
        return torch.inference_mode()(lambda: logits().cpu())
    return torch_training_step(case, model, logits, labels)


def build_vit(case: Case) -> Any:
    """Build transformers' `ViTModel` of a case with patches, without its pooler."""
    from transformers import ViTConfig, ViTModel

    config = case.config
    image_size, patch_size, channels = cast(PatchConfig, config.patches).geometry
    shape = ViTConfig(
        hidden_size=config.hidden_dim,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.intermediate_dim,
        hidden_act=config.activation,
        hidden_dropout_prob=case.dropout,
        attention_probs_dropout_prob=case.dropout,
        image_size=image_size,
        patch_size=patch_size,
        num_channels=channels,
        attn_implementation="sdpa",
    )
    return ViTModel(shape, add_pooling_layer=False)


def hugging_face_config(case: Case) -> Any:
    """Make the transformers `BertConfig` of a case, with PyTorch's fused attention."""
    from transformers import BertConfig

    config = backbone_config(case.backbone)
    return BertConfig(
        vocab_size=config.vocabulary_size,
        hidden_size=config.hidden_dim,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.intermediate_dim,
        hidden_act=config.activation.replace("gelu_approximate", "gelu_pytorch_tanh"),
        hidden_dropout_prob=case.dropout,
        attention_probs_dropout_prob=case.dropout,
        layer_norm_eps=config.layer_norm_epsilon,
        attn_implementation="sdpa",
    )


def torch_inputs(ids: dict[str, np.ndarray]) -> dict[str, Any]:
    """Convert our int32 arrays to int64 tensors under transformers' names."""
    import torch

    names = {"input_ids": "token_ids", "token_type_ids": "segment_ids"}
    names["attention_mask"] = "padding_mask"
    return {theirs: torch.from_numpy(ids[ours]).long() for theirs, ours in names.items()}


def torch_device(case: Case) -> str:
    """Return PyTorch's name of the case's device."""
    return {"cpu": "cpu", "gpu": "cuda"}[case.device]


def torch_training_step(case: Case, model: Any, logits: Any, labels: Any) -> Step:
    """Build a step of forward pass, cross-entropy in float32, backward pass and fused AdamW.

    `logits` returns [rows, classes]. `labels` is int64 [rows], -100 for a row without loss.
    """
    import torch

    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True
    )
    mixed, device = case.dtype == "bfloat16", torch_device(case)
    labels = labels.to(device)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=mixed):
            predicted = logits()
        loss = torch.nn.functional.cross_entropy(predicted.float(), labels)
        loss.backward()
        optimizer.step()
        return loss.item()  # waits for a GPU

    return step


def _keras_step(case: Case, encode: Callable, within: int) -> Step:
    """Build a step of `encode(backbone, inputs)` and a dense layer.

    `encode` returns [CLS] vectors and, if inference has the parts of an export, our encoder, else
    None. `within`: threads within an operation.
    """
    import keras

    from covid_lm.backbones.patch_embedding import build_backbone

    set_tensorflow_threads(case.threads, within)
    ids, labels = token_data(case), _labels(case)
    symbolic = {
        name: keras.Input(array.shape[1:], dtype="int32", name=name) for name, array in ids.items()
    }
    vectors, encoder = encode(build_backbone(case.config, dtype=keras_policy(case)), symbolic)
    outputs = keras.layers.Dense(CLASSES, dtype=keras_policy(case))(vectors)
    model = keras.Model(symbolic, keras.ops.cast(outputs, "float32"))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if case.device == "gpu":
        from covid_lm.benchmark import jax_steps

        if case.task == "inference":
            return jax_steps.inference_step(model, ids)
        return jax_steps.training_step(model, loss, keras_optimizer(), ids, labels)
    import tensorflow as tf

    from covid_lm.serving.signatures import in_parts

    ids = {name: tf.constant(array) for name, array in ids.items()}
    if case.task == "inference":
        signature = {n: tf.TensorSpec([None, *x.shape[1:]], x.dtype) for n, x in ids.items()}

        def logits(x):
            return model(x, training=False)

        if encoder:
            predict = in_parts(logits, encoder, signature)
        else:
            predict = tf.function(logits, input_signature=[signature])
        return lambda: predict(ids).numpy()
    return keras_training_step(model, loss, ids, labels)


def keras_training_step(model: Any, loss: Any, inputs: dict, targets: Any) -> Step:
    """Build a step of Keras' `train_on_batch` with AdamW."""
    model.compile(optimizer=keras_optimizer(), loss=loss, jit_compile=False)
    return lambda: model.train_on_batch(inputs, targets)


def keras_optimizer() -> Any:
    """Return Keras' AdamW with the constants of all contenders."""
    import keras

    return keras.optimizers.AdamW(
        LEARNING_RATE, beta_1=BETAS[0], beta_2=BETAS[1], weight_decay=WEIGHT_DECAY
    )


def threads_within(case: Case) -> int:
    """Number of threads within an operation of ours, as for an export and in `tools/train.py`."""
    halved = case.task not in TASKS or case.config.hidden_dim <= HALVED_HIDDEN_DIM
    return 1 if halved and case.device == "cpu" and case.threads == 2 else case.threads


def set_tensorflow_threads(threads: int, within: int | None = None) -> None:
    """Limit TensorFlow's threads, and those within an operation, before it runs the first one."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(within or threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def keras_policy(case: Case) -> str:
    """Return the Keras policy of the case's dtype."""
    return {"float32": "float32", "bfloat16": "mixed_bfloat16"}[case.dtype]


def token_data(case: Case) -> dict[str, np.ndarray]:
    """Make `unpadded` inputs."""
    generator = np.random.default_rng(0)
    config, shape = case.config, [case.batch_size, case.length]
    if config.patches is not None:
        shape.append(config.patches.num_bytes)
    ids = generator.integers(0, _num_words(case), shape, dtype=np.int32)
    return unpadded(ids)


def _num_words(case: Case) -> int:
    """Number of different words in the inputs: as many as images and names can hold."""
    return min(case.config.vocabulary_size, BUILT_IN_WORDS)


def _labels(case: Case) -> np.ndarray:
    """Make labels, int32 [batch]."""
    return np.random.default_rng(1).integers(0, CLASSES, case.batch_size, dtype=np.int32)


def unpadded(token_ids: np.ndarray) -> dict[str, np.ndarray]:
    """Add segment ids and a padding mask, int32 [batch, length], to sequences without padding."""
    segment_ids = np.zeros(token_ids.shape[:2], np.int32)
    padding_mask = np.ones_like(segment_ids)
    return {"token_ids": token_ids, "segment_ids": segment_ids, "padding_mask": padding_mask}

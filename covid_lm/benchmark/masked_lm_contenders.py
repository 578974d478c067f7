"""Contenders in masked-token pre-training. As in `contenders`, functions import the frameworks.

All contenders get the same sequences with 15% of their positions masked; the loss counts only
these positions.
"""

import numpy as np

from covid_lm.backbones.configs import backbone_config
from covid_lm.benchmark.cases import Case
from covid_lm.benchmark.contenders import (
    Step,
    hugging_face_config,
    keras_policy,
    keras_training_step,
    set_tensorflow_threads,
    threads_within,
    torch_inputs,
    torch_training_step,
    unpadded,
)

WORDS = 314  # number of words in images and names: 256 values and some characters
SPECIALS = 5
MASK_RATE = 0.15
IGNORED = -100  # transformers' label of a position without loss


def covid_lm_mlm(case: Case) -> Step:
    """Build a training step of `MaskedLanguageModel`."""
    import tensorflow as tf

    from covid_lm.layers.token_masking import IMAGE
    from covid_lm.models.masked_lm import MaskedLanguageModel
    from covid_lm.models.masked_lm_metrics import masked_token_loss

    set_tensorflow_threads(case.threads, threads_within(case))
    data = masked_sequences(case)
    words = data.pop("masked_ids") - SPECIALS
    targets = tf.constant(np.stack([words, np.full_like(words, IMAGE)], axis=-1))
    inputs = {name: tf.constant(array) for name, array in data.items()}
    model = MaskedLanguageModel(
        backbone_config(case.backbone),
        vocabulary=(),
        word_ids=np.arange(SPECIALS, SPECIALS + WORDS),
        length=case.length,
        num_masked=words.shape[1],
        dtype_policy=keras_policy(case),
        dropout=case.dropout,
    ).model
    return keras_training_step(model, masked_token_loss, inputs, targets)


def hugging_face_mlm(case: Case) -> Step:
    """Build a training step of transformers' `BertForMaskedLM`, used as in its documentation.

    It projects every position to the whole vocabulary and ignores most positions' labels.
    """
    import torch

    model, inputs, data = _hugging_face(case)
    labels = np.full([case.batch_size, case.length], IGNORED, np.int64)
    np.put_along_axis(labels, data["masked_positions"], data["masked_ids"], axis=1)

    def logits():
        return model(**inputs).logits.flatten(0, 1)  # [batch * length, vocabulary]

    return torch_training_step(case, model, logits, torch.from_numpy(labels).flatten())


def hf_mlm_tuned(case: Case) -> Step:
    """Build the same step with the head applied to the masked positions only.

    The documentation does not show this form, so it has no goal; it is the fastest one we know.
    """
    import torch

    model, inputs, data = _hugging_face(case)
    positions = torch.from_numpy(data["masked_positions"]).long()
    labels = torch.from_numpy(data["masked_ids"]).long().flatten()

    def logits():
        hidden = model.bert(**inputs).last_hidden_state  # [batch, length, hidden]
        index = positions[..., None].expand(-1, -1, hidden.shape[-1])
        return model.cls(hidden.gather(1, index)).flatten(0, 1)  # [batch * masked, vocabulary]

    return torch_training_step(case, model, logits, labels)


def _hugging_face(case: Case) -> tuple:
    """Build a `BertForMaskedLM`, its encoder's inputs, and `masked_sequences`."""
    import torch
    from transformers import BertForMaskedLM

    torch.set_num_threads(case.threads)
    data = masked_sequences(case)
    model = BertForMaskedLM(hugging_face_config(case))
    return model, torch_inputs(data), data


def masked_sequences(case: Case) -> dict[str, np.ndarray]:
    """Make `unpadded` inputs with `masked_positions` and `masked_ids`, int32 [batch, masked]."""
    generator = np.random.default_rng(0)
    shape = [case.batch_size, case.length]
    original = generator.integers(SPECIALS, SPECIALS + WORDS, shape, dtype=np.int32)
    order = np.argsort(generator.random(shape), axis=1).astype(np.int32)
    positions = order[:, : round(MASK_RATE * case.length)]
    token_ids = original.copy()
    np.put_along_axis(token_ids, positions, SPECIALS - 1, axis=1)
    return {
        **unpadded(token_ids),
        "masked_positions": positions,
        "masked_ids": np.take_along_axis(original, positions, axis=1),
    }

"""Export of weights as a Hugging Face directory, for `load_weights` and for `transformers`.

DIR/config.json
DIR/vocab.txt
DIR/model.safetensors        the names of `BertForMaskedLM`, with or without its head
"""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras_nlp.models import BertBackbone
from safetensors.numpy import save_file

from covid_lm.backbones.configs import BackboneConfig
from covid_lm.backbones.vocabulary import write_vocabulary
from covid_lm.backbones.weights import tensor_names
from covid_lm.backbones.weights.config import write_config
from covid_lm.files import atomic_directory, copy_tree_to_store, is_remote, remove_tree


def save_checkpoint(
    directory: str,
    backbone: BertBackbone,
    config: BackboneConfig,
    vocabulary: Sequence[str],
    masked_lm_head: Mapping[str, keras.Variable] | None,
    pooler: bool,
    dtype: type = np.float32,
) -> None:
    """Writes a directory atomically; an existing one is replaced.

    Args:
        backbone: the encoder.
        config: configuration of the backbone.
        vocabulary: words, index = id.
        masked_lm_head: variables by the keys of `LoadedWeights.masked_lm_head`; None omits it.
        pooler: true to save the backbone's pooler, which is useless unless trained.
        dtype: of the tensors, a NumPy type.

    Raises:
        OSError: the directory can't be written.
    """
    tensors = _tensors(backbone, masked_lm_head, pooler, dtype)
    remote = is_remote(directory)
    with tempfile.TemporaryDirectory() if remote else atomic_directory(directory) as staged:
        write_config(config, vocabulary.index("[PAD]"), os.path.join(staged, "config.json"))
        write_vocabulary(vocabulary, os.path.join(staged, "vocab.txt"))
        tensor_file = os.path.join(staged, "model.safetensors")
        save_file(tensors, tensor_file, {"format": "pt"})  # transformers refuses a file without it
        # safetensors creates files that only the owner can read.
        shutil.copymode(os.path.join(staged, "vocab.txt"), tensor_file)
        if remote:
            remove_tree(directory)
            copy_tree_to_store(staged, directory, last="config.json")


def _tensors(
    backbone: BertBackbone,
    masked_lm_head: Mapping[str, keras.Variable] | None,
    pooler: bool,
    dtype: type,
) -> dict[str, np.ndarray]:
    targets = tensor_names.encoder_targets(backbone)
    if pooler:
        targets |= tensor_names.pooler_targets(backbone)
    if masked_lm_head is not None:
        targets |= tensor_names.masked_lm_targets(backbone, masked_lm_head)
    tensors: dict[str, np.ndarray] = {}
    for place, target in targets.items():
        name = tensor_names.hugging_face_name(place)
        array = keras.ops.convert_to_numpy(target.variable).reshape(target.shape)
        if tensor_names.is_transposed(name):
            array = array.T
        tensors[name] = np.ascontiguousarray(array, dtype)
    return tensors

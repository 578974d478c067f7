"""Conversion of an encoder to the small files that ship with the package.

`python -m covid_lm.models.shipping SOURCE DIRECTORY` writes DIRECTORY, in float16. SOURCE is a
finished run, `saved_models/NAME/run`, or the `weights` of a pre-training run.
"""

import os
import sys

import numpy as np

from covid_lm.backbones.bert_encoder import build_backbone
from covid_lm.backbones.vocabulary import read_vocabulary
from covid_lm.backbones.weights.config import read_config, vocabulary_file
from covid_lm.backbones.weights.read import load_weights
from covid_lm.backbones.weights.write import save_checkpoint
from covid_lm.errors import InputError
from covid_lm.models.saving import WEIGHTS_FILE, load_classifier
from covid_lm.models.token_classifier import TokenClassifier


def ship(source: str, directory: str) -> int:
    """Writes the encoder of a run, or of a directory for `--weights`; replaces `directory`.

    Returns:
        The size of the file of weights in bytes.

    Raises:
        InputError: neither of the two, or damaged.
    """
    if os.path.exists(os.path.join(source, WEIGHTS_FILE)):
        classifier = load_classifier(source)
        if not isinstance(classifier, TokenClassifier):
            raise InputError(f"{source}: a convolutional network; only encoders of tokens ship")
        backbone, config = classifier.backbone, classifier.config.backbone
        vocabulary = classifier.vocabulary
    else:
        config = read_config(source)
        vocabulary = read_vocabulary(vocabulary_file(source))
        backbone = build_backbone(config)
        load_weights(source, backbone)
    save_checkpoint(directory, backbone, config, vocabulary, None, False, np.float16)
    return os.path.getsize(os.path.join(directory, "model.safetensors"))


if __name__ == "__main__":
    print(f"{sys.argv[2]}: {ship(*sys.argv[1:]):,} bytes")

"""The classifier that a training run begins with."""

import dataclasses

from covid_lm.backbones.checkpoint import load_weights, read_config, vocabulary_file
from covid_lm.backbones.named import CONVOLUTIONAL_NETWORKS, backbone_config
from covid_lm.backbones.vocabulary import built_in_vocabulary, read_vocabulary
from covid_lm.classifier import Classifier, ClassifierConfig
from covid_lm.errors import InputError
from covid_lm.pixel_classifier import PixelClassifier, PixelClassifierConfig
from covid_lm.training_options import TrainingOptions


def build_classifier(
    options: TrainingOptions, classes: tuple[str, ...]
) -> Classifier | PixelClassifier:
    """A classifier with the weights of `options.weights`, or with random weights.

    One that reads tokens takes the vocabulary from beside its weights; with random weights it needs
    no other words than the built-in ones.

    Raises:
        InputError: unknown backbone, or weights that are not that backbone's.
    """
    if options.backbone not in CONVOLUTIONAL_NETWORKS:
        return _token_classifier(options, classes)
    config = PixelClassifierConfig(
        classes=classes,
        backbone_name=options.backbone,
        image_size=options.image_size or 224,
        dtype=options.dtype,
        weights=options.weights,
    )
    return PixelClassifier(config, weights=options.weights)


def _token_classifier(options: TrainingOptions, classes: tuple[str, ...]) -> Classifier:
    backbone = backbone_config(options.backbone)
    if options.weights is None:
        vocabulary = built_in_vocabulary()
        backbone = dataclasses.replace(backbone, vocabulary_size=len(vocabulary))
    else:
        stored = read_config(options.weights)
        for field in ("num_layers", "hidden_dim", "num_heads", "intermediate_dim"):
            if getattr(stored, field) != getattr(backbone, field):
                raise InputError(
                    f"--weights={options.weights}: {field} is {getattr(stored, field)}, but "
                    f"--backbone={options.backbone} has {getattr(backbone, field)}"
                )
        vocabulary = read_vocabulary(vocabulary_file(options.weights))
        backbone = stored
    config = ClassifierConfig(
        classes=classes,
        backbone_name=options.backbone,
        backbone=backbone,
        protocol=options.protocol,
        layout=options.layout,
        dtype=options.dtype,
        weights=options.weights,
    )
    classifier = Classifier(config, vocabulary)
    if options.weights is not None:
        load_weights(options.weights, classifier.backbone)
    return classifier

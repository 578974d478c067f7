"""The initial classifier of a training run."""

from typing import Any

from covid_lm.backbones.configs import CONVOLUTIONAL_NETWORKS
from covid_lm.backbones.weights.config import select_backbone
from covid_lm.backbones.weights.read import load_weights
from covid_lm.models.classifier import Classifier
from covid_lm.models.pixel_classifier import PixelClassifier, PixelClassifierConfig
from covid_lm.models.token_classifier import TokenClassifier, TokenClassifierConfig
from covid_lm.protocols import layout_trim
from covid_lm.training.options import TrainingOptions


def build_classifier(options: TrainingOptions, classes: tuple[str, ...]) -> Classifier:
    """A classifier with the weights of `options.weights`, or with random weights.

    Raises:
        InputError: unknown backbone, or weights that are not that backbone's.
    """
    shared: dict[str, Any] = {
        "classes": classes,
        "backbone_name": options.backbone,
        "dtype": options.dtype,
        "weights": options.weights,
    }
    if options.backbone in CONVOLUTIONAL_NETWORKS:
        config = PixelClassifierConfig(image_size=options.image_size or 224, **shared)
        return PixelClassifier(config, weights=options.weights)
    backbone, vocabulary = select_backbone(options.backbone, options.weights)
    shared |= {"protocol": options.protocol, "layout": options.layout}
    shared |= layout_trim(options.layout)
    classifier = TokenClassifier(TokenClassifierConfig(backbone=backbone, **shared), vocabulary)
    if options.weights is not None:
        load_weights(options.weights, classifier.backbone)
    return classifier

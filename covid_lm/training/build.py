"""The initial classifier of a training run."""

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


def _token_classifier(options: TrainingOptions, classes: tuple[str, ...]) -> TokenClassifier:
    backbone, vocabulary = select_backbone(options.backbone, options.weights)
    trim = layout_trim(options.layout)
    config = TokenClassifierConfig(
        classes=classes,
        backbone_name=options.backbone,
        backbone=backbone,
        protocol=options.protocol,
        layout=options.layout,
        head=trim["head"],
        tail=trim["tail"],
        dtype=options.dtype,
        weights=options.weights,
    )
    classifier = TokenClassifier(config, vocabulary)
    if options.weights is not None:
        load_weights(options.weights, classifier.backbone)
    return classifier

"""The initial classifier of a training run."""

import dataclasses
from typing import Any

from keras_nlp.models import BertBackbone

from covid_lm.backbones.configs import CONVOLUTIONAL_NETWORKS, BackboneConfig, PatchConfig
from covid_lm.backbones.weights.config import select_backbone
from covid_lm.backbones.weights.read import load_weights
from covid_lm.backbones.weights.shipped import weights_directory
from covid_lm.errors import InputError
from covid_lm.layers.symbols import NAME_OFFSET
from covid_lm.layers.token_encoder import symbol_token_ids
from covid_lm.models.classifier import Classifier
from covid_lm.models.pixel_classifier import PixelClassifier, PixelClassifierConfig
from covid_lm.models.token_classifier import TokenClassifier, TokenClassifierConfig
from covid_lm.protocols import layout_arguments, layout_trim
from covid_lm.training.options import TrainingOptions
from covid_lm.training.run_options import RunOptions


def build_classifier(options: TrainingOptions, classes: tuple[str, ...]) -> Classifier:
    """A classifier with the weights of `options.weights`, or with random weights.

    Raises:
        InputError: unknown backbone, or weights that are not that backbone's.
    """
    if options.backbone in CONVOLUTIONAL_NETWORKS:
        config = PixelClassifierConfig(
            classes,
            options.backbone,
            options.image_size or 224,
            dtype=options.dtype,
            weights=options.weights,
        )
        return PixelClassifier(config, weights=options.weights)
    return build_token_classifier(options, classes)


def build_token_classifier(
    options: RunOptions, classes: tuple[str, ...] = ("unlabelled",)
) -> TokenClassifier:
    """As `build_classifier`, for a BERT; without labels, only its encoder is of use."""
    backbone, vocabulary = choose_backbone(options)
    config = TokenClassifierConfig(
        classes,
        options.backbone,
        backbone,
        options.protocol,
        options.layout,
        pooling=options.pooling or ("cls" if backbone.patches is None else "mean"),
        dtype=options.dtype,
        weights=options.weights,
        **layout_trim(options.layout, options.protocol),
    )
    classifier = TokenClassifier(config, vocabulary)
    weights = weights_directory(options.weights, options.layout)
    if weights is not None:
        load_weights(weights, classifier.backbone)
    else:
        order_values(classifier.backbone, vocabulary, options.seed)
    return classifier


def choose_backbone(options: RunOptions) -> tuple[BackboneConfig, tuple[str, ...]]:
    """Config and vocabulary of the weights, or of the backbone's name, with the run's options.

    Raises:
        InputError: unknown backbone, or weights for another backbone or other tokens.
    """
    backbone, vocabulary = select_backbone(
        options.backbone, weights_directory(options.weights, options.layout)
    )
    changes: dict[str, Any] = {"patches": _patches(options, backbone)}
    for name in ("activation", "dropout", "stochastic_depth"):
        value = getattr(options, name)
        if value is not None:
            changes[name] = value
    return dataclasses.replace(backbone, **changes), vocabulary


def order_values(backbone: BertBackbone, vocabulary: tuple[str, ...], seed: int) -> None:
    """Gives the bytes' embeddings of patches, if any, their initial order."""
    embedding = backbone.patch_embedding
    if embedding is not None and embedding.patches.own_table:
        embedding.order_values(symbol_token_ids(vocabulary)[:NAME_OFFSET], seed)


def _patches(options: RunOptions, backbone: BackboneConfig) -> PatchConfig | None:
    """The embedding of the layout's tokens; that of the weights, if they have one."""
    found, stored = PatchConfig.of_layout(layout_arguments(options.layout)), backbone.patches
    if stored is not None:
        if found is None or found.geometry != stored.geometry:
            raise InputError(
                f"--weights={options.weights}: not for --layout={options.layout}, but for patches "
                f"of {stored.image_size}x{stored.patch_size}, channels: {stored.channels}"
            )
        if options.stem not in (None, stored.stem):
            raise InputError(f"--stem={options.stem}: the weights have {stored.stem}")
        return stored
    if found is None:
        return None
    if options.weights is not None:
        found = dataclasses.replace(
            found, byte_width=backbone.hidden_dim, own_table=False, stem="patch"
        )
    found = dataclasses.replace(found, stem=options.stem or found.stem)
    if found.stem == "conv" and found.patch_size & (found.patch_size - 1):
        raise InputError(
            f"--layout={options.layout}: convolutions need a patch of 2, 4, 8, ...; "
            "use --stem=patch"
        )
    return found

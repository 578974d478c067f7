"""A classifier small enough to be built in every test that needs one, with random weights."""

import keras

from covid_lm.backbones.configs import BackboneConfig, PatchConfig
from covid_lm.backbones.vocabulary import built_in_vocabulary
from covid_lm.models.token_classifier import TokenClassifier, TokenClassifierConfig
from covid_lm.protocols import layout_arguments, layout_trim

CLASSES = ("cat", "dog", "ship")


def tiny_classifier(
    protocol: str = "masked", layout: str = "paper", num_layers: int = 1
) -> TokenClassifier:
    """Three classes, 64 wide; weights large enough for answers to differ clearly."""
    keras.utils.set_random_seed(7)
    # Words that no image or name can become, as most of a pretrained vocabulary's are.
    vocabulary = (*(f"[unused{k}]" for k in range(300)), *built_in_vocabulary())
    patches = PatchConfig.of_layout(layout_arguments(layout))
    config = TokenClassifierConfig(
        classes=CLASSES,
        backbone_name=f"{num_layers}x64",
        backbone=BackboneConfig(num_layers, 64, 1, 64, len(vocabulary), patches=patches),
        protocol=protocol,
        layout=layout,
        pooling="mean" if patches else "cls",
        **layout_trim(layout, protocol),
    )
    classifier = TokenClassifier(config, vocabulary)
    for variable in classifier.logits.trainable_variables:
        variable.assign(variable + keras.random.normal(variable.shape, stddev=0.2))
    return classifier

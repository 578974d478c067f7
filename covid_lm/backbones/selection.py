"""A backbone's shape and words, as the command line chooses them."""

import dataclasses

from covid_lm.backbones.checkpoint import read_config, vocabulary_file
from covid_lm.backbones.named import BackboneConfig, backbone_config
from covid_lm.backbones.vocabulary import built_in_vocabulary, read_vocabulary
from covid_lm.errors import InputError


def select_backbone(name: str, weights: str | None) -> tuple[BackboneConfig, tuple[str, ...]]:
    """Config and vocabulary of a named backbone, for random weights or those of a directory.

    One with random weights needs no other words than the built-in ones.

    Args:
        name: `--backbone`.
        weights: `--weights`, a directory as `load_weights` takes it, or None.

    Raises:
        InputError: unknown backbone, or weights that are not that backbone's.
    """
    backbone = backbone_config(name)
    if weights is None:
        vocabulary = built_in_vocabulary()
        return dataclasses.replace(backbone, vocabulary_size=len(vocabulary)), vocabulary
    stored = read_config(weights)
    for field in ("num_layers", "hidden_dim", "num_heads", "intermediate_dim"):
        if getattr(stored, field) != getattr(backbone, field):
            raise InputError(
                f"--weights={weights}: {field} is {getattr(stored, field)}, but "
                f"--backbone={name} has {getattr(backbone, field)}"
            )
    return stored, read_vocabulary(vocabulary_file(weights))

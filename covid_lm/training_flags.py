"""Flags that say what is trained, on what and how: those of every tool that trains classifiers.

Free of TensorFlow.
"""

from absl import flags

from covid_lm.backbones.named import BACKBONES, CONVOLUTIONAL_NETWORKS
from covid_lm.data import DATASETS
from covid_lm.protocols import AUGMENTATIONS, LAYOUT_HELP, LAYOUTS, PROTOCOLS, SCHEDULES


def define_training_flags() -> None:
    """Defines them, with the defaults of `TrainingOptions`."""
    _define_data_flags()
    _define_model_flags()
    _define_optimization_flags()
    flags.DEFINE_integer("seed", 0, "Seed of weights, order, augmentation and dropout.")


def _define_data_flags() -> None:
    flags.DEFINE_enum("dataset", "phantom", DATASETS, "Data set.")
    flags.DEFINE_string("data_dir", None, "Where the data set lies; phantom needs none.")
    flags.DEFINE_bool("skip_invalid", False, "Leave undecodable images out, and list them.")
    flags.DEFINE_enum(
        "augment",
        "none",
        ("none", *AUGMENTATIONS),
        "Change training images at random, anew in every epoch: cut, mirrored, brighter, darker.",
    )
    flags.DEFINE_float(
        "token_dropout", 0.0, "Share of the image tokens that [MASK] replaces in training."
    )


def _define_model_flags() -> None:
    flags.DEFINE_string(
        "backbone",
        "tiny",
        f"One of {', '.join(BACKBONES)}, or a size as 4x256; or, to compare with, one of "
        f"{', '.join(CONVOLUTIONAL_NETWORKS)}.",
    )
    flags.DEFINE_string(
        "weights",
        None,
        "Pretrained weights of that backbone: a directory with a Hugging Face model.safetensors or "
        "tf_model.h5, or an original TensorFlow checkpoint; for a convolutional network its HDF5 "
        "file without the top; random weights unless given.",
    )
    flags.DEFINE_enum(
        "protocol",
        "paper",
        list(PROTOCOLS),
        "How the file name enters in training and test; `fixed` and `absent` are the honest ones.",
    )
    flags.DEFINE_enum("layout", "paper", list(LAYOUTS), LAYOUT_HELP)
    flags.DEFINE_integer(
        "image_size",
        None,
        "Side of what a convolutional network reads, in pixels; 224 unless given.",
    )


def _define_optimization_flags() -> None:
    flags.DEFINE_integer("epochs", 8, "Most epochs to train.")
    flags.DEFINE_integer("batch_size", None, "Images a step; fit for the machine unless given.")
    flags.DEFINE_float("learning_rate", 1e-4, "Learning rate of AdamW; the highest of a schedule.")
    flags.DEFINE_enum(
        "schedule",
        "constant",
        SCHEDULES,
        "Learning rate over the run: constant, or up in a line for a tenth of the steps of all "
        "--epochs, then down along a cosine.",
    )
    flags.DEFINE_float("weight_decay", 1e-8, "Weight decay of AdamW.")
    flags.DEFINE_float(
        "label_smoothing", 0.0, "Share of a target's probability that is spread over all classes."
    )
    flags.DEFINE_enum(
        "dtype",
        None,
        ("float32", "bfloat16"),
        "Arithmetic (bfloat16: mixed); float32, and bfloat16 on a TPU, unless given.",
    )

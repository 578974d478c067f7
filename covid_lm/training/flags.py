"""Flags that say what is trained, on what and how: those of every tool that trains classifiers.

Free of TensorFlow.
"""

import dataclasses

from absl import flags

from covid_lm.backbones.configs import BACKBONES, CONVOLUTIONAL_NETWORKS
from covid_lm.data import DATASETS
from covid_lm.protocols import AUGMENTATIONS, LAYOUT_HELP, LAYOUTS, PROTOCOLS, SCHEDULES
from covid_lm.training.options import RECIPES, TrainingOptions, with_recipe

flags.disclaim_key_flags()  # they are the tool's, which lists them under --help


def define_training_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines them, with the defaults of `TrainingOptions`."""
    flags.DEFINE_enum(
        "recipe",
        "paper",
        list(RECIPES),
        "Defaults for the other flags: the paper's, or ours for a result from pixels alone.",
        flag_values=values,
    )
    _define_data_flags(values)
    _define_model_flags(values)
    _define_optimization_flags(values)
    flags.DEFINE_integer(
        "seed", 0, "Seed of weights, order, augmentation and dropout.", flag_values=values
    )


def told_flags(values: flags.FlagValues = flags.FLAGS) -> dict:
    """Option to value for every flag that is an option of a run, after the recipe."""
    names = [field.name for field in dataclasses.fields(TrainingOptions) if field.name in values]
    told = {name: values[name].value for name in names}
    return with_recipe(told, given=[name for name in names if values[name].present])


def _define_data_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_enum("dataset", "phantom", DATASETS, "Data set.", flag_values=values)
    flags.DEFINE_string(
        "data_dir", None, "Where the data set lies; phantoms need none.", flag_values=values
    )
    flags.DEFINE_integer(
        "max_images",
        None,
        "Most training and most validation images; all unless given.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "skip_invalid", False, "Leave undecodable images out, and list them.", flag_values=values
    )
    flags.DEFINE_enum(
        "augment",
        "none",
        ("none", *AUGMENTATIONS),
        "Change training images at random, anew in every epoch: cut, mirrored, brighter, darker.",
        flag_values=values,
    )


def _define_model_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "backbone",
        "tiny",
        f"One of {', '.join(BACKBONES)}, or a size as 4x256; or, to compare with, one of "
        f"{', '.join(CONVOLUTIONAL_NETWORKS)}.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "weights",
        None,
        "Pretrained weights of that backbone: a directory with a Hugging Face model.safetensors or "
        "tf_model.h5, or an original TensorFlow checkpoint; for a convolutional network its HDF5 "
        "file without the top; random weights unless given.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "protocol",
        "paper",
        list(PROTOCOLS),
        "How the file name enters in training and test; `fixed` and `absent` are the honest ones.",
        flag_values=values,
    )
    flags.DEFINE_enum("layout", "paper", list(LAYOUTS), LAYOUT_HELP, flag_values=values)
    flags.DEFINE_integer(
        "image_size",
        None,
        "Side of what a convolutional network reads, in pixels; 224 unless given.",
        flag_values=values,
    )


def _define_optimization_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_integer("epochs", 8, "Most epochs to train.", flag_values=values)
    flags.DEFINE_integer(
        "batch_size", None, "Images a step; fit for the machine unless given.", flag_values=values
    )
    flags.DEFINE_float(
        "learning_rate",
        1e-4,
        "Learning rate of AdamW; the highest of a schedule.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "schedule",
        "constant",
        SCHEDULES,
        "Learning rate over the run: constant, or up in a line for a tenth of the steps of all "
        "--epochs, then down along a cosine.",
        flag_values=values,
    )
    flags.DEFINE_float("weight_decay", 1e-8, "Weight decay of AdamW.", flag_values=values)
    flags.DEFINE_float(
        "label_smoothing",
        0.0,
        "Share of a target's probability that is spread over all classes.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "dtype",
        None,
        ("float32", "bfloat16"),
        "Arithmetic (bfloat16: mixed); float32, and bfloat16 on a TPU, unless given.",
        flag_values=values,
    )

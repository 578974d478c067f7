"""Recipes: values for several of train.py's flags under one name. Free of TensorFlow."""

from collections.abc import Collection

RECIPES = {  # name: flag to value; what is not named has its own default, which is the paper's
    "paper": {},
    # The best of what was cross-validated on COVID-CT (README, "The search for a better result").
    "honest": {
        "backbone": "2x128",
        "protocol": "fixed",
        "layout": "levels32",
        "views": 2,
        "augment": "light",
        "epochs": 20,
        "batch_size": 16,
        "learning_rate": 5e-4,
        "schedule": "cosine",
        "weight_decay": 0.05,
        "early_stopping": "none",
    },
}


def with_recipe(told: dict, given: Collection[str]) -> dict:
    """The options `told`, with the values of `told["recipe"]` for those that weren't given.

    Args:
        told: option to value, defaults among them.
        given: names of the options that the user gave; they stay as they are.
    """
    values = RECIPES[told["recipe"]]
    return told | {name: value for name, value in values.items() if name not in given}

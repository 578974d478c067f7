"""Recipes: named sets of values for the flags of a training run."""

from typing import Any

# Values of the flags that aren't given, by recipe. A comment above each has its purpose, its
# command, the time that takes and the result to expect.
RECIPES: dict[str, dict[str, Any]] = {
    # The paper's settings where it gives any, and a tiny model on the embedded phantoms.
    # python tools/train.py: about a minute on two cores, to see that everything works.
    "paper": {},
    # Whether pixels alone can be learned, from random weights: whole pictures in patches, no name.
    # python tools/train.py --recipe=pixels: 35 s on two cores; AUC .98 to 1.00.
    "pixels": {
        "protocol": "absent",
        "weights": "none",
        "layout": "patches64x16",
        "stem": "conv",
        "pooling": "mean",
        "backbone": "1x128",
        "activation": "relu",
        "dropout": 0.0,
        "augment": "light",
        "epochs": 16,
        "batch_size": 8,
        "optimizer": "muon",
        "learning_rate": 3e-3,
        "schedule": "cosine",
        "weight_decay": 0.05,
        "early_stopping": "none",
    },
    # The paper's result and its cause: its protocol, on images whose names give the class away.
    # python tools/train.py --recipe=named: 35 s of processor time; 100% correct, and
    # 50% with the name held fixed.
    "named": {
        "dataset": "phantom_named",
        "backbone": "1x128",
        "epochs": 6,
        "batch_size": 8,
        "learning_rate": 5e-4,
        "schedule": "cosine",
    },
}

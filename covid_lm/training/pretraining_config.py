"""What a pre-training run was told, and whether it goes on under what it is told now."""

import dataclasses
import hashlib
import json
import os

import numpy as np

from covid_lm.errors import InputError
from covid_lm.files import write_json
from covid_lm.training.batch_size import global_batch_size
from covid_lm.training.options import PretrainingOptions
from covid_lm.training.pretraining_checkpoint import whole_epochs

# Options that a run may change when it goes on; its data may move, but not differ.
FREE_OPTIONS = (
    "epochs",
    "data_dirs",
    "name",
    "output_dir",
    "skip_invalid",
    "tpu",
    "tpu_zone",
    "gcp_project",
    "tpu_timeout",
)


def settle_config(
    options: PretrainingOptions,
    sequences: dict[str, dict[str, np.ndarray]],
    run_dir: str,
    num_replicas: int = 1,
) -> int:
    """Writes the run's `config.json`, which agrees with the one that is there.

    Returns:
        The batch size: the one asked for, or that of the run that is there, or a fitting one.

    Raises:
        InputError: the run that is there was told something else, read other sequences, or has
            more epochs already; or the batch can't be divided among the replicas.
    """
    stored = read_config(run_dir)
    batch_size = options.batch_size
    if batch_size is None and stored:
        batch_size = stored["pretraining"]["batch_size"]
    num_images, length = sequences["train"]["token_ids"].shape
    batch_size = global_batch_size(
        options.backbone, batch_size, num_images, num_replicas, length=length
    )
    digests = {
        split: hashlib.sha256(np.ascontiguousarray(tokens["token_ids"]).data).hexdigest()
        for split, tokens in sequences.items()
    }
    told = {**dataclasses.asdict(options), "batch_size": batch_size}
    config = json.loads(json.dumps({"pretraining": told, "sequences": digests}))
    if stored:
        _require_same(stored, config, run_dir)
        finished = whole_epochs(run_dir)
        if finished > options.epochs:
            raise InputError(
                f"--epochs={options.epochs}: the run in {run_dir} has {finished} already; "
                "give more, or another --name"
            )
    write_json(os.path.join(run_dir, "config.json"), config)
    return batch_size


def read_config(run_dir: str) -> dict | None:
    """What the run there was told; None if there is none with a whole epoch.

    Raises:
        InputError: a run of another kind, or a damaged one.
    """
    path = os.path.join(run_dir, "config.json")
    try:
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        config["pretraining"], config["sequences"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not of a pre-training run; give another --name") from None
    return config if whole_epochs(run_dir) else None


def _require_same(stored: dict, config: dict, run_dir: str) -> None:
    """Raises `InputError` if a run would go on under other options, or on other sequences.

    Args:
        stored: what `read_config` gave.
        config: {"pretraining": options by name, "sequences": digests by split}, of this call.
        run_dir: to name in the message.
    """
    for section, values in config.items():
        for name, value in values.items():
            before = stored[section].get(name)
            if name not in FREE_OPTIONS and before != value:
                raise InputError(
                    f"{run_dir}: the run there has {name} {before!r}, now it is {value!r}; "
                    "give the same, or another --name"
                )

"""The base of the pre-training objectives."""

from collections.abc import Callable
from typing import Any

import keras

from covid_lm.models.preprocessor import Preprocessor
from covid_lm.pipeline.decoded import DecodedRecords
from covid_lm.pipeline.pixel_cache import PixelCache
from covid_lm.training.loop import BatchSource
from covid_lm.training.pretraining_options import PretrainingOptions


class Objective:
    """Model, targets and log of a pre-training run.

    `preprocessor` exists from the start, the other attributes after `prepare`.

    Attributes:
        preprocessor: makes the tokens of the training phase.
        model: keras Model to train, not compiled.
        loss: of `model`, as `keras.Model.compile` takes it.
        training: batches of the training split.

    Args:
        options: of the run.
        cache: receives decoded images.
    """

    preprocessor: Preprocessor
    model: keras.Model
    loss: str | Callable
    training: BatchSource

    def __init__(self, options: PretrainingOptions, cache: PixelCache):
        self.options = options
        self.cache = cache

    def prepare(self, images: dict[str, DecodedRecords]) -> None:
        """Builds model and batches from the splits "train" and, if any, "val".

        Raises:
            InputError: unusable weights.
            RunError: a file can't be written.
        """
        raise NotImplementedError

    def metrics(self) -> list[keras.metrics.Metric]:
        """New metrics of `model`."""
        return []

    def validate(self, batch_size: int) -> dict[str, float]:
        """Figures of the validation split; none without one.

        A figure `loss` would stop the training early, so it has another name.
        """
        raise NotImplementedError

    def describe(self) -> str:
        """One line about model and task, printed before training."""
        raise NotImplementedError

    def summary(self) -> dict[str, Any]:
        """The objective's own entries of `metrics.json`."""
        return {}

    def epoch_line(self, metrics: dict) -> dict:
        """An epoch's line of `metrics.jsonl`.

        Args:
            metrics: an entry of `Progress.history`, validation figures with the prefix `val_`.
        """
        raise NotImplementedError

    def epoch_text(self, line: dict) -> str:
        """An `epoch_line` as text, by default that of a `split_line`."""
        return split_text(line, self.options.epochs)

    def save(self, directory: str) -> None:
        """Writes a directory for `--weights`, atomically."""
        raise NotImplementedError


def output_head(width: int, start: float = 0.0) -> keras.layers.Layer:
    """A dense layer in float32 whose outputs are near `start` before any training."""
    return keras.layers.Dense(
        width,
        kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        bias_initializer=keras.initializers.Constant(start),
        dtype="float32",
        name="output_head",
    )


def split_line(metrics: dict, *names: str) -> dict:
    """An epoch's line with some figures of each split: {"epoch", "seconds", "train", "val"}."""
    line = {"epoch": metrics["epoch"], "seconds": metrics["seconds"]}
    for split, prefix in (("train", ""), ("val", "val_")):
        figures = {name: metrics[prefix + name] for name in names if prefix + name in metrics}
        if figures:
            line[split] = figures
    return line


def split_text(line: dict, epochs: int) -> str:
    """A `split_line` as one line of text."""
    splits = (
        f"{split} " + ", ".join(f"{name} {value:.4f}" for name, value in line[split].items())
        for split in ("train", "val")
        if split in line
    )
    return f"epoch {line['epoch']}/{epochs}: {'; '.join(splits)} ({line['seconds']:.0f} s)"

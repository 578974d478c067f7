"""What watches a training run, step by step."""

import math
import time
from collections.abc import Callable

import keras
import numpy as np

from covid_lm.backbones.bert_encoder import BertEncoder
from covid_lm.errors import RunError
from covid_lm.training.checkpoints import Checkpoints, Progress
from covid_lm.training.pretraining_checkpoint import save_epoch
from covid_lm.training.termination import Terminated, Termination

SAVE_INTERVAL = 60.0  # seconds at least
SAVE_SHARE = 0.05  # of the time at most


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Ends the run with one line, instead of training on with ruined weights.

    Args:
        steps_before: of the first epoch, done before this call of `fit`.
        on_stop: called first, to remove checkpoints from which the same steps would follow.
    """

    def __init__(self, steps_before: int = 0, on_stop: Callable[[], None] | None = None):
        super().__init__()
        self.steps_before = steps_before
        self.on_stop = on_stop

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.epoch = epoch + 1
        # Now, since Keras' JAX trainer takes the variables away while it trains.
        self.rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        if math.isfinite(logs["loss"]):
            return
        if self.on_stop is not None:
            self.on_stop()
        raise RunError(
            f"epoch {self.epoch}, step {self.steps_before + batch + 1}: the loss is "
            f"{logs['loss']}; lower --learning_rate (now {self.rate:g})"
        )


class SaveWithinEpoch(keras.callbacks.Callback):
    """Saves every minute, more rarely where saving takes long, and when SIGTERM has come.

    Args:
        progress: when the epoch, or what is left of it, began.
    """

    def __init__(self, checkpoints: Checkpoints, progress: Progress, termination: Termination):
        super().__init__()
        self.checkpoints = checkpoints
        self.progress = progress
        self.termination = termination
        self.started = time.monotonic()
        self.due = self.started + SAVE_INTERVAL

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        now = time.monotonic()
        if now < self.due and not self.termination.requested:
            return
        progress = self.progress.after(batch + 1, dict(logs), now - self.started)
        self.checkpoints.save(progress)
        if self.termination.requested:
            raise Terminated(
                f"SIGTERM: saved after epoch {progress.epoch}, step {progress.step}; "
                "the same command resumes"
            )
        saved = time.monotonic()
        self.due = saved + max(SAVE_INTERVAL, (saved - now) / SAVE_SHARE)


PREDICTORS = {"model": "model", "unigram": "unigram", "copy_left": "copy left"}
COLUMNS = ("loss", "perplexity", "accuracy", "image_accuracy", "name_accuracy")


class DropoutByEpoch(keras.callbacks.Callback):
    """Begins the encoder's dropout anew in each epoch, from the seed and the epoch's number.

    What is dropped then doesn't depend on the epochs before, and an interrupted run can go on
    without the generator's state.
    """

    def __init__(self, encoder: BertEncoder, seed: int):
        super().__init__()
        self.encoder = encoder
        self.seed = seed

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        (word,) = np.random.SeedSequence([self.seed, epoch]).generate_state(1)
        self.encoder.seed_generator.state.assign([int(word), 0])


class EpochEnd(keras.callbacks.Callback):
    """Keeps the epoch's state and figures, and prints them beside the trivial predictors'.

    Args:
        run_dir: where they are kept.
        history: of the epochs before; grows by one entry per epoch, {"epoch", "seconds", "train":
            {"loss", "perplexity", "accuracy", "image_accuracy", "name_accuracy"}, "val": ...}.
            Those of "train" are means over the epoch, with dropout, while the weights change.
        trivial: the same figures by split and predictor; None where a kind has no tokens.
    """

    def __init__(self, run_dir: str, history: list[dict], trivial: dict[str, dict]):
        super().__init__()
        self.run_dir = run_dir
        self.history = history
        self.trivial = trivial

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        seconds = round(time.monotonic() - self.started, 3)
        line: dict = {"epoch": epoch + 1, "seconds": seconds}
        for split, predictors in self.trivial.items():
            line[split] = _figures(logs, "val_" if split == "val" else "", predictors["unigram"])
        self.history.append(line)
        save_epoch(self.run_dir, self.model, self.history)
        print(epoch_table(line, self.trivial), flush=True)


def _figures(logs: dict, prefix: str, trivial: dict) -> dict[str, float | None]:
    loss = float(logs[f"{prefix}cross_entropy"])
    perplexity = math.exp(min(loss, 700))  # within a float's range
    figures: dict[str, float | None] = {"loss": loss, "perplexity": perplexity}
    for name in ("accuracy", "image_accuracy", "name_accuracy"):
        figures[name] = None if trivial[name] is None else float(logs[f"{prefix}{name}"])
    return figures


def epoch_table(line: dict, trivial: dict[str, dict]) -> str:
    """An epoch's figures beside those of the trivial predictors, as text.

    Args:
        line: an entry of the history.
        trivial: as `EpochEnd` takes it.
    """
    titles = "".join(
        f"{title:>12}" for title in ("loss", "perplexity", "accuracy", "image", "name")
    )
    lines = [f"{'epoch ' + str(line['epoch']):<18}{titles}   ({line['seconds']:.0f} s)"]
    for split, predictors in trivial.items():
        for key, figures in {"model": line[split], **predictors}.items():
            cells = "".join(_cell(figures[column]) for column in COLUMNS)
            lines.append(f"{split:<7}{PREDICTORS[key]:<11}{cells}")
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return f"{'-':>12}" if value is None else f"{value:>12.3f}"

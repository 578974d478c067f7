"""Epochs, best epoch, stopping, and an epoch's metrics over an interruption."""

import pytest

from covid_lm.training.checkpoints import Progress


def progress(*losses: float) -> Progress:
    return Progress([{"val_loss": loss} for loss in losses])


@pytest.mark.parametrize(
    ("losses", "best_epoch", "stopped"),
    [
        ((), None, False),
        ((0.5,), 1, False),
        ((0.5, 0.4, 0.4), 2, False),  # an equal loss is no better one
        ((0.5, 0.4, 0.6, 0.5), 2, False),
        ((0.5, 0.4, 0.6, 0.5, 0.4), 2, True),
        ((0.5, 0.4, 0.6, 0.5, 0.3), 5, False),
        ((float("nan"), 0.4), 2, False),
        ((float("nan"), float("inf")), None, False),
    ],
)
def test_the_best_epoch_and_the_end(losses, best_epoch, stopped):
    assert (progress(*losses).best_epoch, progress(*losses).stopped) == (best_epoch, stopped)


def test_without_validation_no_epoch_is_best():
    unmonitored = Progress([{"loss": 0.5}] * 9)
    assert (unmonitored.epoch, unmonitored.best_epoch, unmonitored.stopped) == (9, None, False)


def test_an_interrupted_epochs_means_are_over_all_its_steps():
    first = Progress().after(1, {"loss": 1.0, "accuracy": 0.0}, 2.0)
    both = first.after(3, {"loss": 2.0, "accuracy": 1.0}, 4.0)
    assert both == Progress([], 4, {"loss": 1.75, "accuracy": 0.75}, 6.0)
    done = both.epoch_finished({"val_loss": 0.5})
    assert done == Progress(
        [{"epoch": 1, "loss": 1.75, "accuracy": 0.75, "val_loss": 0.5, "seconds": 6.0}]
    )

"""Progress of a run: best epoch, early stopping, and an interrupted epoch's metrics."""

import pytest

from covid_lm.training.checkpoints import Progress


def progress(*losses: float) -> Progress:
    return Progress([{"val_loss": loss} for loss in losses])


@pytest.mark.parametrize(
    ("losses", "best_epoch", "stopped"),
    [
        ((), None, False),
        ((0.5,), 1, False),
        ((0.5, 0.4, 0.4), 2, False),  # an equal loss is not better
        ((0.5, 0.4, 0.6, 0.5), 2, False),
        ((0.5, 0.4, 0.6, 0.5, 0.4), 2, True),
        ((0.5, 0.4, 0.6, 0.5, 0.3), 5, False),
        ((float("nan"), 0.4), 2, False),
        ((float("nan"), float("inf")), None, False),
    ],
)
def test_best_epoch_and_early_stopping(losses, best_epoch, stopped):
    assert (progress(*losses).best_epoch, progress(*losses).stopped) == (best_epoch, stopped)


def test_without_validation_no_epoch_is_best():
    unmonitored = Progress([{"loss": 0.5}] * 9)
    assert (unmonitored.epoch, unmonitored.best_epoch, unmonitored.stopped) == (9, None, False)


def test_progress_within_an_epoch_and_at_its_end():
    first = Progress().within_epoch(1, {"loss": 1.0}, 2.0)
    both = first.within_epoch(3, {"loss": 1.75, "accuracy": 0.75}, 4.0)
    assert both == Progress([], 4, {"loss": 1.75, "accuracy": 0.75}, 6.0)
    done = both.epoch_finished({"val_loss": 0.5})
    assert done == Progress(
        [{"epoch": 1, "loss": 1.75, "accuracy": 0.75, "val_loss": 0.5, "seconds": 6.0}]
    )

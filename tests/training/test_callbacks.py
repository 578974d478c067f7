"""Checkpoints within epochs and after them, on a simulated clock."""

import types

import pytest

from covid_lm.training import callbacks as training_callbacks
from covid_lm.training.callbacks import FinishEpoch, SaveWithinEpoch
from covid_lm.training.checkpoints import Progress
from covid_lm.training.termination import Terminated, Termination


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Model:
    def get_metrics_result(self) -> dict:
        return {"loss": 0.5}


class SlowCheckpoints:
    """A replacement for `Checkpoints` that records what is saved, and takes time for it."""

    best_weights = None

    def __init__(self, clock: Clock, seconds: float, size: int = 1000):
        self.clock, self.seconds, self.size, self.saved = clock, seconds, size, []

    def add_metrics(self) -> None:
        pass

    def save(self, progress: Progress) -> int:
        self.clock.now += self.seconds
        self.saved.append(progress)
        return self.size


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(training_callbacks, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("seconds_to_save", "saved_steps"),
    [
        (1.0, [6, 12, 18, 24]),  # after 60 s, then 60 s later
        (10.0, [6, 26]),  # 10 s are a twentieth of 200 s
    ],
)
def test_saving_every_minute_takes_at_most_a_twentieth_of_the_time(
    clock, seconds_to_save, saved_steps
):
    checkpoints = SlowCheckpoints(clock, seconds_to_save)
    epochs = FinishEpoch(Progress(), dict, print, None)
    callback = SaveWithinEpoch(checkpoints, epochs, Termination())
    callback.set_model(Model())
    for each in (callback, epochs):
        each.on_epoch_begin(0)
    for batch in range(28):
        clock.now += 10
        callback.on_train_batch_end(batch, {"loss": 0.5})
    assert [progress.step for progress in checkpoints.saved] == saved_steps
    assert checkpoints.saved[0] == Progress([], 6, {"loss": 0.5}, 60.0)


def finish_epochs(clock, checkpoints, count, validate=dict):
    model = types.SimpleNamespace(optimizer=types.SimpleNamespace(use_ema=False))
    model.get_weights = list
    reported = []
    callback = FinishEpoch(Progress(), validate, reported.append, checkpoints)
    callback.set_model(model)
    callback.set_params({"steps": 4, "epochs": 30})
    for epoch in range(count):
        callback.on_epoch_begin(epoch)
        clock.now += 2
        callback.on_epoch_end(epoch, {"loss": 0.5})
    assert len(reported) == count
    return [progress.epoch for progress in checkpoints.saved]


def test_short_epochs_with_a_large_checkpoint_are_saved_in_a_twentieth_of_the_time(clock):
    checkpoints = SlowCheckpoints(clock, 0.95, training_callbacks.LARGE + 1)
    assert finish_epochs(clock, checkpoints, 30) == [1, 11, 21, 30]  # the last one always


def test_a_small_checkpoint_is_saved_after_each_epoch(clock):
    checkpoints = SlowCheckpoints(clock, 0.95, training_callbacks.LARGE)
    assert finish_epochs(clock, checkpoints, 5) == [1, 2, 3, 4, 5]


def test_the_epoch_that_stops_training_is_saved(clock):
    checkpoints = SlowCheckpoints(clock, 60.0, training_callbacks.LARGE + 1)
    losses = iter([0.3, 0.2, 0.4, 0.4, 0.4])
    epochs = finish_epochs(clock, checkpoints, 5, lambda: {"val_loss": next(losses)})
    assert epochs == [1, 5]  # three epochs after the best


def test_sigterm_saves_at_once(clock):
    class Requested(Termination):
        requested = True

    checkpoints = SlowCheckpoints(clock, 1.0)
    epochs = FinishEpoch(Progress([{"epoch": 1}]), dict, print, None)
    callback = SaveWithinEpoch(checkpoints, epochs, Requested())
    callback.set_model(Model())
    for each in (callback, epochs):
        each.on_epoch_begin(1)
    with pytest.raises(Terminated) as error:
        callback.on_train_batch_end(4, {"loss": 0.5})
    assert str(error.value) == "SIGTERM: saved after epoch 1, step 5; the same command resumes"
    assert [progress.step for progress in checkpoints.saved] == [5]

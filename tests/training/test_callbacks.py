"""Checkpoints within an epoch, on a simulated clock."""

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

    def __init__(self, clock: Clock, seconds: float):
        self.clock, self.seconds, self.saved = clock, seconds, []

    def add_metrics(self) -> None:
        pass

    def save(self, progress: Progress) -> None:
        self.clock.now += self.seconds
        self.saved.append(progress)


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

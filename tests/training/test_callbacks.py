"""When a run is saved within an epoch, on a clock that the test turns."""

import pytest

from covid_lm.training import callbacks as training_callbacks
from covid_lm.training.callbacks import SaveWithinEpoch
from covid_lm.training.checkpoints import Progress
from covid_lm.training.termination import Terminated, Termination


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


class SlowCheckpoints:
    """Stands in for `Checkpoints`: notes what is saved, which takes a while."""

    def __init__(self, clock: Clock, seconds: float):
        self.clock, self.seconds, self.saved = clock, seconds, []

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
        (1.0, [6, 12, 18, 24]),  # at 60 s, then when 60 s have gone by again
        (10.0, [6, 26]),  # 10 s are a twentieth of 200 s
    ],
)
def test_every_minute_but_for_a_twentieth_of_the_time(clock, seconds_to_save, saved_steps):
    checkpoints = SlowCheckpoints(clock, seconds_to_save)
    callback = SaveWithinEpoch(checkpoints, Progress(), Termination())
    for batch in range(28):
        clock.now += 10
        callback.on_train_batch_end(batch, {"loss": 0.5})
    assert [progress.step for progress in checkpoints.saved] == saved_steps
    assert checkpoints.saved[0] == Progress([], 6, {"loss": 0.5}, 60.0)


def test_at_once_when_sigterm_has_come(clock):
    class Requested(Termination):
        requested = True

    checkpoints = SlowCheckpoints(clock, 1.0)
    callback = SaveWithinEpoch(checkpoints, Progress([{"epoch": 1}]), Requested())
    with pytest.raises(Terminated) as error:
        callback.on_train_batch_end(4, {"loss": 0.5})
    assert str(error.value) == "SIGTERM: saved after epoch 1, step 5; the same command resumes"
    assert [progress.step for progress in checkpoints.saved] == [5]

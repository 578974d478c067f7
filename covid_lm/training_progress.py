"""How far a training run is, in numbers: with the variables, all that it needs to go on."""

import dataclasses
import math

PATIENCE = 3  # epochs without a lower validation loss


@dataclasses.dataclass
class Progress:
    """The finished epochs and the part of the one that is running.

    Attributes:
        history: of each finished epoch its metrics, `val_loss` among them where one is monitored,
            and its seconds.
        step: steps done of the next epoch.
        means: metrics so far, averaged over those steps, which are of one size.
        seconds: spent on them.
    """

    history: list[dict] = dataclasses.field(default_factory=list)
    step: int = 0
    means: dict = dataclasses.field(default_factory=dict)
    seconds: float = 0.0

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    @property
    def best_epoch(self) -> int | None:
        """The first epoch, counted from 1, of the lowest validation loss; None before any."""
        losses = [metrics.get("val_loss", math.nan) for metrics in self.history]
        finite = [loss for loss in losses if math.isfinite(loss)]
        return losses.index(min(finite)) + 1 if finite else None

    @property
    def stopped(self) -> bool:
        """Whether the validation loss has not fallen for PATIENCE epochs."""
        return self.best_epoch is not None and self.epoch - self.best_epoch >= PATIENCE

    def after(self, steps: int, means: dict, seconds: float) -> "Progress":
        """With `steps` more of this epoch, whose metrics average to `means`."""
        total = self.step + steps
        merged = {
            name: (self.step * self.means.get(name, 0.0) + steps * value) / total
            for name, value in means.items()
        }
        return Progress(self.history, total, merged, self.seconds + seconds)

    def epoch_finished(self, validation: dict) -> "Progress":
        """With this epoch among the finished ones."""
        metrics = {"epoch": self.epoch + 1, **self.means, **validation}
        return Progress([*self.history, {**metrics, "seconds": round(self.seconds, 3)}])

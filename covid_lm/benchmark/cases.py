"""What is measured: the options of a benchmark, its cases, and the targets set for them."""

import dataclasses
import itertools
from typing import Any

DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line asked for.

    Attributes:
        rounds: turns that each contender gets in each case.
        threads: of each contender.
        tasks: of suite `training`, "training" and "pretraining".
        minutes: of suite `soak`.
        data_dir: COVID-CT, for the suites that start from images; the embedded phantom without it.
    """

    backbones: tuple[str, ...] = ("rbt3", "minilm-l6")
    batch_sizes: tuple[int, ...] = (8, 1)
    dtypes: tuple[str, ...] = DTYPES
    rounds: int = 5
    threads: int = 2
    tasks: tuple[str, ...] = ("training", "pretraining")
    minutes: float = 10.0
    data_dir: str | None = None


SUITE_DEFAULTS: dict[str, dict[str, Any]] = {  # suite: where it departs from the defaults above
    "preprocessing": {"batch_sizes": (1, 8, 32)},
    "serving": {"backbones": ("rbt3",), "batch_sizes": (1, 8, 32), "dtypes": ("float32",)},
    "soak": {"backbones": ("tiny",)},
    "scale": {
        "backbones": ("tiny", "minilm-l6", "rbt3"),
        "batch_sizes": (1, 8, 32),
        "rounds": 1,
    },
}


@dataclasses.dataclass(frozen=True)
class Case:
    """One measurement; all its contenders do exactly this.

    Attributes:
        task: "inference" ([CLS] vector and a dense layer of two classes), "training" (forward,
            backward, AdamW), "pretraining" (the same with the masked-token objective),
            "preprocessing" (image bytes to token ids) or "serving" (image bytes
            to probabilities).
        dropout: rate while training, on embeddings, attention and both residual branches.
        material: where the last two tasks find images and models (`raw_images`).
        callers: threads that make a worker's calls.
        calls: fewest in a turn.
    """

    task: str
    backbone: str
    dtype: str
    batch_size: int
    threads: int
    length: int = 512
    dropout: float = 0.1
    material: str = ""
    callers: int = 1
    calls: int = 1

    def __str__(self) -> str:
        callers = f", {self.callers} callers" if self.callers > 1 else ""
        return f"{self.task} {self.backbone} {self.dtype} batch {self.batch_size}{callers}"


@dataclasses.dataclass(frozen=True)
class Target:
    """At least `minimum` times the throughput of `rival`, or that share of the ceiling."""

    rival: str
    minimum: float


def cases(task: str, options: Options) -> list[Case]:
    """The cases of a task, every combination of the options."""
    combinations = itertools.product(options.backbones, options.batch_sizes, options.dtypes)
    return [
        Case(task, backbone, dtype, batch_size, options.threads)
        for backbone, batch_size, dtype in combinations
    ]

"""Options of training runs, validated before TensorFlow."""

import dataclasses
import importlib.util
import re
from collections.abc import Iterator
from typing import Any

from covid_lm.backbones.configs import CONVOLUTIONAL_NETWORKS, backbone_config
from covid_lm.backbones.weights.hub import is_hub_name
from covid_lm.data import DATASETS, require_data_dir
from covid_lm.errors import InputError
from covid_lm.protocols import AUGMENTATIONS, MIXES, PROTOCOLS, SCHEDULES
from covid_lm.training import help_texts
from covid_lm.training.data_options import DATA_DIR
from covid_lm.training.flags import AT_LEAST_0, AT_LEAST_1, BELOW_1, option
from covid_lm.training.recipes import RECIPES
from covid_lm.training.run_options import IMAGE_SIDE, PLACE, RunOptions

# Options of training step by step, which a fitted head has no use for.
_OF_STEPS = (
    *("augment", "mix", "ema", "label_smoothing", "tensorboard"),
    *("epochs", "batch_size", "optimizer", "learning_rate", "schedule", "weight_decay"),
)


@dataclasses.dataclass(frozen=True)
class TrainingOptions(RunOptions):
    """Options of `tools/train.py`, and those of `tools/cross_validate.py`.

    Attributes:
        recipe: the recipe that gave values to other options, for the printed command.
    """

    TOOL = "train.py"
    RECIPES = RECIPES

    recipe: str = option(
        "paper", "Values for the flags that aren't given.", tuple(RECIPES), must_match=False
    )
    dataset: str = option("phantom", "Data set.", DATASETS)
    data_dir: str | None = option(
        None, "Location of the data set, unless embedded.", DATA_DIR, must_match=False, shown="DIR"
    )
    image_size: int | None = option(
        None, "Pixels of a convolutional network's side; default: 224.", IMAGE_SIDE
    )
    schedule: str = option("constant", help_texts.SCHEDULE, SCHEDULES)
    weight_decay: float = option(1e-8, help_texts.DECAY, AT_LEAST_0)
    ema: float = option(0.0, help_texts.EMA, BELOW_1)
    label_smoothing: float = option(0.0, "Share of a target spread over all classes.", BELOW_1)
    augment: str = option("none", help_texts.AUGMENT, ("none", *AUGMENTATIONS))
    mix: str = option("none", help_texts.MIX, MIXES)
    early_stopping: str = option(
        None, help_texts.EARLY_STOPPING, ("val", "test", "none"), in_folds=False
    )
    frozen: bool = option(False, help_texts.FROZEN)
    tensorboard: bool = option(False, "Write logs to NAME/run/tensorboard, too.", **PLACE)
    coordinator: str | None = option(
        None, "HOST:PORT of process 0, for several processes.", shown="HOST:PORT", **PLACE
    )
    num_processes: int = option(1, "Processes, one per host; JAX only.", AT_LEAST_1, **PLACE)
    process_id: int = option(
        0, "Number of this process; process 0 evaluates and exports.", shown=None, **PLACE
    )

    def __post_init__(self):
        if not self.early_stopping:
            object.__setattr__(self, "early_stopping", self._default("early_stopping"))
        super().__post_init__()
        require_data_dir(self.dataset, self.data_dir)
        for message in self._problems():
            raise InputError(message)

    def _problems(self) -> Iterator[str]:
        if self.tensorboard and importlib.util.find_spec("tensorboard") is None:
            yield "--tensorboard: needs pip install 'covid_lm[tensorboard]'"
        if not 0 <= self.process_id < self.num_processes:
            last = self.num_processes - 1
            yield f"--process_id={self.process_id}: must be from 0 to {last}, below --num_processes"
        if self.frozen:
            yield from self._problems_of_frozen()
        if self.num_processes > 1:
            flag = f"--num_processes={self.num_processes}"
            if not re.fullmatch(r".+:\d+", self.coordinator or ""):
                yield f"{flag}: needs --coordinator=HOST:PORT, where process 0 can listen"
            if self.backend != "jax":
                yield f"{flag}: only with KERAS_BACKEND=jax; TensorFlow trains on one machine"
        if self.backend == "jax":
            yield from self._problems_of_jax()
        if self.mix != "none" and PROTOCOLS[self.protocol][0] == "visible":
            reason = "the visible name of a mixed image belongs to one of two"
            yield f"--mix={self.mix}: {reason}; use another --protocol, such as fixed"
        if self.backbone in CONVOLUTIONAL_NETWORKS and is_hub_name(self.weights):
            yield f"--weights={self.weights}: of a BERT; --backbone={self.backbone} takes a file"
        if self.backbone not in CONVOLUTIONAL_NETWORKS:
            backbone_config(self.backbone)
            if self.image_size is not None:
                networks = ", ".join(CONVOLUTIONAL_NETWORKS)
                yield f"--image_size={self.image_size}: only for {networks}; others have --layout"
        elif self.protocol != "absent":
            reason = f"{self.backbone} reads no file name"
            yield f"--protocol={self.protocol}: {reason}; use --protocol=absent"
        elif self.layout != "paper":
            yield f"--layout={self.layout}: {self.backbone} reads all pixels; use --image_size"

    def _problems_of_frozen(self) -> Iterator[str]:
        without = "not with --frozen, which fits the head once, to images as they are"
        if self.early_stopping != "none":
            yield f"--early_stopping={self.early_stopping}: {without}"
        if self.num_processes > 1:
            yield f"--num_processes={self.num_processes}: {without}"
        for name in _OF_STEPS:
            value = getattr(self, name)
            if value != getattr(TrainingOptions, name):  # the default
                yield f"--{name}={value}: {without}"

    def _default(self, name: str) -> Any:
        if name == "early_stopping":
            return "none" if self.frozen else "val"
        return super()._default(name)

    def _problems_of_jax(self) -> Iterator[str]:
        without = "not with KERAS_BACKEND=jax"
        if self.backbone in CONVOLUTIONAL_NETWORKS:
            yield f"--backbone={self.backbone}: {without}"
        for name in ("augment", "mix"):
            value = getattr(self, name)
            if value != "none" and self.num_processes > 1:
                yield f"--{name}={value}: not with --num_processes={self.num_processes}"
        if self.tensorboard:
            yield f"--tensorboard: {without}"

    @property
    def command(self) -> str:
        return super().command + (" --process_id=I" if self.num_processes > 1 else "")

    @property
    def sources(self) -> list[tuple[str, str | None]]:
        return [(self.dataset, self.data_dir)]

    @property
    def input_size(self) -> str:
        return str(self.image_size or 224) if self.is_convolutional else self.layout

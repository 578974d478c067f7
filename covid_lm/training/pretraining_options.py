"""Options of pre-training runs."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from covid_lm.backbones.configs import TEACHER, backbone_config
from covid_lm.command_line import PathParser
from covid_lm.data import DATASETS, EMBEDDED, UNLABELLED
from covid_lm.errors import InputError
from covid_lm.protocols import AUGMENTATIONS, PROTOCOLS, SCHEDULES, layout_arguments
from covid_lm.training import help_texts
from covid_lm.training.data_options import DATA_DIR
from covid_lm.training.flags import (
    AT_LEAST_0,
    AT_LEAST_1,
    Bound,
    option,
)
from covid_lm.training.run_options import IMAGE_SIDE, RunOptions

FRACTION = Bound("above 0 and below 1", lambda value: 0 < value < 1)
MASK_RATES = {"words": 0.15, "bytes": 0.6, "teacher": None}  # by objective
_OBJECTIVE = (
    "words: BERT's masked tokens, of one byte each; bytes: the values of masked patches; teacher: "
    "the features of a trained network. Default: bytes for layouts of patches, else words."
)
_MASK_RATE = "Share of words or patches to mask; default: 0.15 of the words, 0.6 of the patches."
_TEACHER = f"Teacher's weights: {TEACHER}, of the extra `teacher`, or a file with them."
_TEACHER_SIZE = "Side in pixels of the teacher's images; default: the layout's, at least 128."
_DATA_DIRS = "Location of each --dataset that isn't embedded, in the same order; repeatable."


@dataclasses.dataclass(frozen=True)
class PretrainingOptions(RunOptions):
    """Options of `tools/pretrain.py`.

    Attributes:
        datasets: one or more names; only their training and validation images are read.
        data_dirs: directories of those that aren't embedded, in the same order.
        protocol: its training policy determines how the file name enters the sequence.
        crops: of each image that a teacher sees; an epoch has them all.
    """

    TOOL = "pretrain.py"
    SECTION = "pretraining"
    PREFIX = "pretrained-"

    datasets: tuple[str, ...] = option(
        ("phantom",),
        "Data set, used without labels; images: folder or zip of images; repeatable.",
        (*DATASETS, UNLABELLED),
        flag="dataset",
    )
    data_dirs: tuple[str, ...] = option(
        (), _DATA_DIRS, DATA_DIR, flag="data_dir", must_match=False, shown="DIR"
    )
    objective: str = option(None, _OBJECTIVE, tuple(MASK_RATES))
    mask_rate: float | None = option(None, _MASK_RATE, FRACTION)
    teacher: str = option(TEACHER, _TEACHER, PathParser(names=(TEACHER,)), shown="TEACHER_FILE")
    teacher_size: int | None = option(None, _TEACHER_SIZE, IMAGE_SIDE)
    crops: int = option(16, "Crops of each image, for a teacher.", AT_LEAST_1)
    augment: str = option(None, help_texts.AUGMENT, ("none", *AUGMENTATIONS))
    schedule: str = option("constant", help_texts.SCHEDULE, SCHEDULES)
    weight_decay: float = option(1e-8, help_texts.DECAY, AT_LEAST_0)
    epochs: int = option(
        RunOptions.epochs, "Most epochs; more can follow.", AT_LEAST_1, must_match=False
    )

    def __post_init__(self):
        for name in ("objective", "mask_rate", "augment"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, self._default(name))
        super().__post_init__()
        needed = sum(name not in EMBEDDED for name in self.datasets)
        if len(self.data_dirs) != needed:
            raise InputError(
                f"--data_dir: given {len(self.data_dirs)} time(s), but needed once for each "
                f"--dataset but {', '.join(EMBEDDED)}, in the same order: {needed} time(s)"
            )
        backbone_config(self.backbone)
        for message in self._problems():
            raise InputError(message)

    def _problems(self) -> Iterator[str]:
        flag, patches = f"--objective={self.objective}", self._reads_patches
        if self.objective == "words" and patches:
            yield f"{flag}: only for tokens of one byte; use bytes or teacher"
        if self.objective == "bytes" and not patches:
            yield f"{flag}: only for layouts of patches, such as --layout=patches64x8"
        if self.objective == "words" and self.augment != "none":
            yield f"--augment={self.augment}: not with {flag}"
        if self.objective != "teacher":
            return
        if self.mask_rate is not None:
            yield f"--mask_rate={self.mask_rate}: not with {flag}"
        if self.tpu not in (None, "local"):
            yield f"--tpu={self.tpu}: not with {flag}, whose files are on this machine"

    @property
    def _reads_patches(self) -> bool:
        return "patch_size" in layout_arguments(self.layout)

    def _default(self, name: str) -> Any:
        """See `RunOptions`; some depend on the objective, and the objective on the layout."""
        if name == "objective":
            return "bytes" if self._reads_patches else "words"
        if name == "mask_rate":
            return MASK_RATES.get(self.objective)
        if name == "augment":
            return "none" if self.objective == "words" else "heavy"
        return super()._default(name)

    def must_match(self, field: dataclasses.Field) -> bool:
        """See `FlagOptions`; the learning rates of a schedule depend on the epochs."""
        scheduled = field.name == "epochs" and self.schedule != "constant"
        return scheduled or super().must_match(field)

    @property
    def sources(self) -> list[tuple[str, str | None]]:
        directories = iter(self.data_dirs)
        return [(name, None if name in EMBEDDED else next(directories)) for name in self.datasets]

    @property
    def policy(self) -> str:
        """The metadata policy of the sequences."""
        return PROTOCOLS[self.protocol][0]

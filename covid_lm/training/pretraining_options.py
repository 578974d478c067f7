"""Options of pre-training runs."""

import dataclasses

from covid_lm.backbones.configs import backbone_config
from covid_lm.data import DATASETS, EMBEDDED
from covid_lm.errors import InputError
from covid_lm.protocols import PROTOCOLS
from covid_lm.training.flags import AT_LEAST_1, INPUT, Bound, option
from covid_lm.training.options import RunOptions

FRACTION = Bound("above 0 and below 1", lambda value: 0 < value < 1)
_DATA_DIRS = "Directory of each --dataset that isn't embedded, in the same order; repeatable."


@dataclasses.dataclass(frozen=True)
class PretrainingOptions(RunOptions):
    """Options of `tools/pretrain.py`.

    Attributes:
        datasets: one or more names; only their training and validation images are read.
        data_dirs: directories of those that aren't embedded, in the same order.
        protocol: its training policy determines how the file name enters the sequence.
    """

    TOOL = "pretrain.py"
    PREFIX = "pretrained-"

    datasets: tuple[str, ...] = option(
        ("phantom",), "Data set, used without labels; repeatable.", DATASETS, flag="dataset"
    )
    data_dirs: tuple[str, ...] = option(
        (), _DATA_DIRS, INPUT, flag="data_dir", must_match=False, shown="DIR"
    )
    mask_rate: float = option(0.15, "Share of each sequence's words to mask.", FRACTION)
    epochs: int = option(
        RunOptions.epochs, "Most epochs; more can follow.", AT_LEAST_1, must_match=False
    )

    def __post_init__(self):
        super().__post_init__()
        needed = sum(name not in EMBEDDED for name in self.datasets)
        if len(self.data_dirs) != needed:
            raise InputError(
                f"--data_dir: given {len(self.data_dirs)} time(s), but needed once for each "
                f"--dataset but {', '.join(EMBEDDED)}, in the same order: {needed} time(s)"
            )
        backbone_config(self.backbone)

    @property
    def sources(self) -> list[tuple[str, str | None]]:
        directories = iter(self.data_dirs)
        return [(name, None if name in EMBEDDED else next(directories)) for name in self.datasets]

    @property
    def policy(self) -> str:
        """The metadata policy of the sequences."""
        return PROTOCOLS[self.protocol][0]

"""What a pre-training run is told, checked before anything is read."""

import dataclasses
import math
import os

from covid_lm.data import EMBEDDED
from covid_lm.errors import InputError
from covid_lm.protocols import PROTOCOLS
from covid_lm.training.options import check_run_name, check_tpu_flags


@dataclasses.dataclass(frozen=True)
class PretrainingOptions:
    """What `tools/pretrain.py` is told.

    Attributes:
        datasets: names, one or more.
        data_dirs: where they lie, in the same order, without one for embedded data.
        max_images: most training and most validation images of each data set.
        protocol: its training policy says how the file name enters.
    """

    datasets: tuple[str, ...] = ("phantom",)
    data_dirs: tuple[str, ...] = ()
    max_images: int | None = None
    backbone: str = "tiny"
    weights: str | None = None
    protocol: str = "paper"
    layout: str = "paper"
    mask_rate: float = 0.15
    epochs: int = 8
    batch_size: int | None = None
    learning_rate: float = 1e-4
    dtype: str = "float32"
    seed: int = 0
    name: str | None = None
    output_dir: str = "saved_models"
    skip_invalid: bool = False
    tpu: str | None = None
    tpu_zone: str | None = None
    gcp_project: str | None = None
    tpu_timeout: float = 25.0

    def __post_init__(self):
        needed = sum(name not in EMBEDDED for name in self.datasets)
        if len(self.data_dirs) != needed:
            raise InputError(
                f"--data_dir: given {len(self.data_dirs)} time(s), but needed once for each "
                f"--dataset but {', '.join(EMBEDDED)}, in the same order: {needed} time(s)"
            )
        if not 0 < self.mask_rate < 1:
            raise InputError(f"--mask_rate={self.mask_rate}: must be above 0 and below 1")
        for flag in ("batch_size", "epochs", "max_images"):
            value = getattr(self, flag)
            if value is not None and value < 1:
                raise InputError(f"--{flag}={value}: must be at least 1")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InputError(f"--learning_rate={self.learning_rate}: must be above 0")
        if self.seed < 0:
            raise InputError(f"--seed={self.seed}: must be at least 0")
        check_tpu_flags(self.tpu, self.tpu_zone, self.gcp_project, self.tpu_timeout)
        if self.name is not None:
            check_run_name(self.name)

    @property
    def sources(self) -> list[tuple[str, str | None]]:
        """Each data set's name and directory."""
        directories = iter(self.data_dirs)
        return [(name, None if name in EMBEDDED else next(directories)) for name in self.datasets]

    @property
    def policy(self) -> str:
        """The metadata policy of the sequences."""
        return PROTOCOLS[self.protocol][0]

    @property
    def command(self) -> str:
        """The command that repeats the run, with DIR, WEIGHTS_DIR and PROJECT for private names."""
        words = ["python tools/pretrain.py"]
        for name, directory in self.sources:
            words.append(f"--dataset={name}" + (" --data_dir=DIR" if directory else ""))
        left_out = ("datasets", "data_dirs", "name", "output_dir")
        placeholders = {"weights": "WEIGHTS_DIR", "gcp_project": "PROJECT"}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name not in left_out and value != field.default:
                value = placeholders.get(field.name, value)
                words.append(f"--{field.name}" if value is True else f"--{field.name}={value}")
        return " ".join(words)

    @property
    def model_dir(self) -> str:
        """Where the run and the weights go."""
        datasets = "+".join(self.datasets)
        name = f"pretrained-{datasets}-{self.backbone}-{self.protocol}-{self.layout}"
        return os.path.join(self.output_dir, self.name or name)

"""What a training run is told, checked before anything is read."""

import dataclasses
import importlib.util
import math
import os

from covid_lm.backbones.named import CONVOLUTIONAL_NETWORKS, backbone_config
from covid_lm.errors import InputError
from covid_lm.protocols import layout_trim
from covid_lm.recipes import RECIPES
from covid_lm.run_name import check_run_name


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """What `tools/train.py` is told; the defaults are the paper's where it gives any.

    `recipe` only names where values came from: `recipes.with_recipe` puts them in.
    """

    recipe: str = "paper"
    dataset: str = "phantom"
    data_dir: str | None = None
    backbone: str = "tiny"
    weights: str | None = None
    protocol: str = "paper"
    layout: str = "paper"
    image_size: int | None = None
    epochs: int = 8
    batch_size: int | None = None
    learning_rate: float = 1e-4
    schedule: str = "constant"
    weight_decay: float = 1e-8
    label_smoothing: float = 0.0
    augment: str = "none"
    token_dropout: float = 0.0
    views: int = 1
    dtype: str = "float32"
    early_stopping: str = "val"
    seed: int = 0
    name: str | None = None
    output_dir: str = "saved_models"
    skip_invalid: bool = False
    tensorboard: bool = False
    tpu: str | None = None
    tpu_zone: str | None = None
    gcp_project: str | None = None
    tpu_timeout: float = 25.0

    def __post_init__(self):
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError(f"--batch_size={self.batch_size}: must be at least 1")
        if self.epochs < 1:
            raise InputError(f"--epochs={self.epochs}: must be at least 1")
        self._check_optimization()
        if self.name is not None:
            check_run_name(self.name)
        if self.tensorboard and importlib.util.find_spec("tensorboard") is None:
            raise InputError("--tensorboard: needs pip install 'covid_lm[tensorboard]'")
        self._check_tpu()
        if self.backbone in CONVOLUTIONAL_NETWORKS:
            self._check_convolutional()
        elif self.image_size is not None:
            raise InputError(
                f"--image_size={self.image_size}: only for {', '.join(CONVOLUTIONAL_NETWORKS)}; "
                "--layout chooses what the others read"
            )

    def _check_optimization(self) -> None:
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InputError(f"--learning_rate={self.learning_rate}: must be above 0")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise InputError(f"--weight_decay={self.weight_decay}: must be at least 0")
        for flag in ("label_smoothing", "token_dropout"):
            if not 0 <= getattr(self, flag) < 1:
                raise InputError(f"--{flag}={getattr(self, flag)}: must be at least 0 and below 1")

    def _check_tpu(self) -> None:
        for flag in ("tpu_zone", "gcp_project"):
            if getattr(self, flag) is not None and self.tpu is None:
                raise InputError(f"--{flag}={getattr(self, flag)}: only with --tpu")
        if not (math.isfinite(self.tpu_timeout) and self.tpu_timeout > 0):
            raise InputError(f"--tpu_timeout={self.tpu_timeout}: must be above 0")

    def _check_convolutional(self) -> None:
        if self.protocol != "absent":
            raise InputError(
                f"--protocol={self.protocol}: {self.backbone} reads no file name; "
                "use --protocol=absent"
            )
        if self.layout != "paper":
            raise InputError(
                f"--layout={self.layout}: {self.backbone} reads all pixels; use --image_size"
            )
        if self.token_dropout:
            raise InputError(
                f"--token_dropout={self.token_dropout}: {self.backbone} reads no tokens"
            )
        if self.image_size is not None and not 32 <= self.image_size <= 1024:
            raise InputError(f"--image_size={self.image_size}: must be from 32 to 1024")

    @property
    def command(self) -> str:
        """The command that repeats the run, with DIR, WEIGHTS_DIR and PROJECT for private names."""
        return f"python tools/train.py{self.flags()}"

    def flags(self, *left_out: str) -> str:
        """What differs from the defaults, as a command's flags, each with a space before it.

        The recipe's values are spelled out beside its name: they may be others one day.
        """
        placeholders = {"data_dir": "DIR", "weights": "WEIGHTS_DIR", "gcp_project": "PROJECT"}
        words = [""]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            in_recipe = RECIPES[self.recipe].get(field.name, field.default)
            if value == field.default == in_recipe or field.name in (
                "name",
                "output_dir",
                *left_out,
            ):
                continue
            value = placeholders.get(field.name, value)
            words.append(f"--{field.name}" if value is True else f"--{field.name}={value}")
        return " ".join(words)

    @property
    def model_dir(self) -> str:
        """Where the run and its versions go."""
        layout = self.layout
        if self.backbone in CONVOLUTIONAL_NETWORKS:
            layout = str(self.image_size or 224)
        name = self.name or f"{self.dataset}-{self.backbone}-{self.protocol}-{layout}"
        return os.path.join(self.output_dir, name)


def fitting_batch_size(backbone_name: str, num_images: int, length: int = 512) -> int:
    """A power of two that leaves about 16 steps an epoch or more, within the paper's 512.

    A convolutional network gets 64 at most. A BERT's activations are bounded by a quarter of the
    machine's memory: for its gradients a layer keeps `34 * length * width + 5 * heads * length**2`
    bytes of a sequence in 16-bit arithmetic (Korthikanti et al., 2022, equation 2), and twice that
    in float32.
    """
    if backbone_name in CONVOLUTIONAL_NETWORKS:
        bound = min(64, num_images / 16)
    else:
        backbone = backbone_config(backbone_name)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 4
        per_layer = 34 * length * backbone.hidden_dim + 5 * backbone.num_heads * length**2
        bound = min(512, num_images / 16, memory / (2 * per_layer * backbone.num_layers))
    return 2 ** int(math.log2(max(bound, 1)))


def global_batch_size(options: TrainingOptions, num_images: int, num_replicas: int) -> int:
    """Images a step over all devices, the same number on each.

    Raises:
        InputError: the batch size asked for can't be divided so.
    """
    if options.batch_size is None:
        length = sum(layout_trim(options.layout).values())
        fitting = fitting_batch_size(options.backbone, num_images, length)
        return math.ceil(fitting / num_replicas) * num_replicas
    if options.batch_size % num_replicas:
        raise InputError(
            f"--batch_size={options.batch_size}: must be a multiple of {num_replicas}, the number "
            "of devices"
        )
    return options.batch_size

"""Options that training and pre-training share, validated before TensorFlow.

An option is one dataclass field: see `training.flags.option`.
"""

import contextlib
import dataclasses
import importlib.util
import os
import re
from typing import Any, ClassVar, Self

from covid_lm.backbones.configs import (
    BACKBONES,
    CONVOLUTIONAL_NETWORKS,
    STEMS,
    TEACHER,
)
from covid_lm.backbones.weights.hub import PREFIX, is_hub_name, parse_hub_name, pin
from covid_lm.backbones.weights.shipped import SHIPPED, shipped_backbone
from covid_lm.command_line import PathParser
from covid_lm.errors import InputError
from covid_lm.files import read_json
from covid_lm.protocols import (
    LAYOUT_HELP,
    PROTOCOLS,
    layout_arguments,
)
from covid_lm.training import help_texts
from covid_lm.training.data_options import ReadingOptions
from covid_lm.training.flags import (
    ABOVE_0,
    AT_LEAST_0,
    AT_LEAST_1,
    BELOW_1,
    LOCAL_FOLDER,
    OUTPUT_FOLDER,
    Bound,
    option,
)

BACKENDS = ("tensorflow", "jax")
OPTIMIZERS = ("adamw", "muon")
IMAGE_SIDE = Bound("from 32 to 1024", lambda value: 32 <= value <= 1024)
WEIGHTS = PathParser("input", (TEACHER, "none", SHIPPED), PREFIX)
UNFINISHED = ".run-in-progress"  # directory in `model_dir`, until the run is finished
PLACE: dict[str, Any] = {"must_match": False, "in_folds": False}  # where a run computes or writes


@dataclasses.dataclass(frozen=True)
class RunOptions(ReadingOptions):
    """Options that training and pre-training share.

    Attributes:
        backend: Keras backend of the training, from KERAS_BACKEND.
    """

    TOOL: ClassVar[str]
    SECTION: ClassVar[str] = "run"  # of `config.json`, which has the options
    PREFIX: ClassVar[str] = ""  # of the name of a run that is given none

    max_images: int | None = option(None, help_texts.MAX_IMAGES, AT_LEAST_1)
    backbone: str = option(None, help_texts.BACKBONE)
    weights: str | None = option(None, help_texts.WEIGHTS, WEIGHTS, shown="WEIGHTS_DIR")
    protocol: str = option("paper", help_texts.PROTOCOL, tuple(PROTOCOLS))
    layout: str = option("paper", LAYOUT_HELP)
    stem: str | None = option(
        None, "Embedding of patches; default: that of the weights, or conv.", STEMS
    )
    pooling: str | None = option(
        None, "Vector of a sequence; default: mean for patches, else cls.", ("cls", "mean")
    )
    activation: str | None = option(
        None, "Of random weights; default: gelu.", ("gelu", "gelu_approximate", "relu")
    )
    dropout: float | None = option(
        None, "Rate inside the encoder; default: the backbone's, mostly 0.1.", BELOW_1
    )
    stochastic_depth: float = option(
        0.0, "Probability to skip a residual branch of the last layer; 0 in the first.", BELOW_1
    )
    epochs: int = option(8, "Most epochs to train.", AT_LEAST_1)
    batch_size: int | None = option(None, "Images per step; default: automatic.", AT_LEAST_1)
    optimizer: str = option("adamw", help_texts.OPTIMIZER, OPTIMIZERS)
    learning_rate: float = option(1e-4, "Learning rate, or a schedule's highest.", ABOVE_0)
    dtype: str = option(
        None, "bfloat16: mixed; default: float32, on a TPU bfloat16.", ("float32", "bfloat16")
    )
    seed: int = option(0, "Seed of weights, order, masks, augmentation, dropout.", AT_LEAST_0)
    skip_invalid: bool = option(
        False, "Leave out images that can't be decoded, and list them.", must_match=False
    )
    name: str | None = option(None, "Name; default: made from other options.", shown=None, **PLACE)
    output_dir: str = option(
        "saved_models", "Directory in which NAME/ is written.", OUTPUT_FOLDER, shown=None, **PLACE
    )
    cache_dir: str | None = option(
        None, help_texts.CACHE, LOCAL_FOLDER, must_match=False, shown=None
    )
    tpu: str | None = option(None, help_texts.TPU, **PLACE)
    tpu_zone: str | None = option(None, "Zone of a named TPU; default: this machine's.", **PLACE)
    gcp_project: str | None = option(
        None, "Project of a named TPU; default: this machine's.", shown="PROJECT", **PLACE
    )
    tpu_timeout: float = option(25.0, "Seconds until the TPU must be ready.", ABOVE_0, **PLACE)
    backend: str = option("tensorflow", flag=None, must_match=False, shown=None)

    def __post_init__(self):
        for name in ("dtype", "backbone", "weights"):
            if not getattr(self, name):
                object.__setattr__(self, name, self._default(name))
        if self.weights == "none":
            object.__setattr__(self, "weights", None)
        super().__post_init__()
        if is_hub_name(self.weights):
            parse_hub_name(self.weights)
        if "patch_size" not in layout_arguments(self.layout) and self.stem is not None:
            raise InputError(f"--stem={self.stem}: only for layouts of patches")
        if self.activation is not None and self.weights is not None:
            raise InputError(
                f"--activation={self.activation}: the weights determine it; use --weights=none"
            )
        if self.optimizer != "adamw" and self.backbone in CONVOLUTIONAL_NETWORKS:
            raise InputError(f"--optimizer={self.optimizer}: not with --backbone={self.backbone}")
        if self.name is not None and not re.fullmatch(r"\w[\w.+-]*", self.name):
            raise InputError(f"--name={self.name}: use only letters, digits and _.+-")
        for flag in ("tpu_zone", "gcp_project"):
            if getattr(self, flag) is not None and self.tpu is None:
                raise InputError(f"--{flag}={getattr(self, flag)}: only with --tpu")
        if self.backend not in BACKENDS:
            raise InputError(f"KERAS_BACKEND={self.backend}: choose {' or '.join(BACKENDS)}")
        if self.backend == "jax" and importlib.util.find_spec("jax") is None:
            raise InputError("KERAS_BACKEND=jax: needs pip install 'covid_lm[jax]'")
        if self.backend == "jax" and self.tpu is not None:
            reason = "not with KERAS_BACKEND=jax, which takes all devices of its machine"
            raise InputError(f"--tpu={self.tpu}: {reason}")

    def to_dict(self) -> dict[str, Any]:
        """Values of which the constructor makes equal options: it reads None as no choice."""
        return {**dataclasses.asdict(self), "weights": self.weights or "none"}

    def with_pinned_weights(self) -> Self:
        """The options with the commit of `--weights=hf://...`, which is downloaded if needed.

        It is the commit of the unfinished run, if there is one to resume, so that the weights are
        the same although a newer version may have been published.

        Raises:
            InputError, RunError: the weights can't be downloaded.
        """
        if not is_hub_name(self.weights):
            return self
        stored = None
        with contextlib.suppress(OSError, AttributeError):  # a damaged file is reported later
            config = read_json(os.path.join(self.model_dir, UNFINISHED, "config.json"))
            stored = str(config.get(self.SECTION, {}).get("weights"))
        return dataclasses.replace(self, weights=pin(self.weights, stored))

    @property
    def command(self) -> str:
        """The command that repeats the run, with DIR, HOST:PORT and so on for private values."""
        return f"{self.shown_backend}python tools/{self.TOOL}{self.flags()}"

    @property
    def shown_backend(self) -> str:
        """Start of a command: "KERAS_BACKEND=jax ", or nothing for TensorFlow."""
        return "" if self.backend == "tensorflow" else f"KERAS_BACKEND={self.backend} "

    def default(self, field: dataclasses.Field) -> Any:
        """See `FlagOptions`; some depend on other options."""
        return self._default(field.name) if field.default is None else super().default(field)

    def _default(self, name: str) -> Any:
        """The default of an option that follows from others."""
        if name == "dtype":
            return "float32" if self.tpu is None else "bfloat16"
        if name == "backbone" and is_hub_name(self.weights):
            repository = parse_hub_name(self.weights).repository.lower()
            return next((name for name in BACKBONES if repository.endswith(name)), "tiny")
        if name == "backbone":
            return shipped_backbone(self.layout) or "tiny"
        if name == "weights" and shipped_backbone(self.layout) == self.backbone:
            return SHIPPED
        return None

    @property
    def sources(self) -> list[tuple[str, str | None]]:
        """Name and directory of each data set; None for embedded data."""
        raise NotImplementedError

    @property
    def model_dir(self) -> str:
        """Directory of the run and of what it exports."""
        datasets = "+".join(name for name, _ in self.sources)
        name = f"{self.PREFIX}{datasets}-{self.backbone}-{self.protocol}-{self.input_size}"
        return os.path.join(self.output_dir, self.name or name)

    @property
    def input_size(self) -> str:
        """The layout, or a convolutional network's image size in pixels."""
        return self.layout

    @property
    def is_convolutional(self) -> bool:
        """True if the model is a network of convolutions."""
        return self.backbone in CONVOLUTIONAL_NETWORKS

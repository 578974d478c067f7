"""What a training run is told, checked before anything is read."""

import dataclasses
import importlib.util
import math
import os
import re
from collections.abc import Collection

from covid_lm.backbones.configs import CONVOLUTIONAL_NETWORKS, activation_bytes, backbone_config
from covid_lm.errors import InputError

BACKENDS = ("tensorflow", "jax")
NOT_REPEATED = ("name", "output_dir", "backend", "process_id")  # in a run's `command` as flags


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """What `tools/train.py` is told; the defaults are the paper's where it gives any.

    Attributes:
        recipe: only names where values came from: `recipes.with_recipe` puts them in.
        backend: Keras' for the training itself, KERAS_BACKEND; all else is TensorFlow's.
        process_id: which of `num_processes` this one is; process 0 evaluates and exports.
    """

    recipe: str = "paper"
    dataset: str = "phantom"
    data_dir: str | None = None
    max_images: int | None = None
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
    backend: str = "tensorflow"
    coordinator: str | None = None
    num_processes: int = 1
    process_id: int = 0

    def __post_init__(self):
        for flag in ("batch_size", "epochs", "max_images"):
            value = getattr(self, flag)
            if value is not None and value < 1:
                raise InputError(f"--{flag}={value}: must be at least 1")
        self._check_optimization()
        if self.name is not None:
            check_run_name(self.name)
        if self.tensorboard and importlib.util.find_spec("tensorboard") is None:
            raise InputError("--tensorboard: needs pip install 'covid_lm[tensorboard]'")
        check_tpu_flags(self.tpu, self.tpu_zone, self.gcp_project, self.tpu_timeout)
        self._check_backend()
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
        if not 0 <= self.label_smoothing < 1:
            raise InputError(
                f"--label_smoothing={self.label_smoothing}: must be at least 0 and below 1"
            )

    def _check_backend(self) -> None:
        if self.backend not in BACKENDS:
            raise InputError(f"KERAS_BACKEND={self.backend}: choose {' or '.join(BACKENDS)}")
        if self.num_processes < 1:
            raise InputError(f"--num_processes={self.num_processes}: must be at least 1")
        if not 0 <= self.process_id < self.num_processes:
            raise InputError(
                f"--process_id={self.process_id}: must be from 0 to {self.num_processes - 1}, "
                "below --num_processes"
            )
        if self.num_processes > 1 and not re.fullmatch(r".+:\d+", self.coordinator or ""):
            raise InputError(
                f"--num_processes={self.num_processes}: needs --coordinator=HOST:PORT, an address "
                "that process 0 can listen at"
            )
        if self.backend == "jax":
            self._check_jax()
        elif self.num_processes > 1:
            raise InputError(
                f"--num_processes={self.num_processes}: only with KERAS_BACKEND=jax; TensorFlow "
                "trains on one machine"
            )

    def _check_jax(self) -> None:
        if importlib.util.find_spec("jax") is None:
            raise InputError("KERAS_BACKEND=jax: needs pip install 'covid_lm[jax]'")
        if self.tpu is not None:
            raise InputError(
                f"--tpu={self.tpu}: not with KERAS_BACKEND=jax, which takes all devices of its "
                "machine"
            )
        if self.backbone in CONVOLUTIONAL_NETWORKS:
            raise InputError(f"--backbone={self.backbone}: not with KERAS_BACKEND=jax")
        for flag, value in (("augment", "none"), ("tensorboard", False)):
            if getattr(self, flag) != value:
                raise InputError(f"--{flag}: not with KERAS_BACKEND=jax")

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
        if self.image_size is not None and not 32 <= self.image_size <= 1024:
            raise InputError(f"--image_size={self.image_size}: must be from 32 to 1024")

    @property
    def command(self) -> str:
        """The command that repeats the run, with DIR, HOST:PORT and so on for private names."""
        backend = "" if self.backend == "tensorflow" else f"KERAS_BACKEND={self.backend} "
        return f"{backend}python tools/train.py{self.flags()}"

    def flags(self, *left_out: str) -> str:
        """What differs from the defaults, as a command's flags, each with a space before it.

        The recipe's values are spelled out beside its name: they may be others one day.
        """
        placeholders = {
            "data_dir": "DIR",
            "weights": "WEIGHTS_DIR",
            "gcp_project": "PROJECT",
            "coordinator": "HOST:PORT",
        }
        words = [""]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            in_recipe = RECIPES[self.recipe].get(field.name, field.default)
            if value == field.default == in_recipe or field.name in (*NOT_REPEATED, *left_out):
                continue
            value = placeholders.get(field.name, value)
            words.append(f"--{field.name}" if value is True else f"--{field.name}={value}")
        if self.num_processes > 1:
            words.append("--process_id=I")
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
    machine's memory.
    """
    if backbone_name in CONVOLUTIONAL_NETWORKS:
        bound = min(64, num_images / 16)
    else:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 4
        activations = activation_bytes(backbone_config(backbone_name), length, "float32")
        bound = min(512, num_images / 16, memory / activations)
    return 2 ** int(math.log2(max(bound, 1)))


def check_tpu_flags(
    tpu: str | None, tpu_zone: str | None, gcp_project: str | None, tpu_timeout: float
) -> None:
    """Raises `InputError` unless the flags that find a TPU go together."""
    for flag, value in (("tpu_zone", tpu_zone), ("gcp_project", gcp_project)):
        if value is not None and tpu is None:
            raise InputError(f"--{flag}={value}: only with --tpu")
    if not (math.isfinite(tpu_timeout) and tpu_timeout > 0):
        raise InputError(f"--tpu_timeout={tpu_timeout}: must be above 0")


def global_batch_size(
    backbone: str,
    batch_size: int | None,
    num_images: int,
    num_replicas: int,
    kind: str = "devices",
    length: int = 512,
) -> int:
    """Images a step over all devices, or hosts, the same number on each.

    Args:
        batch_size: the one asked for; None for a fitting one.
        kind: of the replicas, for the message.
        length: of the sequences.

    Raises:
        InputError: the batch size asked for can't be divided so.
    """
    if batch_size is None:
        fitting = fitting_batch_size(backbone, num_images, length)
        return math.ceil(fitting / num_replicas) * num_replicas
    if batch_size % num_replicas:
        raise InputError(
            f"--batch_size={batch_size}: must be a multiple of {num_replicas}, the number of {kind}"
        )
    return batch_size


def check_run_name(name: str) -> None:
    """Raises InputError for a `--name` that could lead out of its folder, or that is hidden."""
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise InputError(f"--name={name}: letters, digits and _.+- only, please")


RECIPES: dict[
    str, dict
] = {  # name: flag to value; what is not named has its own default, which is the paper's
    "paper": {},
}


def with_recipe(told: dict, given: Collection[str]) -> dict:
    """The options `told`, with the values of `told["recipe"]` for those that weren't given.

    Args:
        told: option to value, defaults among them.
        given: names of the options that the user gave; they stay as they are.
    """
    values = RECIPES[told["recipe"]]
    return told | {name: value for name, value in values.items() if name not in given}

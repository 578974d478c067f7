"""Measurements that a benchmark consists of: its options and its cases."""

import dataclasses
import itertools
from typing import Any

from covid_lm.backbones.configs import (
    BackboneConfig,
    PatchConfig,
    backbone_config,
    exact_flops,
)
from covid_lm.protocols import layout_arguments, layout_trim
from covid_lm.training.flags import AT_LEAST_0, AT_LEAST_1, INPUT, FlagOptions, option

DTYPES = ("float32", "bfloat16")  # bfloat16: mixed
TASKS = ("training", "pretraining")
CALLERS = 4
PATCH_CALLERS = (1, 4, 16)  # of suite `serving`, for patches, and of suite `growth`
PATCH_MODELS = {"patches32x4rgb": "6x128", "patches128x8": "4x128"}  # layout: backbone
CACHED_IMAGES = (1_000, 10_000, 100_000)  # of suite `growth`

SUITES: dict[str, dict[str, Any]] = {  # suite: its departures from the defaults of `Options`
    "encoder": {},
    "training": {},
    "preprocessing": {"backbones": ("1x64",), "dtypes": ("float32",), "batch_sizes": (1, 8, 32)},
    "serving": {"backbones": ("rbt3",), "dtypes": ("float32",), "batch_sizes": (1, 8, 32)},
    "patches": {"batch_sizes": (32,), "rivals": ("hugging_face_vit", "gray22")},
    "growth": {"rounds": 1},
    "gpu": {"dtypes": ("bfloat16",), "rivals": ("hugging_face", "hugging_face_vit")},
    "soak": {"backbones": ("tiny",)},
    "all": {"rounds": 2},
}
# Suite `all`: the measurements that README.md quotes, chosen to take at most 30 minutes.
_PEERS = ("hugging_face", "openvino")
_OURS = ("unfixed", "no_look_up")
_BATCH_8 = {"batch_sizes": (8,)}
_TRAINING = {**_BATCH_8, "dtypes": ("bfloat16",), "backbones": ("rbt3",)}
SHORTER: tuple[tuple[str, dict[str, Any]], ...] = (
    ("encoder", {**_BATCH_8, "backbones": ("rbt3",), "rivals": (*_OURS, *_PEERS)}),
    ("encoder", {**_BATCH_8, "backbones": ("minilm-l6",), "rivals": ("no_look_up", *_PEERS)}),
    ("training", {**_TRAINING, "tasks": ("training",), "rivals": ("hugging_face",)}),
    ("training", {**_TRAINING, "tasks": ("pretraining",), "rivals": ("hf_mlm_tuned",)}),
    ("preprocessing", {"batch_sizes": (1, 32), "rivals": ("pillow_hf_tuned", "map_fn")}),
    ("serving", {"batch_sizes": (8,), "rivals": ("pillow_hf",), "layouts": ("paper",)}),
    ("serving", {"batch_sizes": (8,), "layouts": tuple(PATCH_MODELS), "callers": ()}),
    ("patches", {"dtypes": ("float32",), "rivals": ("hugging_face_vit",)}),
    ("growth", {}),
)


def callers_or_batch(callers: int, batch_size: int) -> str:
    """Describe the size of a case: "4 callers", or "batch 8"."""
    if callers:
        return f"{callers} callers" if callers > 1 else "1 caller"
    return f"batch {batch_size}"


@dataclasses.dataclass(frozen=True)
class Case:
    """One measurement, the same for all its contenders."""

    task: str  # a key of `CONTENDERS`
    backbone: str
    dtype: str
    batch_size: int
    threads: int
    length: int = 512
    layout: str = ""  # of patches; "" for single bytes
    device: str = "cpu"  # "gpu": ours runs on JAX
    dropout: float = 0.1  # while training, on embeddings, attention and both residual branches
    # Threads that call at the same time, each with one image; 0: one that calls with batches.
    callers: int = 0
    min_calls: int = 5  # a turn lasts until these and the seconds are reached
    min_seconds: float = 5.0
    material: str = ""  # directory that `write_raw_images` or `onnx_models` wrote, where needed

    def __str__(self) -> str:
        size = callers_or_batch(self.callers, self.batch_size)
        if self.device != "cpu":
            size += f" on {self.device}"
        if self.layout:
            return f"{self.task} {self.layout} {self.backbone} {self.dtype} {size}"
        if self.length != 512:
            size += f", {self.length} tokens"
        return f"{self.task} {self.backbone} {self.dtype} {size}"

    @property
    def config(self) -> BackboneConfig:
        """Shape of the model, with the case's dropout."""
        config = dataclasses.replace(backbone_config(self.backbone), dropout=self.dropout)
        if not self.layout:
            return config
        patches = PatchConfig.of_layout(layout_arguments(self.layout))
        return dataclasses.replace(config, patches=patches, vocabulary_size=BUILT_IN_WORDS)

    @property
    def operations(self) -> int:
        """Operations of a step's matrix products, forward only; backward takes twice as many.

        With callers, those of all calls in progress.
        """
        return max(self.callers, 1) * self.batch_size * exact_flops(self.config, self.length)


# Task -> contenders, ours first. Their names are keys of `worker.CONTENDERS`.
_RAW_IMAGE_CONTENDERS = ("export", "pillow_hf", "pillow_hf_tuned", "map_fn")
ONNX_CONTENDERS = ("onnx_runtime", "openvino")  # read a file that `onnx_models` writes
CORE_CONTENDER = "onnx_core"  # reads files that `serving.core_export` writes
# ONNX Runtime's kernels have no bfloat16, and ours look nothing up in it.
FLOAT32_ONLY = ("onnx_runtime", CORE_CONTENDER, "no_look_up")
CONTENDERS = {
    # Token ids to logits of two classes.
    "inference": ("covid_lm", "keras_hub", "hugging_face", *ONNX_CONTENDERS, *_OURS),
    "training": ("covid_lm", "keras_hub", "hugging_face"),  # forward, backward, AdamW
    "patches": ("covid_lm", "hugging_face_vit", "gray22"),  # bytes of patches or pixels to logits
    "pretraining": ("covid_lm_mlm", "hugging_face_mlm", "hf_mlm_tuned"),  # with masked tokens
    "preprocessing": _RAW_IMAGE_CONTENDERS,  # image bytes to token ids
    "serving": (*_RAW_IMAGE_CONTENDERS, *ONNX_CONTENDERS),  # image bytes to probabilities
    "cache": ("pixel_cache",),  # files to rows of a cache, then token ids
    "patch_serving": ("export", "pillow_vit", CORE_CONTENDER),  # the same, with patches
}
BUILT_IN_WORDS = 311  # of the vocabulary for random weights
# Suite `gpu`: layout, backbone, batch size and rival.
GPU_MODELS = (
    ("patches128x8", "4x128", 256, "hugging_face_vit"),
    ("", "roberta-wwm-ext-large", 32, "hugging_face"),
)
SERVED_LAYOUTS = ("paper", *PATCH_MODELS)
RAW_IMAGE_TASKS = ("preprocessing", "serving")
RIVALS = tuple(dict.fromkeys(rival for names in CONTENDERS.values() for rival in names[1:]))


@dataclasses.dataclass(frozen=True)
class Options(FlagOptions):
    """Options of a benchmark."""

    RECIPES = SUITES
    RECIPE_FLAG = "suite"

    backbones: tuple[str, ...] = option(
        ("rbt3", "minilm-l6"), "Serving: rbt3; preprocessing: 1x64.", separated=True
    )
    batch_sizes: tuple[int, ...] = option(
        (8, 1), "Preprocessing and serving: 1,8,32.", AT_LEAST_1, separated=True
    )
    dtypes: tuple[str, ...] = option(
        DTYPES, "Preprocessing and serving: float32.", DTYPES, separated=True
    )
    rounds: int = option(
        3, "Turns of each contender in each case; suite growth: 1; all: 2.", AT_LEAST_1
    )
    threads: int = option(2, "Threads of each contender.", AT_LEAST_1)
    tasks: tuple[str, ...] = option(
        TASKS, "Tasks of suite training: a class, masked tokens.", TASKS, flag="task"
    )
    layouts: tuple[str, ...] = option(
        SERVED_LAYOUTS,
        "Suite serving: the paper's layout, and patches.",
        SERVED_LAYOUTS,
        separated=True,
    )
    callers: tuple[int, ...] = option(
        PATCH_CALLERS,
        "Suite serving: callers with one image each, for patches.",
        AT_LEAST_1,
        separated=True,
    )
    rivals: tuple[str, ...] = option(RIVALS, "Contenders to compare with.", RIVALS, flag="rival")
    minutes: float = option(10.0, "Duration of suite soak.", AT_LEAST_0)
    data_dir: str | None = option(
        None, "COVID-CT, for suites that read images; default: the embedded phantom.", INPUT
    )

    def __post_init__(self):
        super().__post_init__()
        for name in self.backbones:
            backbone_config(name)


@dataclasses.dataclass(frozen=True)
class Planned:
    """A case of a suite, with its contenders, ours first, and the number of its rounds."""

    suite: str
    case: Case
    contenders: tuple[str, ...]
    rounds: int


def plan(suite: str, options: Options) -> list[Planned]:
    """List the cases of a suite in the order in which they are measured."""
    if suite == "all":
        parts = [(x, dataclasses.replace(options, **{**SUITES[x], **y})) for x, y in SHORTER]
        return list(itertools.chain(*(plan(name, chosen) for name, chosen in parts)))
    if suite == "growth":
        grown = [case for axis in growth_series(options.threads).values() for case in axis.values()]
        cases = dict.fromkeys(grown)  # the middle case of a training step is on three axes
        return [Planned(suite, x, CONTENDERS[x.task][:1], options.rounds) for x in cases]
    if suite == "patches":
        return _patch_cases(options)
    if suite == "gpu":
        return _gpu_cases(options)
    if suite == "serving":
        paper = _cases(suite, options) if "paper" in options.layouts else []
        return paper + _patch_serving_cases(options)
    return _cases(suite, options)


def _cases(suite: str, options: Options) -> list[Planned]:
    """List the cases of a suite that compares backbones on the paper's layout."""
    tasks = {"encoder": ("inference",), "training": options.tasks}.get(suite, (suite,))
    found: list[Planned] = []
    for task, backbone, dtype in itertools.product(tasks, options.backbones, options.dtypes):
        sizes = [Case(task, backbone, dtype, size, options.threads) for size in options.batch_sizes]
        if task == "serving":
            sizes.append(dataclasses.replace(sizes[0], batch_size=1, callers=CALLERS, min_calls=40))
        chosen = _chosen_contenders(task, dtype, options)
        found += [Planned(suite, case, chosen, options.rounds) for case in sizes]
    return found


def _chosen_contenders(task: str, dtype: str, options: Options) -> tuple[str, ...]:
    """Our contender of a key of `CONTENDERS`, and the chosen rivals that have the dtype."""
    ours, *rivals = CONTENDERS[task]
    excluded = FLOAT32_ONLY if dtype != "float32" else ()
    return (ours, *(name for name in rivals if name in options.rivals and name not in excluded))


def _patch_cases(options: Options) -> list[Planned]:
    """List the cases of suite `patches`; without dropout, as Hugging Face's ViT by default."""
    cases = [
        Case(
            *(task, backbone, dtype, size, options.threads),
            length=sum(layout_trim(layout, "absent").values()),
            layout=layout,
            dropout=0.0,
        )
        for layout, backbone in PATCH_MODELS.items()
        for task, dtype, size in itertools.product(
            ("inference", "training"), options.dtypes, options.batch_sizes
        )
    ]
    chosen = _chosen_contenders("patches", "float32", options)  # all of them have both dtypes
    return [Planned("patches", case, chosen, options.rounds) for case in cases]


def _patch_serving_cases(options: Options) -> list[Planned]:
    """List the cases of suite `serving` for patches, with the weights that ship."""
    found = []
    layouts = [layout for layout in options.layouts if layout in PATCH_MODELS]
    for layout, dtype in itertools.product(layouts, options.dtypes):
        case = Case(
            *("serving", PATCH_MODELS[layout], dtype, 1, options.threads),
            length=sum(layout_trim(layout, "absent").values()),
            layout=layout,
            dropout=0.0,
        )
        sizes = [dataclasses.replace(case, batch_size=size) for size in options.batch_sizes]
        sizes += [dataclasses.replace(case, callers=n, min_calls=40) for n in options.callers]
        chosen = _chosen_contenders("patch_serving", dtype, options)
        found += [Planned("serving", size, chosen, options.rounds) for size in sizes]
    return found


def _gpu_cases(options: Options) -> list[Planned]:
    """List the cases of suite `gpu`; without dropout for patches, as in suite `patches`."""
    return [
        Planned(
            "gpu",
            Case(
                *(task, backbone, dtype, batch_size, options.threads),
                length=sum(layout_trim(layout, "absent").values()) if layout else 512,
                layout=layout,
                device="gpu",
                dropout=0.0 if layout else 0.1,
                min_calls=20,
            ),
            ("covid_lm", *({rival}.intersection(options.rivals))),
            options.rounds,
        )
        for layout, backbone, batch_size, rival in GPU_MODELS
        for task, dtype in itertools.product(("inference", "training"), options.dtypes)
    ]


def growth_series(threads: int) -> dict[str, dict[int, Case]]:
    """Cases of suite `growth`: axis to size to case. A training step grows along three axes."""
    base = Case("training", "4x256", "float32", batch_size=8, threads=threads, length=256)
    served = Case("serving", "4x256", "float32", batch_size=1, threads=threads, min_calls=40)
    cached = Case("cache", "4x256", "float32", batch_size=1, threads=threads)
    return {
        "images a batch": {n: dataclasses.replace(base, batch_size=n) for n in (4, 8, 16)},
        "tokens": {n: dataclasses.replace(base, length=n) for n in (128, 256, 512)},
        "layers": {n: dataclasses.replace(base, backbone=f"{n}x256") for n in (2, 4, 8)},
        "cached images": {n: dataclasses.replace(cached, batch_size=n) for n in CACHED_IMAGES},
        "callers": {n: dataclasses.replace(served, callers=n) for n in PATCH_CALLERS},
    }

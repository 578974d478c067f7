"""Options: flags from fields, recipes, the check on resume, and the command that repeats a run."""

import dataclasses
import subprocess
import sys

import pytest
from absl import flags

from covid_lm.errors import InputError
from covid_lm.training.flags import AT_LEAST_0, FlagOptions, option
from covid_lm.training.options import TrainingOptions
from covid_lm.training.pretraining_options import PretrainingOptions
from covid_lm.training.recipes import RECIPES
from covid_lm.training.run_options import RunOptions

SMALL = {"backbone": "2x128", "protocol": "fixed", "layout": "gray22", "schedule": "cosine"}


def parsed(kind: type[FlagOptions], *arguments: str, **more) -> FlagOptions:
    """The options that a tool gets from its arguments."""
    values = flags.FlagValues()
    kind.define_flags(values)
    values(["tool.py", *arguments])
    return kind.from_flags(values, **more)


@dataclasses.dataclass(frozen=True)
class WithNewOption(TrainingOptions):
    """The one place where a new option is written."""

    warmth: float = option(0.25, "How warm.", AT_LEAST_0)


def test_a_new_option_is_one_field():
    values = flags.FlagValues()
    WithNewOption.define_flags(values)
    assert (values["warmth"].default, values["warmth"].help) == (0.25, "How warm.")
    default, warm = parsed(WithNewOption), parsed(WithNewOption, "--warmth=0.5", "--seed=1")
    assert (default.warmth, default.command) == (0.25, "python tools/train.py")
    assert warm.command == "python tools/train.py --warmth=0.5 --seed=1"
    with pytest.raises(InputError, match=r"^--warmth=-1.0: must be at least 0$"):
        parsed(WithNewOption, "--warmth=-1")
    default.check_resumable(dataclasses.asdict(TrainingOptions()), "some/run")
    with pytest.raises(
        InputError, match=r"^some/run: holds a run with --warmth=0.25 \(now --warmth=0.5\), "
    ):
        warm.check_resumable(dataclasses.asdict(default), "some/run")


@pytest.mark.parametrize("kind", [TrainingOptions, PretrainingOptions])
def test_without_flags_the_options_have_their_defaults(kind):
    assert parsed(kind) == kind()
    assert kind().command == f"python tools/{kind.TOOL}"


@pytest.mark.parametrize("kind", [TrainingOptions, PretrainingOptions])
def test_every_flag_has_a_help_text(kind):
    values = flags.FlagValues()
    kind.define_flags(values)
    assert all(len(values[name].help) > 8 for name in values)
    assert len(values) == len(dataclasses.fields(kind)) - 1  # the backend


@pytest.mark.parametrize(
    "given",
    [
        ("--augment=light", "--epochs=3", "--dtype=bfloat16", "--tensorboard"),
        ("--tpu=local", "--dtype=float32"),
        ("--tpu=local",),
    ],
)
def test_the_command_gives_the_same_options(given):
    options = parsed(TrainingOptions, *given)
    words = options.command.removeprefix("python tools/train.py").split()
    assert sorted(words) == sorted(given)
    assert parsed(TrainingOptions, *words) == options


def test_a_command_has_placeholders_for_the_paths_of_a_machine():
    options = PretrainingOptions(
        datasets=("folder", "phantom"),
        data_dirs=("/images",),
        weights="/weights",
        epochs=2,
        skip_invalid=True,
        name="some",
        output_dir="/out",
        cache_dir="/cache",
    )
    assert options.command == (
        "python tools/pretrain.py --epochs=2 --dataset=folder --dataset=phantom --data_dir=DIR "
        "--weights=WEIGHTS_DIR --skip_invalid"
    )


def test_the_command_is_quoted_for_a_shell():
    assert parsed(TrainingOptions, "--tpu=my node; rm x").command == (
        "python tools/train.py --tpu='my node; rm x'"
    )


def test_paths_are_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    arguments = ("--dataset=folder", "--data_dir=~/images", "--output_dir=~/out", "--weights=~/w")
    options = parsed(PretrainingOptions, *arguments)
    assert (options.data_dirs, options.output_dir) == (("/home/me/images",), "/home/me/out")
    assert options.weights == "/home/me/w"


@pytest.mark.parametrize(
    ("given", "resolved", "message"),
    [
        (
            {"seed": 1},
            {},
            "x: holds a run with --seed=0 (now --seed=1); repeat its flags to resume it, ",
        ),
        (
            {"schedule": "cosine", "epochs": 9},
            {},
            "x: holds a run with --schedule=constant (now --schedule=",
        ),
        (
            {},
            {"batch_size": 3},
            "x: holds a run with --batch_size=8 (now --batch_size=3); repeat its flags ",
        ),
        (
            {"weights": "w"},
            {},
            "x: holds a run with no --weights (now --weights=w); repeat its flags to ",
        ),
        (
            {},
            {"images": "b"},
            "x: holds a run with other data (images a, now b); restore the data ",
        ),
        (
            {"seed": 1},
            {"images": "b"},
            "x: holds a run with --seed=0 (now --seed=1), other data (images a, now b); "
            "repeat its flags and restore the data to resume it, give another --name, or remove "
            "the directory",
        ),
    ],
)
def test_differing_options_are_named_when_a_run_is_resumed(given, resolved, message):
    stored = {**dataclasses.asdict(TrainingOptions()), "batch_size": 8, "images": "a"}
    with pytest.raises(InputError) as error:
        TrainingOptions(**given).check_resumable(stored, "x", {"batch_size": 8, **resolved})
    assert str(error.value).startswith(message)
    assert all(name in str(error.value) for name in given)


def test_options_that_may_differ_when_a_run_is_resumed():
    stored = {**dataclasses.asdict(TrainingOptions()), "views": 1, "token_dropout": 0.0}
    del stored["backend"]  # older than this option
    moved = TrainingOptions(
        data_dir="/moved",
        name="run-2",
        output_dir="/out",
        cache_dir="/cache",
        skip_invalid=True,
        tpu_timeout=3.0,
    )
    moved.check_resumable(stored, "x")
    moved.check_resumable({**stored, "backend": "jax"}, "x")
    with pytest.raises(InputError, match="views 2"):
        moved.check_resumable({**stored, "views": 2}, "x")


def test_a_pretraining_run_may_get_more_epochs_and_read_a_list_as_a_tuple():
    stored = {**dataclasses.asdict(PretrainingOptions()), "datasets": ["phantom"]}
    PretrainingOptions(epochs=20).check_resumable(stored, "x")
    with pytest.raises(InputError, match=r"--dataset=phantom \(now --dataset=phantom4000\)"):
        PretrainingOptions(datasets=("phantom4000",)).check_resumable(stored, "x")


def test_cross_validation_has_the_flags_that_change_a_model():
    values = flags.FlagValues()
    TrainingOptions.define_flags(values, in_folds=True)
    assert {
        "recipe",
        "dataset",
        "data_dir",
        "augment",
        "layout",
        "skip_invalid",
        "cache_dir",
    } <= set(values)
    assert {"early_stopping", "name", "output_dir", "tpu", "process_id"}.isdisjoint(values)


@pytest.fixture
def small_recipe(monkeypatch):
    monkeypatch.setitem(RECIPES, "small", SMALL)
    field = TrainingOptions.__dataclass_fields__["recipe"]
    changed = {**field.metadata, "valid": tuple(RECIPES)}
    monkeypatch.setattr(field, "metadata", changed)


@pytest.mark.usefixtures("small_recipe")
def test_a_flag_wins_over_the_recipe():
    options = parsed(TrainingOptions, "--recipe=small", "--layout=paper", "--epochs=3")
    assert {name: getattr(options, name) for name in SMALL} == {**SMALL, "layout": "paper"}
    assert options.epochs == 3
    assert parsed(TrainingOptions, "--recipe=small", "--schedule=constant").schedule == "constant"


@pytest.mark.usefixtures("small_recipe")
def test_the_command_has_the_recipe_and_its_values():
    options = parsed(TrainingOptions, "--recipe=small", "--schedule=constant", "--seed=4")
    words = options.command.removeprefix("python tools/train.py ").split()
    assert "--recipe=small" in words
    assert {"--protocol=fixed", "--layout=gray22", "--schedule=constant", "--seed=4"} <= set(words)
    assert parsed(TrainingOptions, *words) == options


def test_every_recipe_is_made_of_options():
    fields = {field.name for field in dataclasses.fields(TrainingOptions)}
    for name, values in RECIPES.items():
        assert values.keys() <= fields - {"recipe", "name", "dtype"}
        parsed(TrainingOptions, f"--recipe={name}")
    assert RECIPES["paper"] == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"backbone": "nope"}, "--backbone=nope: no such backbone; choose one of tiny, "),
        ({"layout": "x"}, "--layout=x: no such layout; choose one of paper, gray22"),
        ({"learning_rate": float("nan")}, "--learning_rate=nan: must be above 0"),
        ({"seed": -1}, "--seed=-1: must be at least 0"),
        ({"max_images": 0}, "--max_images=0: must be at least 1"),
        ({"name": "../up"}, "--name=../up: use only letters, digits and _.+-"),
        ({"tpu_zone": "us-a"}, "--tpu_zone=us-a: only with --tpu"),
    ],
)
@pytest.mark.parametrize("kind", [TrainingOptions, PretrainingOptions])
def test_options_that_no_run_can_have(kind, given, message):
    with pytest.raises(InputError) as error:
        kind(**given)
    assert str(error.value).startswith(message)
    assert issubclass(kind, RunOptions)


def test_free_of_tensorflow():
    script = "import sys, covid_lm.training.options\nsys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0

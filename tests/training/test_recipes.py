"""A recipe gives defaults, a flag that was given wins, and the command tells both."""

import dataclasses
import subprocess
import sys

import pytest
from absl import flags

from covid_lm.training.flags import define_training_flags, told_flags
from covid_lm.training.options import RECIPES, TrainingOptions, with_recipe

SMALL = {"backbone": "2x128", "protocol": "fixed", "layout": "gray22", "schedule": "cosine"}


@pytest.fixture
def parsed(monkeypatch):
    """Parses arguments as a tool does, into separate flags, with a recipe `small`."""
    monkeypatch.setitem(RECIPES, "small", SMALL)

    def parse(*arguments: str) -> dict:
        values = flags.FlagValues()
        define_training_flags(values)
        flags.DEFINE_string("early_stopping", "val", "train.py's own.", flag_values=values)
        values(["train.py", *arguments])
        return told_flags(values)

    return parse


def test_without_flags_every_default_is_the_options_own(parsed):
    told = parsed()
    assert told.pop("dtype") is None  # the machine decides
    options = dataclasses.asdict(TrainingOptions())
    assert told == {name: options[name] for name in told}
    assert TrainingOptions(**told) == TrainingOptions()
    assert TrainingOptions().command == "python tools/train.py"


def test_a_recipe_gives_defaults_and_flags_win(parsed):
    values = parsed("--recipe=small", "--layout=paper", "--epochs=3")
    assert {name: values[name] for name in SMALL} == {**SMALL, "layout": "paper"}
    assert values["epochs"] == 3


def test_a_flag_that_repeats_a_default_wins_too(parsed):
    assert parsed("--recipe=small", "--schedule=constant")["schedule"] == "constant"


def test_every_recipe_is_made_of_options():
    fields = {field.name for field in dataclasses.fields(TrainingOptions)}
    for name, values in RECIPES.items():
        assert values.keys() <= fields - {"recipe", "name", "dtype"}
        TrainingOptions(**with_recipe({"recipe": name}, given=()))
    assert RECIPES["paper"] == {}


def test_the_command_has_the_recipe_and_its_values(parsed):
    values = parsed("--recipe=small", "--schedule=constant", "--seed=4")
    command = TrainingOptions(**{**values, "dtype": "float32"}).command
    words = command.removeprefix("python tools/train.py ").split()
    assert "--recipe=small" in words
    assert {"--protocol=fixed", "--layout=gray22", "--schedule=constant", "--seed=4"} <= set(words)
    assert parsed(*words) == values


def test_free_of_tensorflow():
    script = (
        "import sys, covid_lm.training.options, covid_lm.training.flags\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0

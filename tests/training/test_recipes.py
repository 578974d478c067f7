"""A recipe gives defaults, a flag that was given wins, and the command tells both."""

import dataclasses
import subprocess
import sys

import pytest
from absl import flags

from covid_lm.training.flags import define_training_flags, told_flags
from covid_lm.training.options import RECIPES, TrainingOptions, with_recipe


@pytest.fixture
def parsed(monkeypatch):
    """Parses arguments as a tool does, into flags of its own."""

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
    told = parsed("--recipe=honest", "--layout=paper", "--epochs=3")
    honest = RECIPES["honest"]
    assert told["layout"] == "paper" != honest["layout"]
    assert told["epochs"] == 3
    kept = honest.keys() - {"layout", "epochs"}
    assert {name: told[name] for name in kept} == {name: honest[name] for name in kept}


def test_a_flag_that_repeats_a_default_wins_too(parsed):
    assert parsed("--recipe=honest", "--schedule=constant")["schedule"] == "constant"


def test_every_recipe_is_made_of_options():
    fields = {field.name for field in dataclasses.fields(TrainingOptions)}
    for name, values in RECIPES.items():
        assert values.keys() <= fields - {"recipe", "name", "dtype"}
        TrainingOptions(**with_recipe({"recipe": name}, given=()))
    assert RECIPES["paper"] == {}


def test_the_command_says_recipe_and_values(parsed):
    told = parsed("--recipe=honest", "--schedule=constant", "--seed=4")
    command = TrainingOptions(**{**told, "dtype": "float32"}).command
    words = command.removeprefix("python tools/train.py ").split()
    assert "--recipe=honest" in words
    assert {"--protocol=fixed", "--layout=levels32", "--schedule=constant", "--seed=4"} <= set(
        words
    )
    again = parsed(*words)
    assert again == told


def test_free_of_tensorflow():
    script = (
        "import sys, covid_lm.training.options, covid_lm.training.flags\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0

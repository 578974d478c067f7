"""Tables and figures from records: content, order, and what is refused."""

import json
import xml.etree.ElementTree

import pytest

from covid_lm.errors import InputError
from covid_lm.evaluation.summary import markdown_table
from covid_lm.results.figures import figure_2, pretraining_figure
from covid_lm.results.paper import table_1
from covid_lm.results.run_records import cross_validation_record, pretraining_record
from covid_lm.results.tables import (
    all_tables,
    commands_list,
    commit,
    comparisons_table,
    recipe_title,
    replace_results,
    run_title,
    runs_table,
)
from tests.results.examples import (
    cross_validation_report,
    row,
    run_record,
    write_pretraining_run,
)


def written_tables(directory, *records, reference=None) -> dict[str, str]:
    for record in records:
        (directory / f"{record['name']}.json").write_text(json.dumps(record))
    return all_tables(str(directory), reference)


def lines_of(table) -> list[str]:
    return markdown_table(table).splitlines()


def test_rows_of_a_run_and_of_the_name_length_baseline():
    lines = lines_of(runs_table([run_record("a", seed=3)]))
    expected = (
        "| minilm-l6, pretrained weights | fixed: 24 [MASK]s | 1,425 x 2 | 3 | 4/8 | 0.500 [0.215, "
    )
    assert lines[2].startswith(expected)
    assert lines[2].endswith("| 2 | 0123456 |")
    assert lines[3].startswith("| depth-3 tree | the name's length |  | 0 | 8/8 | 1.000")


@pytest.mark.parametrize(
    ("full", "short"),
    [("0123456789abcdef", "0123456"), ("0123456789-dirty", "0123456-dirty"), (None, "unknown")],
)
def test_commits_are_abbreviated(full, short):
    assert commit({"commit": full}) == short
    assert commit({}) == "unknown"


def test_an_average_of_an_older_version_has_no_epochs_and_no_minutes():
    average = run_record("a", seed="0, 1", epochs=[], images=None, seconds=14.0, views=2)
    cells = lines_of(runs_table([average]))[2].split(" | ")
    assert cells[2:4] == ["", "0, 1"]
    assert cells[8] == ""


def test_runs_are_in_the_order_of_model_protocol_and_seed(tmp_path):
    records = [
        run_record("d", backbone="resnet50", protocol="absent", image_size=32, weights="random"),
        run_record("c", seed=1),
        run_record("b", seed=0),
        run_record("a", protocol="paper"),
        run_record("e", dataset="cifar10"),
    ]
    tables = written_tables(tmp_path, *records)
    assert list(tables) == [
        *("table 1", "cifar10", "cifar10 commands", "covid_ct", "covid_ct commands")
    ]
    lines = tables["covid_ct"].splitlines()[2:6]
    assert [line.split(" | ")[1][:5] for line in lines] == ["paper", "fixed", "fixed", "absen"]
    assert [line.split(" | ")[3] for line in lines] == ["0", "0", "1", "0"]
    assert lines[3].startswith("| resnet50 32x32, random weights |")
    named = [line.rsplit("=", 1)[1] for line in tables["covid_ct commands"].splitlines()]
    assert named == ["a`", "b`", "c`", "d`"]


def test_mixing_and_averaging_are_part_of_the_model():
    assert run_title(run_record("one", augment="rand", mix="both", ema=0.999)) == (
        "minilm-l6, pretrained weights, rand augmentation, mixup or cutmix, "
        "weights averaged (0.999), fixed, seed 0"
    )


def test_muon_is_part_of_the_model_and_adamw_the_default():
    assert run_title(run_record("one", augment="rand", optimizer="muon")) == (
        "minilm-l6, pretrained weights, rand augmentation, Muon, fixed, seed 0"
    )
    assert run_title(run_record("one", optimizer="adamw")) == run_title(run_record("one"))


def test_recipe_layout_and_augmentation_are_part_of_the_model():
    record = run_record("one", recipe="honest", layout="gray22", augment="light")
    assert run_title(record) == (
        "minilm-l6 gray22, pretrained weights, honest recipe, light augmentation, fixed, seed 0"
    )
    assert run_title(run_record("plain", recipe="paper", augment="none")) == (
        "minilm-l6, pretrained weights, fixed, seed 0"
    )


def test_other_test_policies_and_baselines_follow_their_run():
    both = {"paper": row("11100000", "masked"), "fixed": row("11000000", "fixed")}
    chosen = run_record("a", protocol="paper", protocols=both, early_stopping="test")
    chosen["floors"] = {"random_forest": row("11111000", "fixed")}
    lines = lines_of(runs_table([chosen]))
    assert "tested masked (stopped by the test split) | 1,425 x 2 | 0 | 3/8 |" in lines[2]
    assert lines[3].startswith("|  | … tested fixed |  | 0 | 2/8 |")
    assert lines[4].startswith("| random forest | the same tokens |  | 0 | 5/8 |")


def test_commands():
    assert commands_list([run_record("a")], run_title) == (
        "- minilm-l6, pretrained weights, fixed, seed 0 (2026-11-23, 2 cores of a processor, "
        "commit 0123456): `python tools/train.py --name=a`"
    )


def test_comparisons_are_exact_mcnemar_tests(tmp_path):
    records = [
        run_record("a", "1111111100"),
        run_record("b", "0000000011"),
        run_record("c", "1" * 11),  # other images
        run_record("d", "0" * 10, dataset="cifar10"),
    ]
    lines = lines_of(comparisons_table(records, "a"))
    # 10 discordant images, 2 for b: 2 * (1 + 10 + 45) / 2**10
    assert lines[2].endswith("| 2/10 | 2 | 8 | 0.11 |")
    assert len(lines) == 3
    assert written_tables(tmp_path, *records, reference="a")["mcnemar"].splitlines() == lines
    with pytest.raises(InputError, match="--reference=z: no such record"):
        comparisons_table(records, "z")


def test_recipes_of_cross_validations_by_their_lowest_loss(tmp_path):
    plain = cross_validation_report("--learning_rate=0.0003", 0.7, 0.6, 0.9, learning_rate=3e-4)
    augmented = cross_validation_report(
        "--layout=gray22",
        *(0.8, 0.55),
        **{"layout": "gray22", "learning_rate": 5e-4, "schedule": "cosine", "weight_decay": 0.05},
        **{"augment": "strong", "mix": "cutmix", "ema": 0.99, "protocol": "fixed"},
    )
    folder = tmp_path / "cross_validation"
    folder.mkdir()
    for name, report in (("a", plain), ("b", augmented)):
        record = cross_validation_record(report) | {"date": "2026-11-23"}
        (folder / f"{name}.json").write_text(json.dumps(record))
    tables = written_tables(tmp_path, run_record("a"))
    assert tables["cross_validation"].splitlines()[2:] == [
        "| 2x128 gray22, random weights, strong augmentation, cutmix, weights averaged (0.99), "
        "weight decay 0.05, cosine from 0.0005 | 3 of 5 | 20 | 2 of 2 | 0.520 [0.400, 0.600] | "
        "0.620 [0.500, 0.750] | 0.550, 0.550 | 0123456 |",
        "| 2x128, random weights, constant 0.0003 | 3 of 5 | 20 | 2 of 3 | "
        "0.520 [0.400, 0.600] | 0.620 [0.500, 0.750] | 0.600, 0.900 | 0123456 |",
    ]
    assert tables["cross_validation commands"].splitlines()[1] == (
        "- 2x128, random weights, constant 0.0003 (2026-11-23, 2 cores of a processor, "
        "commit 0123456): `python tools/cross_validate.py --backbone=2x128 "
        "--learning_rate=0.0003 --folds=5`"
    )


def test_a_cross_validation_by_default_options_and_by_those_of_a_recipe():
    def title(**options) -> str:
        return recipe_title(cross_validation_record(cross_validation_report("", 0.7, **options)))

    assert title() == "2x128, random weights, constant 0.0001"
    assert title(recipe="pixels", optimizer="muon", schedule="cosine", learning_rate=3e-3) == (
        "2x128, random weights, pixels recipe, Muon, cosine from 0.003"
    )
    assert title(frozen=True) == "2x128, random weights, frozen, logistic regression"


def test_pretraining_next_to_the_unigram(tmp_path):
    record = pretraining_record(write_pretraining_run(tmp_path / "some"))
    (tmp_path / "pretraining").mkdir()
    (tmp_path / "pretraining" / "some.json").write_text(json.dumps(record))
    tables = written_tables(tmp_path, run_record("a"))
    assert tables["pretraining"].splitlines()[2:] == [
        "| 2x128, from random weights | gray22 | 2,000 | 2 | 2 | 4.500, 4.000 | 16.0 | 12.5% | "
        "5.500 | 0123456 |"
    ]
    assert tables["pretraining commands"] == (
        "- 2x128, from random weights, gray22 (2026-11-23, 2 cores of a processor, commit "
        "0123456): `python tools/pretrain.py --epochs=2`"
    )
    other = {**record, "objective": "teacher", "layout": "patches64x8", "optimizer": "muon"}
    other["epochs"] = [{"seconds": 90, "train": {"error": 0.7}, "val": {"error": 0.8, "r2": 0.2}}]
    (tmp_path / "pretraining" / "other.json").write_text(json.dumps(other))
    both = written_tables(tmp_path, run_record("a"))
    assert both["pretraining"] == tables["pretraining"]
    assert both["objectives"].splitlines()[2:] == [
        "| 2x128, from random weights, Muon | patches64x8 | teacher | 2,000 | 1 | 2 | 0.700 | "
        "0.800 | 0.200 | 0123456 |"
    ]
    path = tmp_path / "curves.svg"
    pretraining_figure([record, other], str(path))
    assert "<!-- unigram, its images -->" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="Format 'none' is not supported"):
        pretraining_figure([record], str(tmp_path / "curves.none"))
    assert not [entry.name for entry in tmp_path.iterdir() if "none" in entry.name]


def test_table_1_shows_ours_next_to_the_papers():
    ours = run_record(
        "a", backbone="rbt3", protocol="paper", weights="random", early_stopping="test"
    )
    lines = lines_of(table_1([ours, run_record("b", protocol="paper")]))
    assert lines[2] == (
        "| rbt3 | 768 | 8 | 99.51% | 2 | 50.00% (4/8) | random weights; 2 epochs; batch 16 "
        "(paper: 512); stopped by the test split, as the paper is |"
    )
    assert lines[3].startswith("| rbtl3 | 1024 | 3 | 100.00% | - | - | not run")
    assert lines[5].startswith("| minilm-l6 | 384 | - | - | 2 | 50.00% (4/8) | not a model")


def test_figure_2_draws_every_run(tmp_path):
    path = str(tmp_path / "figure_2.svg")
    figure_2([run_record("a"), run_record("b", dataset="cifar10")], path)
    text = (tmp_path / "figure_2.svg").read_text()
    xml.etree.ElementTree.fromstring(text)
    run = "minilm-l6, pretrained weights, fixed, seed 0 (validation)"
    for words in (run, "paper, test: 99.60%"):
        assert f"<!-- {words} -->" in text
    assert [entry.name for entry in tmp_path.iterdir()] == ["figure_2.svg"]


def test_marked_parts_of_a_file_are_replaced(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("a\n<!-- results: covid_ct -->\nold\n<!-- /results -->\nb\n")
    replace_results(str(path), {"covid_ct": "new"})
    assert path.read_text() == "a\n<!-- results: covid_ct -->\nnew\n<!-- /results -->\nb\n"
    with pytest.raises(InputError, match="no <!-- results: other -->"):
        replace_results(str(path), {"other": "x"})

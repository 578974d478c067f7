"""Every suite with canned turns for its processes: its cases, its figures and its tables."""

import dataclasses
import os

import pytest
from absl import flags

from covid_lm.backbones.configs import backbone_config, exact_flops
from covid_lm.benchmark import rounds, suites
from covid_lm.benchmark.cases import SUITES, Case, Options, growth_series, plan
from covid_lm.benchmark.onnx_models import FILE
from covid_lm.benchmark.patch_image_contenders import CORE
from covid_lm.benchmark.speed_tables import exponent, growth_table, report, summary
from covid_lm.benchmark.worker import CONTENDERS, PRODUCT_FLOPS, Contender
from covid_lm.errors import InputError

SECONDS = {
    **{"covid_lm": 0.5, "keras_hub": 1.0, "hugging_face": 0.75},
    **{"covid_lm_mlm": 0.5, "hugging_face_mlm": 2.0, "hf_mlm_tuned": 1.0},
    **{"hugging_face_vit": 0.75, "gray22": 3.0, "onnx_runtime": 1.0, "openvino": 0.75},
    **{"pillow_vit": 1.0, "onnx_core": 0.75, "pixel_cache": 0.5, "unfixed": 0.6},
    "no_look_up": 0.55,
    **{"export": 0.5, "map_fn": 0.25, "pillow_hf": 1.0, "pillow_hf_tuned": 0.5},
}
PRODUCTS = {"covid_lm": 0.25, "hugging_face": 0.125}
OPTIONS = Options(backbones=("rbt3",), batch_sizes=(8,), dtypes=("float32",), rounds=2)


@pytest.fixture
def turns(monkeypatch) -> list[tuple[str, Case]]:
    """Turns of which a contender's second one takes twice as long; all that were taken."""
    taken: list[tuple[str, Case]] = []

    def turn(contender: str, case: Case) -> dict:
        taken.append((contender, case))
        number = taken.count((contender, case))
        seconds = SECONDS[contender] * number
        result = {"seconds": seconds, "calls": [seconds] * case.min_calls}
        if case.task == "inference" and contender in PRODUCTS:
            result["product_seconds"] = PRODUCTS[contender]
        return {**result, "peak_bytes": number * 10**9}

    monkeypatch.setattr(rounds, "turn", turn)
    everything = {name: Contender(contender.build) for name, contender in CONTENDERS.items()}
    monkeypatch.setattr(rounds, "CONTENDERS", everything)  # all are installed
    return taken


@pytest.fixture(autouse=True)
def onnx(monkeypatch) -> list[tuple]:
    """Arguments with which models were to be exported to ONNX; the files are empty."""
    wanted = []

    def empty(title, module, directory, *arguments, keras_backend=""):
        wanted.append((title, module, directory))
        path = os.path.join(arguments[0], CORE) if keras_backend else os.path.join(directory, FILE)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "x"):
            pass

    monkeypatch.setattr(suites, "run_child", empty)
    return wanted


@pytest.fixture
def material(monkeypatch) -> list[tuple]:
    """Arguments with which images and models were to be written; nothing is written."""
    wanted = []

    def nothing(directory, *arguments):
        wanted.append(arguments)
        os.makedirs(directory)
        return "Images: 32 of nothing."

    monkeypatch.setattr(suites, "write_raw_images", nothing)
    return wanted


def rows(result: dict) -> list[list[str]]:
    """Cells of the tables in a result's report, without their heads."""
    lines = report(result).splitlines()
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("| ") and not line.startswith(("| task", "| what grows", "| ---"))
    ]


def test_the_encoder_is_compared_with_libraries_and_the_ceiling(turns):
    result = suites.run("encoder", OPTIONS)
    share = exact_flops(backbone_config("rbt3"), 512) * 8 / 0.5 / (PRODUCT_FLOPS / 0.125)
    half = share / 2  # in the second round
    (case,) = result["cases"]
    assert case["figures"]["ceiling"]["rounds"] == pytest.approx([share, half])
    table = rows(result)
    assert table[0] == ["inference", "rbt3 float32", "batch 8", "covid_lm", "10.67", "2.00", "", ""]
    hub = ["keras_hub", "5.33", "2.00", "2.00 times as fast [2.00, 2.00]", "2.8, missed"]
    torch = ["hugging_face", "7.11", "2.00", "1.50 times as fast [1.50, 1.50]", "1.95, missed"]
    assert [row[3:] for row in table[1:3]] == [hub, torch]
    assert [row[3] for row in table[3:5]] == ["onnx_runtime", "openvino"]
    assert table[5][3:] == ["unfixed", "8.89", "2.00", "1.20 times as fast [1.20, 1.20]", ""]
    no_look_up = ["no_look_up", "9.70", "2.00", "1.10 times as fast [1.10, 1.10]", "1.08, met"]
    assert table[6][3:] == no_look_up
    assert table[7][3:] == [
        "ceiling",
        f"{PRODUCT_FLOPS / 0.125 / 1e9:.0f} GFLOP",
        "",
        f"at {(share + half) / 2:.0%} of it [{half:.0%}, {share:.0%}]",
        f"0.8, {'met' if (share + half) / 2 >= 0.8 else 'missed'}",
    ]


def test_the_contract_of_the_json(turns):
    saved = []
    options = Options(batch_sizes=(8, 1), rounds=2)
    result = suites.run("encoder", options, lambda found: saved.append(len(found["cases"])))
    assert saved == list(range(9))  # two backbones, sizes and dtypes; each case when it ends
    assert result["commit"]
    assert result["date"]
    assert result["machine"]["load_average"] >= 0
    for case in result["cases"]:
        assert {case["backbone"]} <= {"rbt3", "minilm-l6"}
        assert {case["dtype"]} <= {"float32", "bfloat16"}
        assert case["figures"]["keras_hub"] == {
            "median": 2.0,
            "low": 2.0,
            "high": 2.0,
            "rounds": [2.0, 2.0],
        }


def test_runtimes_of_onnx_share_a_file_for_each_model(turns, onnx):
    result = suites.run("encoder", Options(batch_sizes=(8, 1), rounds=1, backbones=("rbt3",)))
    (call,) = onnx  # one file for both batch sizes and both dtypes
    title, module, directory = call
    assert (title, module) == ("export to ONNX", "covid_lm.benchmark.onnx_models")
    assert os.path.basename(directory) == "rbt3-512-tokens"
    assert {case.material for _, case in turns} == {directory}
    runtimes = [list(case["contenders"])[3:] for case in result["cases"]]
    float32 = ["onnx_runtime", "openvino", "unfixed", "no_look_up"]
    bfloat16 = ["openvino", "unfixed"]
    assert runtimes == [float32, float32, bfloat16, bfloat16]


def test_training_has_its_own_rivals_for_masked_tokens(turns):
    result = suites.run("training", OPTIONS)
    assert [list(case["contenders"]) for case in result["cases"]] == [
        ["covid_lm", "keras_hub", "hugging_face"],
        ["covid_lm_mlm", "hugging_face_mlm", "hf_mlm_tuned"],
    ]
    targets = [target for case in result["cases"] for target in case["targets"]]
    assert [(t["rival"], t["reached"], t["met"]) for t in targets] == [
        ("hugging_face", 1.5, False),
        ("hugging_face_mlm", 4.0, True),
    ]


def test_only_the_chosen_rivals_take_part(turns):
    options = Options(batch_sizes=(8,), dtypes=("float32",), rounds=1, rivals=("hf_mlm_tuned",))
    result = suites.run("training", options)
    contenders = [list(case["contenders"]) for case in result["cases"]]
    assert contenders == [["covid_lm"]] * 2 + [["covid_lm_mlm", "hf_mlm_tuned"]] * 2


def test_preprocessing_counts_images(turns, material):
    options = Options(**SUITES["preprocessing"], data_dir="DIR")
    result = suites.run("preprocessing", options)
    assert material == [("1x64", "float32", "DIR", "")]
    assert {os.path.basename(case.material) for _, case in turns} == {"1x64-float32"}
    assert [case["batch_size"] for case in result["cases"]] == [1, 8, 32]
    table = rows(result)
    assert table[0][:5] == ["preprocessing", "1x64 float32", "batch 1", "export", "32.00"]
    times = "2.00 times as fast [2.00, 2.00]"
    assert table[1][3:] == ["pillow_hf", "16.00", "3.00", times, "3, missed"]
    assert table[3][3:] == ["map_fn", "64.00", "3.00", "0.50 times as fast [0.50, 0.50]", ""]
    assert report(result).endswith("Images: 32 of nothing.")


def test_serving_shows_the_latency_of_all_rounds_calls(turns, material):
    result = suites.run("serving", dataclasses.replace(OPTIONS, layouts=("paper",)))
    throughput, latency = result["cases"]
    assert throughput["per_step"] == 8
    assert throughput["targets"] == [
        {"rival": "pillow_hf", "minimum": 2.0, "reached": 2.0, "met": True}
    ]
    assert latency["latencies"]["export"] == {"p50": 0.75, "p99": 1.0, "calls": 80}
    assert rows(result)[6][2:5] == ["4 callers", "export", "p50 750 ms, p99 1000 ms"]
    assert latency["figures"]["pillow_hf"]["median"] == 2.0
    assert latency["targets"] == []


def test_patches_are_served_in_batches_and_to_callers(turns, material, onnx):
    options = Options(**SUITES["serving"] | {"layouts": ("patches32x4rgb",), "batch_sizes": (8,)})
    result = suites.run("serving", dataclasses.replace(options, rounds=1))
    assert material == [("6x128", "float32", None, "patches32x4rgb")]
    (call,) = onnx
    assert call[:2] == ("export of the core to ONNX", "covid_lm.serving.core_export")
    assert [case["callers"] for case in result["cases"]] == [0, 1, 4, 16]
    table = rows(result)
    name = "patches32x4rgb 6x128 float32"
    assert table[0][:5] == ["serving", name, "batch 8", "export", "16.00"]
    assert table[1][3:] == [
        "pillow_vit",
        "8.00",
        "1.00",
        "2.00 times as fast [2.00, 2.00]",
        "1.5, met",
    ]
    assert table[2][3:] == [
        "onnx_core",
        "10.67",
        "1.00",
        "1.50 times as fast [1.50, 1.50]",
        "1, met",
    ]
    assert table[3][1:5] == [name, "1 caller", "export", "p50 500 ms, p99 500 ms"]
    assert table[9][2] == "16 callers"


def test_an_interrupted_run_is_resumed(turns):
    first = suites.run("training", OPTIONS)
    del first["cases"][0]
    first["cases"][0]["figures"] = {"kept": {}}
    turns.clear()
    saved = []
    second = suites.run("training", OPTIONS, lambda found: saved.append(found["cases"]), first)
    assert [len(cases) for cases in saved] == [1, 2]  # what is kept is never lost
    assert {case.task for _, case in turns} == {"training"}
    assert [case["task"] for case in second["cases"]] == ["training", "pretraining"]
    assert second["cases"][1]["figures"] == {"kept": {}}
    with pytest.raises(InputError, match=r"^--resume: the file is of commit of-old, not "):
        suites.run("training", OPTIONS, earlier={**first, "commit": "of-old"})
    # A run with other options has no case in common; a complete one needs no turn.
    turns.clear()
    complete = suites.run("training", OPTIONS, earlier={**second, "commit": "of-old"})
    assert (turns, complete["commit"]) == ([], "of-old")


def test_missing_packages_are_noted_and_their_contenders_left_out(turns, monkeypatch):
    absent = {**rounds.CONTENDERS, "keras_hub": Contender(lambda case: None, ("no_such_package",))}
    monkeypatch.setattr(rounds, "CONTENDERS", absent)
    result = suites.run("encoder", OPTIONS)
    assert list(result["cases"][0]["contenders"]) == [
        *("covid_lm", "hugging_face", "onnx_runtime", "openvino", "unfixed", "no_look_up"),
    ]
    note = "Left out: keras_hub, because no_such_package is not installed."
    assert result["notes"] == [note]


def test_suite_all_measures_every_task_and_growth(turns, material):
    result = suites.run("all", Options(rounds=1))
    assert {case["suite"] for case in result["cases"]} == SUITES.keys() - {"all", "gpu", "soak"}
    assert [case["task"] for case in result["cases"]].count("serving") == 7
    assert len(turns) == sum(len(item.contenders) for item in plan("all", Options(rounds=1)))
    text = report(result)
    assert "| 4x256" not in text
    assert "| images a batch: 4, 8, 16 | 0.500, 0.500, 0.500 | " in text
    models = [("1x64", ""), ("rbt3", ""), ("6x128", "patches32x4rgb"), ("4x128", "patches128x8")]
    models.append(("4x256", ""))
    assert material == [(name, "float32", None, layout) for name, layout in models]


def test_suite_all_takes_at_most_30_minutes():
    planned = plan("all", parsed("--suite=all"))
    turns = [item for item in planned for _ in item.contenders * item.rounds]
    assert len(turns) * rounds.TURN_SECONDS <= 27 * 60  # the rest is for exports
    assert {item.rounds for item in planned if item.suite != "growth"} == {2}


def test_every_goal_is_one_of_a_case():
    options = Options(batch_sizes=(1, 8, 32))
    cases = [item.case for suite in ("encoder", "training") for item in plan(suite, options)]
    for suite in ("preprocessing", "serving", "patches"):
        cases += [item.case for item in plan(suite, Options(**SUITES[suite]))]
    assert set(suites.GOALS) <= set(map(str, cases))
    assert "serving rbt3 float32 4 callers" in map(str, cases)


def test_the_series_of_growth_share_their_middle_and_grow_by_their_axis():
    series = growth_series(threads=2)
    middles = {list(series[axis].values())[1] for axis in ("images a batch", "tokens", "layers")}
    assert middles == {Case("training", "4x256", "float32", 8, 2, length=256)}
    tasks = [(item.case.task, item.contenders) for item in plan("growth", Options())]
    assert tasks == [
        *[("training", ("covid_lm",))] * 7,
        *[("cache", ("pixel_cache",))] * 3,
        *[("serving", ("export",))] * 3,
    ]
    counted = {
        axis: exponent({size: case.operations for size, case in cases.items()})
        for axis, cases in series.items()
    }
    for axis in ("images a batch", "cached images", "callers"):
        assert counted[axis] == pytest.approx(1)
    assert 1 < counted["tokens"] < 2  # quadratic in attention only
    assert 1 < counted["layers"] < 1.5  # the last layer computes the [CLS] vector only


def test_the_exponent_of_a_power_is_that_power():
    assert exponent({2: 3 * 2**1.5, 4: 3 * 4**1.5, 8: 3 * 8**1.5}) == pytest.approx(1.5)
    assert exponent({128: 1.0, 256: 1.0, 512: 1.0}) == pytest.approx(0)


def test_the_growth_table_names_sizes_times_memory_and_exponents():
    # The middle case of a training step is on three axes; the last of these has 8 images.
    results = {
        case: {
            **dataclasses.asdict(case),
            "contenders": {"ours": {"seconds": [size / 100], "peak_bytes": 1e9 * size**0.5}},
        }
        for axis in ("tokens", "layers", "images a batch", "cached images", "callers")
        for size, case in growth_series(2)[axis].items()
    }
    lines = growth_table(list(results.values())).splitlines()
    batch = "images a batch: 4, 8, 16 | 0.040, 0.080, 0.160 | 1.00 | 2.00, 2.83, 4.00 | 0.50 | 1.00"
    callers = "callers: 1, 4, 16 | 0.010, 0.040, 0.160 | 1.00 | 1.00, 2.00, 4.00 | 0.50 | 1.00"
    assert lines[2] == f"| {batch} |"
    assert lines[6] == f"| {callers} |"


def test_the_report_ends_with_its_source(turns):
    result = suites.run("training", OPTIONS)
    machine = {"processor": "Abacus", "cores": 2, "load_average": 0.75, "packages": {"keras": "9"}}
    result |= {"date": "2026-01-02", "commit": "0123456789abcdef", "machine": machine}
    assert report(result).splitlines()[-1] == (
        "Measured on 2026-01-02 at commit 0123456789 on 2 cores of Abacus, load average 0.8 at the "
        "start, with keras 9. The machine was not idle, which slows contenders unequally "
        "(PyTorch's threads most): repeat before quoting a figure."
    )
    machine["load_average"] = 0.5
    assert report(result).endswith("with keras 9.")


def test_the_summary_names_ratios_of_rbt3(turns, material):
    result = suites.run("all", Options(rounds=1))
    machine = {"processor": "Abacus", "cores": 2}
    text = summary({**result, "date": "2026-01-02", "machine": machine})
    assert text == (
        "Speed of rbt3 with batches of 8 on 2 cores of Abacus (2026-01-02), as a multiple of that "
        "of Hugging Face transformers or of the library that is named: inference in float32 1.50; "
        "inference in bfloat16 1.50; a training step in bfloat16 1.50; a pre-training step in "
        "bfloat16 against a tuned one 2.00; inference in float32 against OpenVINO 1.50; in "
        "bfloat16 1.50."
    )


def parsed(*arguments: str) -> Options:
    """The options that the tool gets from its arguments."""
    values = flags.FlagValues()
    flags.DEFINE_enum("suite", "encoder", SUITES, "", flag_values=values)
    Options.define_flags(values)
    values(["benchmark.py", *arguments])
    return Options.from_flags(values)


def test_a_suite_gives_the_values_of_the_flags_that_are_not_given():
    assert parsed() == Options()
    assert parsed("--suite=growth").rounds == 1
    assert parsed("--suite=growth", "--rounds=2").rounds == 2
    found = parsed("--suite=serving", "--batch_sizes=4,2", "--rival=pillow_hf", "--rival=map_fn")
    assert (found.batch_sizes, found.dtypes, found.backbones) == ((4, 2), ("float32",), ("rbt3",))
    assert found.rivals == ("pillow_hf", "map_fn")


def test_patches_are_compared_with_a_vit_and_with_single_bytes(turns):
    options = Options(batch_sizes=(32,), dtypes=("float32",), rounds=1)
    result = suites.run("patches", options)
    table = rows(result)
    first = ["inference", "patches32x4rgb 6x128 float32", "batch 32", "covid_lm", "64.00", "1.00"]
    assert table[0] == [*first, "", ""]
    assert table[1][3:] == [
        *("hugging_face_vit", "42.67", "1.00"),
        *("1.50 times as fast [1.50, 1.50]", "1.3, met"),
    ]
    assert table[2][3:] == ["gray22", "10.67", "1.00", "6.00 times as fast [6.00, 6.00]", "5, met"]
    names = [(case["task"], case["layout"], case["length"]) for case in result["cases"]]
    small, large = ("patches32x4rgb", 67), ("patches128x8", 259)
    assert names == [(task, *size) for size in (small, large) for task in ("inference", "training")]
    assert {case.dropout for _, case in turns} == {0.0}


def test_a_gpu_is_compared_on_jax_without_the_ceiling(turns):
    result = suites.run("gpu", Options(**{**SUITES["gpu"], "rounds": 1}))
    assert [(case["task"], list(case["contenders"])) for case in result["cases"]] == [
        ("inference", ["covid_lm", "hugging_face_vit"]),
        ("training", ["covid_lm", "hugging_face_vit"]),
        ("inference", ["covid_lm", "hugging_face"]),
        ("training", ["covid_lm", "hugging_face"]),
    ]
    sizes = [row[2] for row in rows(result)[::2]]
    assert sizes == [f"batch {size} on gpu" for size in (256, 256, 32, 32)]
    assert all("ceiling" not in case for case in result["cases"])

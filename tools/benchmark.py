"""Measures covid_lm beside its alternatives in one run, and prints ratios with their spread.

The rivals are optional: pip install 'covid_lm[bench]' brings PyTorch and transformers. `all` runs
the others, but `soak`, in fewer rounds and cases, 13 minutes on two cores; one at a time they take
up to as long. Run it on a machine that does nothing else.
"""

import importlib
from typing import Any

from absl import flags

from covid_lm.benchmark import SUITES
from covid_lm.benchmark.cases import DTYPES, SUITE_DEFAULTS, Options
from covid_lm.command_line import run_tool
from covid_lm.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_enum("suite", "encoder", SUITES, "What to measure.")
flags.DEFINE_string("json", None, "File to write all figures to, round by round.")
flags.DEFINE_string("readme", None, "Suite all: file whose marked tables of speeds are replaced.")
flags.DEFINE_integer(
    "rounds",
    None,
    "Turns that each contender gets in each case, 5 unless given; suite scale: 1.",
    lower_bound=1,
)
flags.DEFINE_list(
    "backbones",
    None,
    "rbt3,minilm-l6 unless given; suite serving: rbt3; suite scale: tiny,minilm-l6,rbt3.",
)
flags.DEFINE_list("batch_sizes", None, "8,1 unless given; preprocessing, serving, scale: 1,8,32.")
flags.DEFINE_list(
    "dtypes", None, "Arithmetic (bfloat16: mixed), both unless given; suite serving: float32."
)
flags.DEFINE_multi_enum(
    "task", list(Options.tasks), Options.tasks, "Of suite training: a class or masked tokens."
)
flags.DEFINE_float("minutes", 10.0, "How long suite soak takes.", lower_bound=0)
flags.DEFINE_string(
    "data_dir", None, "COVID-CT as published, for preprocessing and serving; else the phantom."
)
flags.DEFINE_integer("threads", 2, "Threads of each contender.", lower_bound=1)


def main(argv: list[str]) -> None:
    from covid_lm.benchmark.speed_tables import table
    from covid_lm.environment import machine
    from covid_lm.files import write_json
    from covid_lm.results.tables import replace_results

    if FLAGS.readme and FLAGS.suite != "all":
        raise InputError(f"--readme={FLAGS.readme}: only with --suite=all")
    result = {"machine": machine(), **importlib.import_module(SUITES[FLAGS.suite]).run(_options())}
    print(f"\n{table(result)}")
    if FLAGS.readme:
        replace_results(FLAGS.readme, {"speed": "\n\n".join(result["tables"])})
        print(f"written: {FLAGS.readme}")
    if FLAGS.json:
        write_json(FLAGS.json, result)
        print(f"written: {FLAGS.json}")


def _options() -> Options:
    from covid_lm.backbones.configs import backbone_config

    given: dict[str, Any] = {
        name: FLAGS[name].value for name in ("backbones", "batch_sizes", "dtypes")
    }
    given = {name: tuple(values) for name, values in given.items() if values is not None}
    for name in given.get("backbones", ()):
        backbone_config(name)
    sizes = given.get("batch_sizes", ())
    if not all(size.isdecimal() and int(size) for size in sizes):
        raise InputError(f"--batch_sizes={','.join(sizes)}: positive integers, please")
    for dtype in given.get("dtypes", ()):
        if dtype not in DTYPES:
            raise InputError(f"--dtypes={dtype}: choose from {', '.join(DTYPES)}")
    if sizes:
        given["batch_sizes"] = tuple(map(int, sizes))
    if FLAGS.rounds is not None:
        given["rounds"] = FLAGS.rounds
    return Options(
        **{**SUITE_DEFAULTS.get(FLAGS.suite, {}), **given},
        threads=FLAGS.threads,
        tasks=tuple(FLAGS.task),
        minutes=FLAGS.minutes,
        data_dir=FLAGS.data_dir,
    )


if __name__ == "__main__":
    run_tool(main)

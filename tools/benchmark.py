"""Compare the speed and memory of covid_lm with other libraries; print ratios and their spread.

The other libraries are optional: pip install 'covid_lm[bench]' installs PyTorch and transformers.
Suite `all` measures what the README quotes, in at most 25 minutes on two cores. Run it on a
machine that does nothing else.
"""

import json
import os
from typing import Any

from absl import flags

from covid_lm.backbones.configs import backbone_config
from covid_lm.benchmark.cases import DTYPES, RIVALS, SUITES, TASKS, Options
from covid_lm.command_line import define_path, run_tool
from covid_lm.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_enum("suite", "encoder", SUITES, "Measurements to make.")
define_path("json", "File for all figures, written after each case.", "output file")
flags.DEFINE_bool("resume", False, "Keep the cases that an interrupted run wrote to --json.")
define_path("readme", "With suite all: Markdown file to write the tables to.")
flags.DEFINE_integer(
    "rounds",
    None,
    "Turns of each contender in each case; default 3, suite growth 1.",
    lower_bound=1,
)
flags.DEFINE_list("backbones", None, "Default rbt3,minilm-l6; serving rbt3; preprocessing 1x64.")
flags.DEFINE_list("batch_sizes", None, "Default 8,1; preprocessing and serving 1,8,32.")
flags.DEFINE_list(
    "dtypes", None, "Default float32,bfloat16 (mixed); preprocessing and serving float32."
)
flags.DEFINE_multi_enum("task", TASKS, TASKS, "Tasks of suite training: a class, masked tokens.")
flags.DEFINE_multi_enum("rival", None, RIVALS, "Contender to compare with; default all.")
flags.DEFINE_float("minutes", 10.0, "Duration of suite soak.", lower_bound=0)
define_path("data_dir", "COVID-CT, for suites that read images; default the embedded phantom.")
flags.DEFINE_integer("threads", 2, "Threads of each contender.", lower_bound=1)
CHOICES = ("backbones", "batch_sizes", "dtypes", "rounds")  # None: the suite's default


def main(argv: list[str]) -> None:
    chosen = options()
    earlier = _earlier()
    from covid_lm.benchmark import suites
    from covid_lm.files import write_json

    def save(result: dict) -> None:
        if FLAGS.json:
            write_json(FLAGS.json, result)

    result = suites.run(FLAGS.suite, chosen, save, earlier)
    save(result)
    # Imported only now: this process stays small while others are measured.
    from covid_lm.benchmark.speed_tables import report
    from covid_lm.results.tables import replace_results

    text = report(result)
    print(f"\n{text}")
    if FLAGS.readme:
        replace_results(FLAGS.readme, {"speed": text})
        print(f"written: {FLAGS.readme}")


def _earlier() -> dict | None:
    """Read the result of an interrupted run."""
    if not FLAGS.resume:
        return None
    if not FLAGS.json:
        raise InputError("--resume needs --json=FILE, the file of the interrupted run")
    if not os.path.exists(FLAGS.json):
        return None
    with open(FLAGS.json, encoding="utf-8") as file:
        try:
            return dict(json.load(file))
        except (ValueError, TypeError):
            raise InputError(f"--json={FLAGS.json}: not a benchmark's result") from None


def options() -> Options:
    given: dict[str, Any] = {name: FLAGS[name].value for name in CHOICES}
    given = {name: value for name, value in given.items() if value is not None}
    if FLAGS.readme and FLAGS.suite != "all":
        raise InputError(f"--readme={FLAGS.readme}: only with --suite=all")
    if FLAGS.suite == "all" and given.keys() - {"rounds"}:
        raise InputError("--suite=all sets backbones, batch sizes and dtypes itself")
    for name in given.get("backbones", ()):
        backbone_config(name)
    sizes = given.get("batch_sizes", ())
    if not all(size.isdecimal() and int(size) for size in sizes):
        raise InputError(f"--batch_sizes={','.join(sizes)}: not all are positive integers")
    for dtype in given.get("dtypes", ()):
        if dtype not in DTYPES:
            raise InputError(f"--dtypes={dtype}: choose from {', '.join(DTYPES)}")
    if sizes:
        given["batch_sizes"] = map(int, sizes)
    given |= {name: tuple(given[name]) for name in CHOICES[:3] if name in given}
    return Options(
        **{**SUITES[FLAGS.suite], **given},
        threads=FLAGS.threads,
        tasks=tuple(FLAGS.task),
        rivals=FLAGS.rival and tuple(FLAGS.rival),
        minutes=FLAGS.minutes,
        data_dir=FLAGS.data_dir,
    )


if __name__ == "__main__":
    run_tool(main, options)

"""Compare the speed and memory of covid_lm with other libraries; print ratios and their spread.

The other libraries are optional: pip install 'covid_lm[bench]' installs PyTorch, transformers, ONNX
Runtime and OpenVINO. Suite `all` measures what the README quotes, in at most 30 minutes on two
cores. Run it on a machine that does nothing else.
"""

import json
import os

from absl import flags

from covid_lm.benchmark.cases import SUITES, Options
from covid_lm.command_line import define_path, print_written, run_tool
from covid_lm.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_enum("suite", "encoder", SUITES, "Measurements to make.")
define_path("json", "File for all figures, written after each case.", "output file")
flags.DEFINE_bool("resume", False, "Keep the cases that an interrupted run wrote to --json.")
define_path("readme", "With suite all: Markdown file to write the tables to.")
define_path("summary", "With suite all: Markdown file to write one sentence to.")
Options.define_flags()


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
    from covid_lm.benchmark.speed_tables import report, summary
    from covid_lm.results.tables import replace_results

    text = report(result)
    print(f"\n{text}")
    if FLAGS.readme:
        replace_results(FLAGS.readme, {"speed": text})
    if FLAGS.summary:
        replace_results(FLAGS.summary, {"speed summary": summary(result)})
    print_written(FLAGS.readme)
    print_written(FLAGS.summary)


def _earlier() -> dict | None:
    """Read the result of an interrupted run."""
    if not FLAGS.resume or not os.path.exists(FLAGS.json):
        return None
    with open(FLAGS.json, encoding="utf-8") as file:
        try:
            return dict(json.load(file))
        except (ValueError, TypeError):
            raise InputError(f"--json={FLAGS.json}: not a benchmark's result") from None


def options() -> Options:
    if FLAGS.resume and not FLAGS.json:
        raise InputError("--resume needs --json=FILE, the file of the interrupted run")
    for name in ("readme", "summary"):
        if FLAGS[name].value and FLAGS.suite != "all":
            raise InputError(f"--{name}={FLAGS[name].value}: only with --suite=all")
    fixed = ("backbones", "batch_sizes", "dtypes")
    if FLAGS.suite == "all" and any(FLAGS[name].present for name in fixed):
        raise InputError("--suite=all sets backbones, batch sizes and dtypes itself")
    return Options.from_flags(FLAGS)


if __name__ == "__main__":
    run_tool(main, options)

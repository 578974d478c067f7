"""Averages finished runs into a new one: average.py --run=saved_models/A --run=saved_models/B.

The runs must read the same sequences. The new one answers with the mean of their probabilities; it
is evaluated on their test split, exported as one SavedModel and verified.
"""

from absl import flags

from covid_lm.command_line import run_tool
from covid_lm.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_multi_string("run", [], "saved_models/NAME of a finished run; give two or more.")
flags.DEFINE_string("name", None, "Name of the new run.")
flags.DEFINE_string(
    "data_dir", None, "Where the data set lies; as the first run had it by default."
)
flags.DEFINE_string("output_dir", "saved_models", "Where NAME/run and NAME/VERSION are written.")
flags.DEFINE_bool("skip_invalid", False, "Leave undecodable images out, and count them.")


def main(argv: list[str]) -> None:
    if FLAGS.name is None:
        raise InputError("--name=NAME is needed")
    from covid_lm.averaging import average_runs
    from covid_lm.evaluation.summary import summary

    result = average_runs(
        FLAGS.run, FLAGS.name, FLAGS.data_dir, FLAGS.output_dir, FLAGS.skip_invalid
    )
    print(f"test split\n{summary(result.metrics)}\n")
    print(
        f"exported {result.version_dir}: reloaded, it gives the live model's probabilities "
        f"(max difference {result.export_difference:.1e}); {result.seconds:.0f} s in all"
    )


if __name__ == "__main__":
    run_tool(main)

"""Evaluates a finished run on a split of a data set, under every protocol it can be given."""

from absl import flags

from covid_lm.command_line import run_tool
from covid_lm.data import DATASETS
from covid_lm.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "saved_models/NAME[/VERSION]; the newest version by default.")
flags.DEFINE_enum("dataset", "phantom", DATASETS, "Data set.")
flags.DEFINE_string("data_dir", None, "Where the data set lies; phantoms need none.")
flags.DEFINE_enum("split", "test", ("train", "val", "test"), "Split to evaluate.")
flags.DEFINE_string("output", None, "File for the metrics, as JSON; the report goes to .html.")
flags.DEFINE_bool(
    "baselines", False, "Fit a logistic regression and a random forest on the model's tokens, too."
)
flags.DEFINE_string("compare", None, "Another model, by McNemar's test on the same images.")
flags.DEFINE_string("record", None, "File to write the run's record to, for tools/results.py.")
flags.DEFINE_bool("skip_invalid", False, "Leave undecodable images out, and count them.")


def main(argv: list[str]) -> None:
    from covid_lm.evaluate import evaluate_run, report_path
    from covid_lm.evaluation.summary import summary

    if FLAGS.model is None:
        raise InputError("--model=saved_models/NAME is needed")
    report = evaluate_run(
        FLAGS.model,
        FLAGS.dataset,
        FLAGS.data_dir,
        FLAGS.split,
        FLAGS.skip_invalid,
        FLAGS.output,
        FLAGS.baselines,
        FLAGS.compare,
        FLAGS.record,
    )
    print(
        f"{report['version']} on {report['dataset']}, {report['split']} split; weights: "
        f"{report['weights']}\n{summary(report)}"
    )
    print(f"export against live model: max difference {report['export_difference']:.1e}")
    report_file = FLAGS.output and report_path(FLAGS.output)
    for path in filter(None, (FLAGS.output, report_file, FLAGS.record)):
        print(f"written: {path}")


if __name__ == "__main__":
    run_tool(main)

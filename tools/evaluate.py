"""Evaluates a finished run on a split of a data set, under every protocol it can be given."""

from absl import flags

from covid_lm.command_line import run_tool
from covid_lm.data import DATASETS
from covid_lm.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "saved_models/NAME[/VERSION]; the newest version by default.")
flags.DEFINE_enum("dataset", "phantom", DATASETS, "Data set.")
flags.DEFINE_string("data_dir", None, "Where the data set lies; phantom needs none.")
flags.DEFINE_enum("split", "test", ("train", "val", "test"), "Split to evaluate.")
flags.DEFINE_string("output", None, "File to write the metrics to, as JSON.")
flags.DEFINE_bool("skip_invalid", False, "Leave undecodable images out, and count them.")


def main(argv: list[str]) -> None:
    from covid_lm.evaluation.evaluate import evaluate_run
    from covid_lm.evaluation.metrics import metrics_table

    if FLAGS.model is None:
        raise InputError("--model=saved_models/NAME is needed")
    report = evaluate_run(
        FLAGS.model, FLAGS.dataset, FLAGS.data_dir, FLAGS.split, FLAGS.skip_invalid, FLAGS.output
    )
    print(
        f"{report['version']} on {report['dataset']}, {report['split']} split; weights: "
        f"{report['weights']}; 95% Wilson intervals over images"
    )
    print(metrics_table(report["protocols"]))
    print(f"export against live model: max difference {report['export_difference']:.1e}")
    if FLAGS.output:
        print(f"written: {FLAGS.output}")


if __name__ == "__main__":
    run_tool(main)

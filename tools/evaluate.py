"""Evaluates a finished run on a split of a data set, under every protocol it can be given."""

from absl import flags

from covid_lm.command_line import define_path, print_written, run_tool
from covid_lm.data import check_dataset
from covid_lm.data.reading import with_window_of
from covid_lm.environment import import_tensorflow
from covid_lm.errors import InputError
from covid_lm.training import help_texts
from covid_lm.training.data_options import DataOptions

FLAGS = flags.FLAGS
define_path("model", "saved_models/NAME[/VERSION]; default: the newest version.", "input folder")
DataOptions.define_flags()
flags.DEFINE_enum("split", "test", ("train", "val", "test", "all"), "Split to evaluate, or all.")
define_path("output", "File for the metrics, as JSON; the report goes to .html.", "output file")
flags.DEFINE_bool("baselines", False, "Fit baselines, too: regression and forest on the tokens.")
define_path("compare", "Another model, by McNemar's test on the same images.", kind="input folder")
define_path("record", "File for the run's record, for results.py.", "output file")
define_path("cache_dir", help_texts.CACHE, "local folder")
flags.DEFINE_bool("skip_invalid", False, "Leave out images that can't be decoded; count them.")


def options() -> DataOptions:
    if FLAGS.model is None:
        raise InputError("--model=saved_models/NAME is needed")
    if FLAGS.baselines and FLAGS.split == "all":
        raise InputError("--baselines: fitted on training images, so not with --split=all")
    return DataOptions.from_flags(FLAGS)


def main(argv: list[str]) -> None:
    from covid_lm.serving.versions import resolve_model

    model_dir = resolve_model(FLAGS.model)[0]
    data = options()
    reading = with_window_of(data.reading, model_dir)
    check_dataset(data.dataset, data.data_dir, reading)
    import_tensorflow()
    from covid_lm.evaluation.summary import summary
    from covid_lm.evaluation_run import evaluate_run, report_path

    report = evaluate_run(
        FLAGS.model,
        data.dataset,
        data.data_dir,
        FLAGS.split,
        FLAGS.skip_invalid,
        FLAGS.output,
        FLAGS.baselines,
        FLAGS.compare,
        FLAGS.record,
        reading,
        FLAGS.cache_dir,
    )
    print(f"{summary(report)}\n\n{report['version']}; weights: {report['weights']}")
    print(f"export against live model: max difference {report['export_difference']:.1e}")
    print_written(FLAGS.output, FLAGS.output and report_path(FLAGS.output), FLAGS.record)


if __name__ == "__main__":
    run_tool(main, options)

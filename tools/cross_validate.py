"""Cross-validates a recipe by patient, over training and validation images alone.

Takes train.py's flags. Every epoch is scored on the images held out, so that the number of epochs
can be chosen; test images are not read.
"""

from absl import flags

from covid_lm.command_line import run_tool
from covid_lm.training.options import TrainingOptions

FLAGS = flags.FLAGS
TrainingOptions.define_flags(in_folds=True)
flags.DEFINE_integer("folds", 5, "Parts into which the patients are divided.")
flags.DEFINE_integer("max_folds", None, "Run the first so many folds only.", lower_bound=1)
flags.DEFINE_string("output", None, "File for the figures, as JSON, written after every fold.")
flags.DEFINE_string(
    "record", None, "File for the figures without the answers to each image, as results.py reads."
)


def main(argv: list[str]) -> None:
    options = TrainingOptions.from_flags(early_stopping="none")
    from covid_lm.cross_validate import cross_validate
    from covid_lm.evaluation.summary import fold_table
    from covid_lm.files import write_json
    from covid_lm.results.run_records import cross_validation_record

    report = cross_validate(options, FLAGS.folds, FLAGS.max_folds, FLAGS.output)
    print(f"\n{fold_table(report)}")
    if FLAGS.output:
        print(f"written: {FLAGS.output}")
    if FLAGS.record:
        write_json(FLAGS.record, cross_validation_record(report))
        print(f"written: {FLAGS.record}")


if __name__ == "__main__":
    run_tool(main)

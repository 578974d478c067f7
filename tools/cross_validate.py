"""Cross-validates a recipe by patient, over training and validation images only.

Takes train.py's flags. Every epoch is evaluated on the images held out, so that the number of
epochs can be chosen; test images are not read. KERAS_BACKEND=jax in the environment trains on JAX.
"""

import os

from absl import flags

from covid_lm.command_line import define_path, print_written, run_tool
from covid_lm.data import check_dataset
from covid_lm.environment import import_tensorflow
from covid_lm.training.options import TrainingOptions

BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")
FLAGS = flags.FLAGS
TrainingOptions.define_flags(in_folds=True)
flags.DEFINE_integer("folds", 5, "Parts into which the patients are divided.", lower_bound=2)
flags.DEFINE_integer("repeats", 1, "Divisions into folds, by seeds from --seed on.", lower_bound=1)
flags.DEFINE_integer("max_folds", None, "Run only so many folds, the first ones.", lower_bound=1)
define_path("output", "File for the figures, as JSON, written after every fold.", "output file")
define_path("record", "File for the figures of the folds only, for results.py.", "output file")


def options() -> TrainingOptions:
    return TrainingOptions.from_flags(FLAGS, early_stopping="none", backend=BACKEND)


def main(argv: list[str]) -> None:
    chosen = options()
    check_dataset(chosen.dataset, chosen.data_dir, chosen.reading)
    chosen = chosen.with_pinned_weights()
    import_tensorflow()
    from covid_lm.cross_validate import cross_validate
    from covid_lm.evaluation.summary import fold_table
    from covid_lm.files import write_json
    from covid_lm.results.run_records import cross_validation_record

    report = cross_validate(chosen, FLAGS.folds, FLAGS.max_folds, FLAGS.output, FLAGS.repeats)
    print(f"\n{fold_table(report)}")
    if FLAGS.record:
        write_json(FLAGS.record, cross_validation_record(report))
    print_written(FLAGS.output, FLAGS.record)


if __name__ == "__main__":
    run_tool(main, options, keras_backend=BACKEND)

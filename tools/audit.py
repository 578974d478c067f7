"""Checks a data set, and optionally a trained model, for leakage of the label."""

from absl import flags

from covid_lm.command_line import define_path, run_tool
from covid_lm.data import DATASETS, require_data_dir
from covid_lm.environment import import_tensorflow

FLAGS = flags.FLAGS
flags.DEFINE_enum("dataset", "phantom", DATASETS, "Data set.")
define_path("data_dir", "Directory of the data set, unless embedded.")
define_path("model", "saved_models/NAME: check this model, too.", "input folder")
define_path("output", "Folder for audit.json and audit.html; default: none.", "output folder")
flags.DEFINE_enum("fail_on", "never", ("never", "high"), "high: exit 3 on a high finding.")
flags.DEFINE_integer("seed", 0, "Seed of folds, permutations and bootstraps.", lower_bound=0)


def options() -> None:
    require_data_dir(FLAGS.dataset, FLAGS.data_dir)


def main(argv: list[str]) -> int:
    if FLAGS.model is not None:
        import_tensorflow()
    from covid_lm.audit.command import run_audit

    return run_audit(
        FLAGS.dataset, FLAGS.data_dir, FLAGS.model, FLAGS.output, FLAGS.fail_on, FLAGS.seed
    )


if __name__ == "__main__":
    run_tool(main, options)

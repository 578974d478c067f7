"""Checks a data set, and optionally a trained model, for leakage of the label."""

from absl import flags

from covid_lm.command_line import define_path, run_tool
from covid_lm.environment import import_tensorflow
from covid_lm.training.data_options import DataOptions

FLAGS = flags.FLAGS
DataOptions.define_flags()
define_path("model", "saved_models/NAME: check this model, too.", "input folder")
define_path("output", "Folder for audit.json and audit.html; default: none.", "output folder")
flags.DEFINE_enum("fail_on", "never", ("never", "high"), "high: exit 3 on a high finding.")
flags.DEFINE_integer("seed", 0, "Seed of folds, permutations and bootstraps.", lower_bound=0)


def options() -> DataOptions:
    return DataOptions.from_flags(FLAGS)


def main(argv: list[str]) -> int:
    if FLAGS.model is not None:
        import_tensorflow()
    from covid_lm.auditing.command import run_audit

    data, chosen = options(), (FLAGS.model, FLAGS.output, FLAGS.fail_on, FLAGS.seed)
    return run_audit(data.dataset, data.data_dir, *chosen, data.reading)


if __name__ == "__main__":
    run_tool(main, options)

"""Checks a data set, and optionally a trained model, for leakage of the label."""

from absl import flags

from covid_lm.command_line import run_tool
from covid_lm.data import DATASETS

FLAGS = flags.FLAGS
flags.DEFINE_enum("dataset", "phantom", DATASETS, "Data set.")
flags.DEFINE_string("data_dir", None, "Folder of the data set; the phantom needs none.")
flags.DEFINE_string("model", None, "saved_models/NAME: check this model, too.")
flags.DEFINE_string("output", None, "Folder for audit.json and audit.html; without it, text only.")
flags.DEFINE_enum("fail_on", "never", ("never", "high"), "high: exit 3 on a high finding.")
flags.DEFINE_integer("seed", 0, "Seed of folds, permutations and bootstraps.", lower_bound=0)


def main(argv: list[str]) -> int:
    from covid_lm.audit.command import run_audit

    return run_audit(
        FLAGS.dataset, FLAGS.data_dir, FLAGS.model, FLAGS.output, FLAGS.fail_on, FLAGS.seed
    )


if __name__ == "__main__":
    run_tool(main)

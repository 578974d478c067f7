"""Audits a data set, and a model if there is one: what could tell the label besides the picture?"""

from absl import flags

from covid_lm.command_line import run_tool
from covid_lm.data import DATASETS

FLAGS = flags.FLAGS
flags.DEFINE_enum("dataset", "phantom", DATASETS, "Data set.")
flags.DEFINE_string("data_dir", None, "Where the data set lies; phantoms need none.")
flags.DEFINE_string("model", None, "saved_models/NAME: also check what this model looks at.")
flags.DEFINE_string("output", None, "Folder for audit.json and audit.html; none are written else.")
flags.DEFINE_enum("fail_on", "never", ("never", "high"), "high: exit 3 if there is such a finding.")
flags.DEFINE_integer("seed", 0, "Of folds, permutations and bootstraps.", lower_bound=0)
flags.DEFINE_integer(
    "detection_curve",
    0,
    "Instead of an audit, plant leaks of several sizes in this many phantoms each and print, as "
    "Markdown, how many were found.",
    lower_bound=0,
)


def main(argv: list[str]) -> int:
    from covid_lm.audit.command import print_detection_curve, run_audit

    if FLAGS.detection_curve:
        return print_detection_curve(FLAGS.detection_curve)
    return run_audit(
        FLAGS.dataset, FLAGS.data_dir, FLAGS.model, FLAGS.output, FLAGS.fail_on, FLAGS.seed
    )


if __name__ == "__main__":
    run_tool(main)

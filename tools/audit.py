"""Checks a data set, and optionally a trained model, for leakage of the label."""

from absl import flags

from covid_lm.auditing.repair.repair_options import RepairOptions
from covid_lm.command_line import define_path, run_tool
from covid_lm.environment import import_tensorflow
from covid_lm.serving.versions import resolve_model
from covid_lm.training.data_options import DataOptions

FLAGS = flags.FLAGS
DataOptions.define_flags()
define_path("model", "saved_models/NAME: check this model, too.", "input folder")
define_path("embedding", "SavedModel whose embeddings compare the images, too.", "input folder")
define_path("output", "Folder for audit.json and audit.html; default: none.", "output folder")
define_path(
    "split", "Table to write, with new splits; images in archives need --neutralise.", "output file"
)
define_path(
    "neutralise", "New folder for a copy whose files differ by pixels only.", "output folder"
)
flags.DEFINE_integer("side", None, "Width and height of the copy's images; default: by the data.")
define_path("names", "Table to write that maps the copy's files to the originals.", "output file")
flags.DEFINE_enum(
    "fail_on", "never", ("high", "medium", "never"), "Exit 3 on a finding of this severity or more."
)
define_path("baseline", "An earlier audit.json; --fail_on counts only what is new since then.")
flags.DEFINE_integer("seed", 0, "Seed of folds, permutations and bootstraps.", lower_bound=0)


def options() -> tuple[DataOptions, RepairOptions]:
    data = DataOptions.from_flags(FLAGS)
    repair = RepairOptions(FLAGS.split, FLAGS.neutralise, FLAGS.side, FLAGS.names)
    repair.check(data.dataset, data.data_dir, data.image_root)
    return data, repair


def main(argv: list[str]) -> int:
    if FLAGS.embedding is not None:
        resolve_model(FLAGS.embedding, "embedding")
    if FLAGS.model is not None or FLAGS.embedding is not None:
        import_tensorflow()
    from covid_lm.auditing.command import run_audit

    data, repair = options()
    chosen = (FLAGS.model, FLAGS.output, FLAGS.fail_on, FLAGS.seed)
    further = (data.reading, repair, FLAGS.baseline, FLAGS.embedding)
    return run_audit(data.dataset, data.data_dir, *chosen, *further)


if __name__ == "__main__":
    run_tool(main, options)

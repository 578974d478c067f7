"""Writes the result tables, the paper's table 1 and its figure 2 from records of runs.

A record comes from tools/evaluate.py --record=saved_models/records/NAME.json; one of pre-training
from this tool, --pretraining=saved_models/NAME.
"""

import os

from absl import flags

from covid_lm.command_line import PathParser, define_path, print_written, run_tool

FLAGS = flags.FLAGS
define_path("records", "Folder of the records.", "input folder", default="saved_models/records")
flags.DEFINE_string(
    "reference", None, "Name of a record to compare all others of its data set with, by McNemar."
)
define_path("readme", "File whose marked tables are replaced; default: they are printed.")
define_path("figure", "File for figure 2, such as figure_2.png.", "output file")
flags.DEFINE_multi(
    PathParser("input folder"),
    flags.ArgumentSerializer(),
    "pretraining",
    [],
    "Finished pre-training run, saved_models/NAME, to make a record of first; repeatable.",
)
define_path("curves", "File for a figure of the losses of pre-training.", "output file")


def main(argv: list[str]) -> None:
    from covid_lm.files import write_json
    from covid_lm.results.figures import figure_2, pretraining_figure
    from covid_lm.results.run_records import pretraining_record, read_records
    from covid_lm.results.tables import all_tables, replace_results

    folder = os.path.join(FLAGS.records, "pretraining")
    for model_dir in FLAGS.pretraining:
        record = pretraining_record(model_dir)
        os.makedirs(folder, exist_ok=True)
        write_json(os.path.join(folder, f"{record['name']}.json"), record)
    tables = all_tables(FLAGS.records, FLAGS.reference)
    if FLAGS.curves is not None:
        pretraining_figure(read_records(folder, ("trivial_predictors",)), FLAGS.curves)
    if FLAGS.figure is not None:
        figure_2(read_records(FLAGS.records), FLAGS.figure)
    if FLAGS.readme is not None:
        replace_results(FLAGS.readme, tables)
    print_written(FLAGS.curves, FLAGS.figure, FLAGS.readme)
    if FLAGS.readme is None:
        print("\n\n".join(f"{key}\n{table}" for key, table in tables.items()))


if __name__ == "__main__":
    run_tool(main)

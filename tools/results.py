"""Writes the result tables, the paper's table 1 and its figure 2 from records of runs.

A record comes from tools/evaluate.py --record=saved_models/records/NAME.json; one of pre-training
from this tool, --pretraining=saved_models/NAME.
"""

import os

from absl import flags

from covid_lm.command_line import run_tool

FLAGS = flags.FLAGS
flags.DEFINE_string("records", "saved_models/records", "Folder of the records.")
flags.DEFINE_string(
    "reference", None, "Name of a record to compare all others of its data set with, by McNemar."
)
flags.DEFINE_string(
    "readme", None, "File whose marked tables are replaced; they are printed unless given."
)
flags.DEFINE_string("figure", None, "File to draw figure 2 to, such as figure_2.png.")
flags.DEFINE_multi_string(
    "pretraining", [], "Finished pre-training runs, saved_models/NAME, to make records of first."
)
flags.DEFINE_string("curves", None, "File to draw the losses of pre-training to.")


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
        print(f"written: {FLAGS.curves}")
    if FLAGS.figure is not None:
        figure_2(read_records(FLAGS.records), FLAGS.figure)
        print(f"written: {FLAGS.figure}")
    if FLAGS.readme is None:
        for key, table in tables.items():
            print(f"{key}\n{table}\n")
        return
    replace_results(FLAGS.readme, tables)
    print(f"written: {os.path.abspath(FLAGS.readme)}")


if __name__ == "__main__":
    run_tool(main)

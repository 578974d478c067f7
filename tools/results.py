"""Writes the README's result tables, the paper's table 1 and its figure 2 from records of runs.

A record comes from tools/evaluate.py --record=saved_models/records/NAME.json.
"""

import os

from absl import flags

from covid_lm.command_line import run_tool

FLAGS = flags.FLAGS
flags.DEFINE_string("records", "saved_models/records", "Folder of the records.")
flags.DEFINE_string(
    "baseline", None, "Name of a record to set all others of its data set beside, by McNemar."
)
flags.DEFINE_string("readme", None, "File whose marked tables are replaced; else they're printed.")
flags.DEFINE_string("figure", None, "File to draw figure 2 to, such as figure_2.png.")


def main(argv: list[str]) -> None:
    from covid_lm.evaluation.paper_tables import figure_2, table_1
    from covid_lm.evaluation.results import (
        commands_list,
        comparisons_table,
        lesion_table,
        read_records,
        replace_results,
        results_table,
    )

    every = read_records(FLAGS.records)
    tables = {"table 1": table_1(every)}
    for dataset in sorted({record["dataset"] for record in every}):
        records = [record for record in every if record["dataset"] == dataset]
        tables[dataset] = results_table(records)
        tables[f"{dataset} commands"] = commands_list(records)
    if any("lesion_place" in record for record in every):
        tables["lesion place"] = lesion_table(every)
    if FLAGS.baseline is not None:
        tables["mcnemar"] = comparisons_table(every, FLAGS.baseline)
    if FLAGS.figure is not None:
        figure_2(every, FLAGS.figure)
        print(f"written: {FLAGS.figure}")
    if FLAGS.readme is None:
        for key, table in tables.items():
            print(f"{key}\n{table}\n")
        return
    replace_results(FLAGS.readme, tables)
    print(f"written: {os.path.abspath(FLAGS.readme)}")


if __name__ == "__main__":
    run_tool(main)

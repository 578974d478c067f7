"""Writes the README's result tables, the paper's table 1 and its figure 2 from records of runs.

A record comes from tools/evaluate.py --record=saved_models/records/NAME.json; one of pre-training
from this tool, --pretraining=saved_models/NAME.
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
flags.DEFINE_multi_string(
    "pretraining", [], "Finished pre-training runs, saved_models/NAME, to make records of first."
)
flags.DEFINE_string("curves", None, "File to draw the losses of pre-training to.")


def main(argv: list[str]) -> None:
    from covid_lm.files import write_json
    from covid_lm.results.cross_validation_results import (
        cross_validation_commands,
        cross_validation_table,
    )
    from covid_lm.results.figures import figure_2, table_1
    from covid_lm.results.pretraining_results import (
        pretraining_commands,
        pretraining_figure,
        pretraining_record,
        pretraining_table,
    )
    from covid_lm.results.tables import (
        commands_list,
        comparisons_table,
        lesion_table,
        read_json_files,
        read_records,
        replace_results,
        results_table,
    )

    every = read_records(FLAGS.records)
    folder = os.path.join(FLAGS.records, "pretraining")
    for model_dir in FLAGS.pretraining:
        record = pretraining_record(model_dir)
        os.makedirs(folder, exist_ok=True)
        write_json(os.path.join(folder, f"{record['name']}.json"), record)
    tables = {"table 1": table_1(every)}
    for dataset in sorted({record["dataset"] for record in every}):
        records = [record for record in every if record["dataset"] == dataset]
        tables[dataset] = results_table(records)
        tables[f"{dataset} commands"] = commands_list(records)
    if any("lesion_place" in record for record in every):
        tables["lesion place"] = lesion_table(every)
    if os.path.isdir(folder):
        pretrained = read_json_files(folder)
        tables["pretraining"] = pretraining_table(pretrained)
        tables["pretraining commands"] = pretraining_commands(pretrained)
        if FLAGS.curves is not None:
            pretraining_figure(pretrained, FLAGS.curves)
            print(f"written: {FLAGS.curves}")
    validated = os.path.join(FLAGS.records, "cross_validation")
    if os.path.isdir(validated):
        reports = read_json_files(validated)
        tables["cross-validation"] = cross_validation_table(reports)
        tables["cross-validation commands"] = cross_validation_commands(reports)
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

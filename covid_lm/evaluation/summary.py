"""Tables as text: Markdown for documents, aligned columns for a terminal, and a run's metrics."""

from collections.abc import Mapping

import pandas as pd

from covid_lm.evaluation.statistics import PATIENT_BOOTSTRAP, PATIENT_WILSON

FACTOR_HEADER = ("factor", "group", "images", "patients", "accuracy", "AUC")
MAX_LEFT_OUT = 10  # factors that are named


def markdown_table(table: pd.DataFrame) -> str:
    """Format a table of text or numbers as Markdown, without its index."""
    cells = table.astype(object).to_numpy().tolist()  # of mixed numbers, integers stay integers
    rows = [table.columns.tolist(), ["---"] * len(table.columns), *cells]
    lines = (" | ".join(str(cell).replace("|", r"\|") for cell in row) for row in rows)
    return "\n".join(f"| {line} |" for line in lines)


def text_table(table: pd.DataFrame) -> str:
    """Format a table for a terminal, the first column aligned left and the others right."""
    first = table.columns[0]
    return table.set_index(first).rename_axis(index=None, columns=first).to_string()


def interval_text(value: float | None, interval: list[float] | None) -> str:
    """A figure with its interval, as in "0.625 [0.300, 0.860]"; "-" if the figure is None."""
    if value is None:
        return "-"
    return f"{value:.3f}" + (" [{:.3f}, {:.3f}]".format(*interval) if interval else "")


def metrics_table(rows: dict[str, dict]) -> str:
    """Format rows of `classification_metrics` for a terminal, with the kind of their intervals.

    Args:
        rows: row name to metrics, with `training_policy` and `test_policy` where a row has them.
    """
    table = pd.DataFrame(
        {
            "protocol": name,
            "trained": row.get("training_policy", "-"),
            "tested": row.get("test_policy", "-"),
            "correct": f"{row['correct']}/{row['n']}",
            "accuracy [95% CI]": interval_text(row["accuracy"], row["ci95"]),
            "AUC": interval_text(row["auc"], None),
        }
        for name, row in rows.items()
    )
    methods = {}
    for row in rows.values():
        by_patient = row["ci95_method"] in (PATIENT_BOOTSTRAP, PATIENT_WILSON)
        over = f"{row['num_patients']} patients" if by_patient else f"{row['n']} images"
        methods[row["ci95_method"]] = f"{row['ci95_method']} ({over})"
    notes = [f"95% CI of the accuracy: {', '.join(methods.values())}"]
    notes += [
        f"{name}: {row['invalid']} of {row['n']} images invalid, counted as wrong"
        for name, row in rows.items()
        if row["invalid"]
    ]
    return "\n".join([text_table(table), *notes])


def factor_rows(factors: Mapping[str, dict]) -> list[list[str]]:
    """Cells of the groups of `factor_metrics`, with intervals, as in `FACTOR_HEADER`."""
    return [
        [
            name,
            "no value" if group["level"] is None else group["level"],
            *(str(group.get(key) or "-") for key in ("n", "num_patients")),
            group.get("suppressed") or interval_text(group["accuracy"], group["ci95"]),
            interval_text(group.get("auc"), group.get("auc_ci95")),
        ]
        for name, factor in factors.items()
        for group in factor.get("groups", ())
    ]


def left_out_factors(factors: Mapping[str, dict]) -> str:
    """The factors without groups, with the reasons: "note (40 different values)"; "" for none."""
    texts = [f"{k} ({factor['left_out']})" for k, factor in factors.items() if "left_out" in factor]
    if len(texts) > MAX_LEFT_OUT:
        texts[MAX_LEFT_OUT:] = [f"{len(texts) - MAX_LEFT_OUT} more"]
    return ", ".join(texts)


def fold_table(report: dict) -> str:
    """Format the pooled figures of every epoch of a report of `cross_validate`."""
    epochs = report["epochs"]
    table = pd.DataFrame(
        {
            "epoch": row["epoch"],
            "accuracy [95% CI]": interval_text(row["accuracy"], row["ci95"])
            + _deviation(row, "accuracy_sd"),
            "AUC [95% CI]": interval_text(row["auc"], row["auc_ci95"]) + _deviation(row, "auc_sd"),
            "log loss": f"{row['log_loss']:.4f}",
        }
        for row in epochs
    )
    methods = f"accuracy {epochs[0]['ci95_method']}, AUC {epochs[0]['auc_ci95_method']}"
    return (
        f"{report['dataset']}: {report['folds_done']} of {report['folds']} folds done, "
        f"{epochs[0]['n']} images held out, {report['patients']} patients known\n"
        f"{text_table(table)}\n95% CI: {methods}"
    )


def _deviation(row: dict, key: str) -> str:
    """The standard deviation between repeats, if there are any."""
    return f" (sd {row[key]:.3f})" if row.get(key) is not None else ""


def summary(metrics: dict) -> str:
    """Format the content of `metrics.json`: headline, rows, baselines, comparison."""
    split = "all splits" if metrics["split"] == "all" else f"{metrics['split']} split"
    lines = [metrics["headline"], "", f"{metrics['dataset']}, {split}"]
    baselines = {}
    if metrics["name_alone"] is not None:
        baselines["name length"] = {**metrics["name_alone"], "test_policy": "name"}
    lines.append(metrics_table(metrics["protocols"] | baselines | metrics.get("floors", {})))
    factors = metrics.get("factors", {})
    if rows := factor_rows(factors):
        lines += ["", text_table(pd.DataFrame(rows, columns=FACTOR_HEADER)), ""]
    if left_out := left_out_factors(factors):
        lines.append(f"factors without figures: {left_out}")
    if "comparison" in metrics:
        test = metrics["comparison"]
        correct, other_correct = test["correct"]
        lines.append(
            f"compared with {test['with']} ({test['rows'][1]}) on {test['n']} images: {correct} "
            f"against {other_correct} correct, {test['only_a_correct']} by this model alone and "
            f"{test['only_b_correct']} by the other alone; McNemar's exact p {test['p_value']:.3g}"
        )
    return "\n".join(lines)

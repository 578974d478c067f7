"""Metrics as text for a terminal."""

from covid_lm.evaluation.metrics import metrics_table


def summary(metrics: dict) -> str:
    """The headline, then every row, then what needs no model, for comparison.

    Args:
        metrics: the content of `metrics.json`; `floors` and `comparison` where they were asked for.
    """
    lines = [metrics["headline"]] if metrics.get("headline") else []
    beside = {"name alone": {**metrics["name_alone"], "test_policy": "name"}}
    beside |= metrics.get("floors", {})
    lines.append(metrics_table(metrics["protocols"] | beside))
    if "comparison" in metrics:
        lines.append(_comparison(metrics["comparison"]))
    return "\n".join(lines)


def _comparison(comparison: dict) -> str:
    ours, theirs = comparison["correct"]
    return (
        f"beside {comparison['with']} ({comparison['rows'][1]}), {comparison['n']} images: {ours} "
        f"against {theirs} correct, {comparison['only_a_correct']} and "
        f"{comparison['only_b_correct']} of them alone; McNemar's exact p "
        f"{comparison['p_value']:.3g}"
    )

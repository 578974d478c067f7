"""The metrics of a pre-training epoch: a line of `metrics.jsonl`, and a table."""

import math

COLUMNS = ("loss", "perplexity", "accuracy", "image_accuracy", "name_accuracy")


def epoch_line(metrics: dict, trivial: dict[str, dict]) -> dict:
    """An epoch's line of `metrics.jsonl`.

    Args:
        metrics: an entry of `Progress.history`: `masked_token_metrics` by name, those of the
            validation split with the prefix `val_`.
        trivial: figures by split and predictor; None for a kind of token that is absent.

    Returns:
        {"epoch", "seconds", "train": {"loss", "perplexity", "accuracy", "image_accuracy",
        "name_accuracy"}, "val": ...}. Those of "train" are means over the epoch, with dropout,
        while the weights change.
    """
    line = {"epoch": metrics["epoch"], "seconds": metrics["seconds"]}
    for split, predictors in trivial.items():
        line[split] = _figures(metrics, "val_" if split == "val" else "", predictors["unigram"])
    return line


def _figures(metrics: dict, prefix: str, trivial: dict) -> dict[str, float | None]:
    loss = metrics[f"{prefix}cross_entropy"]
    perplexity = math.exp(min(loss, 700))  # within a float's range
    figures: dict[str, float | None] = {"loss": loss, "perplexity": perplexity}
    for name in ("accuracy", "image_accuracy", "name_accuracy"):
        figures[name] = None if trivial[name] is None else metrics[f"{prefix}{name}"]
    return figures


def epoch_table(line: dict, trivial: dict[str, dict]) -> str:
    """An epoch's figures next to those of the trivial predictor, as text.

    Args:
        line: from `epoch_line`.
        trivial: as for `epoch_line`.
    """
    titles = "".join(
        f"{title:>12}" for title in ("loss", "perplexity", "accuracy", "image", "name")
    )
    lines = [f"{'epoch ' + str(line['epoch']):<18}{titles}   ({line['seconds']:.0f} s)"]
    for split, predictors in trivial.items():
        for key, figures in {"model": line[split], **predictors}.items():
            cells = "".join(_cell(figures[column]) for column in COLUMNS)
            lines.append(f"{split:<7}{key:<11}{cells}")
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return f"{'-':>12}" if value is None else f"{value:>12.3f}"

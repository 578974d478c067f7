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
        prefix = "val_" if split == "val" else ""
        loss = metrics[f"{prefix}cross_entropy"]
        perplexity = math.exp(min(loss, 700))  # within a float's range
        line[split] = {"loss": loss, "perplexity": perplexity}
        for name in ("accuracy", "image_accuracy", "name_accuracy"):
            absent = predictors["unigram"][name] is None
            line[split][name] = None if absent else metrics[f"{prefix}{name}"]
    return line


def epoch_table(line: dict, trivial: dict[str, dict]) -> str:
    """An `epoch_line` next to the figures of the trivial predictor, as text."""
    titles = "".join(f"{title.removesuffix('_accuracy'):>12}" for title in COLUMNS)
    lines = [f"{'epoch ' + str(line['epoch']):<18}{titles}   ({line['seconds']:.0f} s)"]
    for split, predictors in trivial.items():
        for key, figures in {"model": line[split], **predictors}.items():
            values = (figures[column] for column in COLUMNS)
            cells = (f"{'-' if value is None else f'{value:.3f}':>12}" for value in values)
            lines.append(f"{split:<7}{key:<11}{''.join(cells)}")
    return "\n".join(lines)

"""From a model's answers to edited input to findings, and their table."""

from covid_lm.audit.findings import Finding, auc_severity

UNCHANGED = "unchanged"
BLANKED = "image blanked"
BORDER = "border only"
REENCODED = "JPEG q95 and back"
# Edits that no model of pictures may notice, with the finding's title and advice.
_NO_PICTURE = {
    "names exchanged between files": (
        "the model's answer moves when files are renamed",
        "Train with --protocol=fixed or --protocol=absent, which let nothing of the name in.",
    ),
    "name blanked": (
        "the model's answer moves when the name is blanked",
        "Train with --protocol=fixed or --protocol=absent, which let nothing of the name in.",
    ),
    "metadata stripped": (
        "the model's answer moves when metadata is stripped",
        "Decode the pixels and let nothing else of the file reach the model.",
    ),
}
# Edits that take the lesions away, which should leave the model without an answer.
_NO_LESION = {
    BLANKED: (
        "the model tells the label without the picture",
        "file",
        "Find out what else of the input it reads; this score has nothing to do with the picture.",
    ),
    BORDER: (
        "the model tells the label from the border alone",
        "picture",
        "Crop or blank the borders in training, and score again.",
    ),
}


def model_findings(results: dict) -> list[Finding]:
    """Findings of the model checks.

    Args:
        results: of `check_model`: `images` and `rows`.
    """
    findings = []
    # A model that needs no picture at all isn't reading the border.
    blind = {row["policy"] for row in results["rows"] if row["edit"] == BLANKED and _tells(row)}
    for row in results["rows"]:
        edit = row["edit"]
        if edit == BORDER and row["policy"] in blind:
            continue
        if edit in _NO_PICTURE and not row["identical"]:
            findings.append(_moved(row, results["images"], *_NO_PICTURE[edit]))
        elif edit in _NO_LESION and _tells(row):
            findings.append(_told(row, *_NO_LESION[edit]))
        elif edit == REENCODED and row["flipped_interval"][0] >= 0.05:
            findings.append(
                _moved(
                    row,
                    results["images"],
                    "the model's answer moves when pictures are re-encoded",
                    "Train with re-encoded copies, or write all classes with one encoder.",
                )
            )
    return findings


def _tells(row: dict) -> bool:
    return row["auc"] is not None and row["auc_interval"][0] > 0.5


def _moved(row: dict, images: int, title: str, advice: str) -> Finding:
    """High from a lower bound of 5% other classes on, medium for a mean change of 1% or more."""
    low, high = row["flipped_interval"]
    if row["edit"] != REENCODED and low >= 0.05:
        severity = "high"
    else:
        severity = "medium" if row["mean_change"] >= 0.01 else "low"
    return Finding(
        check=f"model: {row['edit']} ({row['policy']})",
        title=f"{title} ({row['policy']} names)",
        severity=severity,
        leakage_class="L3.3" if row["edit"] == REENCODED else "L2",
        summary=f"Under the {row['policy']} policy {row['flipped']} of {images} predicted classes "
        f"change [{low:.1%}, {high:.1%}]; probabilities by {row['mean_change']:.3f} on average, by "
        f"{row['largest_change']:.3f} at most.",
        advice=advice,
        effect={
            "name": "share of changed classes",
            "value": row["flipped"] / images,
            "interval": [low, high],
        },
    )


def _told(row: dict, title: str, kind: str, advice: str) -> Finding:
    low, high = row["auc_interval"]
    return Finding(
        check=f"model: {row['edit']} ({row['policy']})",
        title=f"{title} ({row['policy']} names)",
        severity=auc_severity(kind, low),
        leakage_class="L2",
        summary=f"Under the {row['policy']} policy, {row['edit']}: AUC {row['auc']:.3f} "
        f"[{low:.3f}, {high:.3f}], accuracy {row['accuracy']:.1%}.",
        advice=advice,
        effect={"name": "AUC", "value": row["auc"], "interval": [low, high]},
    )


def model_lines(results: dict) -> list[str]:
    """The model checks as lines for a terminal."""
    lines = [
        f"model {results['model']} ({results['protocol']} protocol) on {results['images']} test "
        "images; changes against the unchanged input:",
        f"{'names':<8} {'edit':<30} {'mean':>6} {'largest':>7} {'classes':>8} {'accuracy':>8} "
        f"{'AUC':>6}",
    ]
    for row in results["rows"]:
        area = "-" if row["auc"] is None else f"{row['auc']:.3f}"
        note = ""
        if row["edit"] != UNCHANGED and row["identical"]:
            note = "  the same bit for bit"
        lines.append(
            f"{row['policy']:<8} {row['edit']:<30} {row['mean_change']:>6.3f} "
            f"{row['largest_change']:>7.3f} {row['flipped']:>8} {row['accuracy']:>8.3f} "
            f"{area:>6}{note}"
        )
    for policy, shares in results["attribution"].items():
        text = ", ".join(f"{kind} {share:.1%}" for kind, share in shares.items())
        lines.append(f"attribution (gradient x input), {policy} names: {text}")
    return lines

"""Findings on a model, from its predictions for edited input."""

from covid_lm.auditing.findings import Finding, auc_severity

UNCHANGED = "unchanged"
BLANKED = "image blanked"
BORDER = "border only"
MARKS = "burned-in marks removed"
REENCODED = "JPEG q95 and back"
MIN_FLIPPED = 0.05
MIN_CHANGE = 0.01
_NO_NAME = "Train with --protocol=fixed or --protocol=absent: the model then reads no name."
_TITLE_AND_ADVICE = {
    "names exchanged between files": ("predictions change when files are renamed", _NO_NAME),
    "name blanked": ("predictions change when the name is blanked", _NO_NAME),
    "metadata stripped": (
        "predictions change when metadata is removed",
        "Pass only decoded pixels to the model.",
    ),
    REENCODED: (
        "predictions change when images are re-encoded",
        "Train with re-encoded copies, or write the files of all classes with one encoder.",
    ),
    MARKS: (
        "predictions change when burned-in marks are removed",
        "Remove the marks from all images, then train and evaluate again.",
    ),
    BLANKED: (
        "the model predicts the label without the image",
        "Find out what else it reads: this score does not depend on the image.",
    ),
    BORDER: (
        "the model predicts the label from the border only",
        "Crop or blank the borders, then train and evaluate again.",
    ),
}


def model_findings(results: dict) -> list[Finding]:
    """Derives the findings from the results of `check_model`.

    Files must not change the output bit for bit when they are renamed or stripped of metadata.
    For images that are re-encoded or lose their marks, 5% changed classes (lower bound of the
    interval) make a finding.
    """
    findings = []
    # A model that needs no image at all does not depend on the border.
    blind = {row["policy"] for row in results["rows"] if row["edit"] == BLANKED and _predicts(row)}
    for row in results["rows"]:
        edit = row["edit"]
        if edit in (BLANKED, BORDER):
            if _predicts(row) and (edit == BLANKED or row["policy"] not in blind):
                findings.append(_prediction_finding(row))
        elif edit in _TITLE_AND_ADVICE:
            many = row["flipped_interval"][0] >= MIN_FLIPPED
            if many if edit in (REENCODED, MARKS) else not row["identical"]:
                findings.append(_change_finding(row, results["images"], many))
    return findings


def _predicts(row: dict) -> bool:
    return row["auc"] is not None and row["auc_interval"][0] > 0.5


def _change_finding(row: dict, images: int, many: bool) -> Finding:
    low, high = row["flipped_interval"]
    medium = "medium" if row["mean_change"] >= MIN_CHANGE else "low"
    severity = "high" if many and row["edit"] != REENCODED else medium
    summary = (
        f"With {row['policy']} names, {row['flipped']} of {images} predicted classes change "
        f"[{low:.1%}, {high:.1%}]; probabilities change by {row['mean_change']:.3f} on average and "
        f"by {row['largest_change']:.3f} at most."
    )
    share = row["flipped"] / images
    effect = {"name": "share of changed classes", "value": share, "interval": [low, high]}
    return _finding(row, severity, summary, effect)


def _prediction_finding(row: dict) -> Finding:
    low, high = row["auc_interval"]
    severity = auc_severity("file" if row["edit"] == BLANKED else "picture", low)
    summary = (
        f"With {row['policy']} names and {row['edit']}: AUC {row['auc']:.3f} "
        f"[{low:.3f}, {high:.3f}], accuracy {row['accuracy']:.1%}."
    )
    effect = {"name": "AUC", "value": row["auc"], "interval": [low, high]}
    return _finding(row, severity, summary, effect)


def _finding(row: dict, severity: str, summary: str, effect: dict) -> Finding:
    title, advice = _TITLE_AND_ADVICE[row["edit"]]
    return Finding(
        check=f"model: {row['edit']} ({row['policy']})",
        title=f"{title} ({row['policy']} names)",
        severity=severity,
        leakage_class="L3.3" if row["edit"] == REENCODED else "L2",
        summary=summary,
        advice=advice,
        effect=effect,
    )

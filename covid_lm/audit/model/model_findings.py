"""Findings on a model, from its predictions for edited input."""

from covid_lm.audit.findings import Finding, auc_severity

UNCHANGED = "unchanged"
BLANKED = "image blanked"
BORDER = "border only"
REENCODED = "JPEG q95 and back"
MIN_FLIPPED = 0.05
MIN_CHANGE = 0.01
_NO_NAME = "Train with --protocol=fixed or --protocol=absent: the model then reads no name."
# Title and advice, for edits that should not change the output.
_HARMLESS = {
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
}
# Title, kind of feature and advice, for edits that remove the lesions.
_WITHOUT_LESION = {
    BLANKED: (
        "the model predicts the label without the image",
        "file",
        "Find out what else it reads: this score does not depend on the image.",
    ),
    BORDER: (
        "the model predicts the label from the border only",
        "picture",
        "Crop or blank the borders, then train and evaluate again.",
    ),
}


def model_findings(results: dict) -> list[Finding]:
    """Derives the findings from the results of `check_model`.

    Files must not change the output bit for bit when they are renamed or stripped of metadata.
    For re-encoded images 5% changed classes (lower bound of the interval) make a finding.
    """
    findings = []
    # A model that needs no image at all does not depend on the border.
    blind = {row["policy"] for row in results["rows"] if row["edit"] == BLANKED and _predicts(row)}
    for row in results["rows"]:
        edit = row["edit"]
        if edit in _HARMLESS:
            many = row["flipped_interval"][0] >= MIN_FLIPPED
            if many if edit == REENCODED else not row["identical"]:
                findings.append(_change_finding(row, results["images"], many))
        elif edit == BLANKED or (edit == BORDER and row["policy"] not in blind):
            findings += [_prediction_finding(row)] if _predicts(row) else []
    return findings


def _predicts(row: dict) -> bool:
    return row["auc"] is not None and row["auc_interval"][0] > 0.5


def _change_finding(row: dict, images: int, many: bool) -> Finding:
    low, high = row["flipped_interval"]
    title, advice = _HARMLESS[row["edit"]]
    medium = "medium" if row["mean_change"] >= MIN_CHANGE else "low"
    return Finding(
        check=f"model: {row['edit']} ({row['policy']})",
        title=f"{title} ({row['policy']} names)",
        severity="high" if many and row["edit"] != REENCODED else medium,
        leakage_class="L3.3" if row["edit"] == REENCODED else "L2",
        summary=f"With {row['policy']} names, {row['flipped']} of {images} predicted classes "
        f"change [{low:.1%}, {high:.1%}]; probabilities change by {row['mean_change']:.3f} on "
        f"average and by {row['largest_change']:.3f} at most.",
        advice=advice,
        effect={
            "name": "share of changed classes",
            "value": row["flipped"] / images,
            "interval": [low, high],
        },
    )


def _prediction_finding(row: dict) -> Finding:
    low, high = row["auc_interval"]
    title, kind, advice = _WITHOUT_LESION[row["edit"]]
    return Finding(
        check=f"model: {row['edit']} ({row['policy']})",
        title=f"{title} ({row['policy']} names)",
        severity=auc_severity(kind, low),
        leakage_class="L2",
        summary=f"With {row['policy']} names and {row['edit']}: AUC {row['auc']:.3f} "
        f"[{low:.3f}, {high:.3f}], accuracy {row['accuracy']:.1%}.",
        advice=advice,
        effect={"name": "AUC", "value": row["auc"], "interval": [low, high]},
    )

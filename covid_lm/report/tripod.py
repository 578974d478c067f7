"""The items of TRIPOD+AI (Collins et al. 2024), and where a model card answers them."""

# Item of TRIPOD+AI, its topic, and the heading under which it is answered; None: nowhere.
TRIPOD_ITEMS = (
    ("1", "title", "Model details"),
    ("2", "abstract", "Quantitative analyses"),
    ("3", "background", "Intended use"),
    ("4", "objectives", "Intended use"),
    ("5", "data", "Training data"),
    ("6", "participants", "Training data"),
    ("7", "data preparation", "Model details"),
    ("8", "outcome", "Training data"),
    ("9", "predictors", "Model details"),
    ("10", "sample size", "Training data"),
    ("11", "missing data", "Evaluation data"),
    ("12", "analytical methods", "Metrics"),
    ("13", "class imbalance", "Training data"),
    ("14", "fairness", "Factors"),
    ("15", "model output", "Model details"),
    ("16", "training versus evaluation", "Evaluation data"),
    ("17", "ethical approval", "Ethical considerations"),
    ("18a", "funding", None),
    ("18b", "conflicts of interest", None),
    ("18c", "protocol", None),
    ("18d", "registration", None),
    ("18e", "data sharing", "Training data"),
    ("18f", "code sharing", "Model details"),
    ("19", "patient and public involvement", "Ethical considerations"),
    ("20", "participants (results)", "Training data"),
    ("21", "model development", "Training data"),
    ("22", "model specification", "Model details"),
    ("23", "model performance", "Quantitative analyses"),
    ("24", "model updating", "Caveats and recommendations"),
    ("25", "interpretation", "Caveats and recommendations"),
    ("26", "limitations", "Caveats and recommendations"),
    ("27", "usability in current care", "Intended use"),
)


def checklist() -> list[list[str]]:
    """Item, topic and heading as rows of text; "unknown" where the card has no answer."""
    return [[item, topic, heading or "unknown"] for item, topic, heading in TRIPOD_ITEMS]

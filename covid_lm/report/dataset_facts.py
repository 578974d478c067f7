"""What is known of each data set beside its files, for the model card; the rest is unknown."""

import dataclasses

from covid_lm.data import EMBEDDED

UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class DatasetFacts:
    """Attributes are sentences, or "unknown".

    Attributes:
        source: where the images come from, and who collected them.
        dates: when.
        participants: setting and eligibility.
        outcome: what the label is, and who decided it.
        split: who drew it, and how.
        leaks: what tells the label besides the picture, one sentence each.
    """

    source: str = UNKNOWN
    dates: str = UNKNOWN
    participants: str = UNKNOWN
    outcome: str = UNKNOWN
    split: str = UNKNOWN
    leaks: tuple[str, ...] = (
        "unknown: run `python tools/audit.py` on the data, which looks for what tells the label "
        "besides the picture.",
    )


_PHANTOM = DatasetFacts(
    source="drawn by this package from a seed: synthetic chest slices, no patient",
    dates="not applicable",
    participants="none: nobody was examined",
    outcome="decided by the program that drew the image",
    split="by synthetic patient",
    leaks=("none planted: free of leaks by construction.",),
)
_FACTS = {
    "covid_ct": DatasetFacts(
        source="COVID-CT (Yang et al. 2020, arXiv:2003.13865): figures cut from preprints and "
        "papers, and images of public teaching collections; not consecutive scans of a clinic",
        dates="COVID images: preprints of January to March 2020, as the data set's authors say; "
        "the others: unknown",
        participants="setting, centres, eligibility, age, sex and treatment: unknown",
        outcome="COVID-19 or not, as the figure's source says; how and when it was confirmed in "
        "each patient: unknown",
        split="the data set's official one",
        leaks=(
            "The length of the file name tells the class of all 203 test images (COVID 19-153 "
            "characters, the others 5-8). One [MASK] per character keeps that length.",
            "The first 64 bytes of the files tell 202 of 203; embedded metadata 202 of 203; "
            "format, mode and bit depth 161 of 203. Of a file's bytes only the decoded pixels "
            "reach the model.",
            "Compression traces of the decoded full-size pixels tell 126 of 203 (AUC 0.77 in "
            "cross-validation), mean and spread of intensity 148, the outer ring of pixels 135: "
            "part of this survives in the resized picture.",
            "34 COVID files named .png are JPEG (32 in the validation split, 2 in the test split).",
            "Two test images are near copies of images of another split with the opposite label "
            "(71%0.jpg = kjr-21-e24-p5-29.png, 71%1.jpg = kjr-21-e24-p5-31.png).",
            "One source, 2020.03.12.20034686-p17-91, lies in the training and in the test split.",
        ),
    ),
    **dict.fromkeys(EMBEDDED, _PHANTOM),
}


def dataset_facts(name: str | None) -> DatasetFacts:
    """The facts of a data set by its name; all unknown for one that isn't the package's own."""
    return _FACTS.get(name or "", DatasetFacts())

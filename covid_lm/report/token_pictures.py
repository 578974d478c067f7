"""Parts of an image that a token model can see, and the tokens that its answers are based on."""

from collections.abc import Sequence

import numpy as np

from covid_lm.data.records import encoded_filename
from covid_lm.evaluation.attribution import Attribution, IntegratedGradients
from covid_lm.evaluation.token_positions import TokenPositions, token_positions
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.models.token_classifier import TokenClassifier
from covid_lm.pipeline.decoded import DecodedRecords
from covid_lm.report.measures import answer_text, most_confident
from covid_lm.report.pictures import (
    AGAINST,
    FOR,
    attribution_picture,
    attribution_strength,
    png,
    rgb,
    seen_picture,
)

MAX_ATTRIBUTIONS = 4
_PLANES = {3: ("red", "green", "blue"), 1: ("luminance",)}


def seen_images(preprocessor: Preprocessor, images: DecodedRecords) -> list[dict]:
    """The images with the shortest and the longest name, each with the pixels that are read.

    Returns:
        One or two dicts: `filename`, the pictures `resized` and `drawn` as data URIs, and `text`.
    """
    lengths = [len(encoded_filename(record)) for record in images.records]
    chosen = [int(np.argmin(lengths))]
    if preprocessor.reads_filename and max(lengths) > min(lengths):
        chosen.append(int(np.argmax(lengths)))
    shown = []
    for k in chosen:
        positions = token_positions(preprocessor, encoded_filename(images.records[k]))
        drawn = seen_picture(images.pixels[k], positions.kept())
        shown.append({**_pictures(images, k, drawn), "text": kept_text(positions)})
    return shown


def _pictures(images: DecodedRecords, index: int, drawn: np.ndarray) -> dict:
    return {
        "filename": images.records[index].filename,
        "resized": png(rgb(images.pixels[index])),
        "drawn": png(drawn),
    }


def kept_text(positions: TokenPositions) -> str:
    """Number of values of each plane, and of positions of the name, that reach the model."""
    planes = zip(_PLANES[positions.planes[0]], positions.kept(), strict=True)
    parts = [f"{plane.sum()} of {plane.size} {name}" for name, plane in planes]
    return f"{', '.join(parts)} values; {np.sum(positions.name >= 0)} positions for the name"


def attributed_images(
    classifier: TokenClassifier, images: DecodedRecords, probabilities: np.ndarray
) -> list[dict]:
    """Integrated gradients over the worst mistakes and the most confident correct answers.

    Args:
        probabilities: of the images, float32 [images, classes].

    Returns:
        At most 4 dicts: `filename`, the pictures `resized` and `drawn` as data URIs, the lines
        `text` and `sums`, `characters` (`name_strip`) and `name_sum`, the name's attribution.
    """
    labels = images.labels
    worst = most_confident(probabilities, labels, False, MAX_ATTRIBUTIONS // 2)
    right = most_confident(probabilities, labels, True, MAX_ATTRIBUTIONS - len(worst))
    attribute = IntegratedGradients(classifier)
    return [_attributed(attribute, images, int(i), probabilities[i]) for i in (*worst, *right)]


def _attributed(
    attribute: IntegratedGradients, images: DecodedRecords, index: int, probabilities: np.ndarray
) -> dict:
    record, pixels = images.records[index], images.pixels[index]
    classifier = attribute.classifier
    preprocessor = classifier.preprocessor()
    alone = DecodedRecords(pixels[np.newaxis], (record,)).tokenize(preprocessor)
    attribution = attribute(alone.tokens, int(np.argmax(probabilities)))
    name = encoded_filename(record)
    positions = token_positions(preprocessor, name)
    scale = float(np.abs(attribution.words).max())
    values = positions.on_name(attribution.tokens)
    characters = name_characters(name, positions, preprocessor.file_name_input.policy)
    drawn = attribution_picture(pixels, positions.on_planes(attribution.words), scale)
    return {
        **_pictures(images, index, drawn),
        "text": answer_text(probabilities, record.label, classifier.config.classes),
        "sums": sums_text(attribution, positions),
        "characters": name_strip(characters, values, scale),
        "name_sum": f"{np.nansum(values):+.3f}",
    }


def sums_text(attribution: Attribution, positions: TokenPositions) -> str:
    """Contributions of image, name and special tokens to the margin, and the error of their sum."""
    kinds = (positions.from_image, positions.name >= 0, positions.special)
    image, name, special = (attribution.tokens[kind].sum() for kind in kinds)
    return (
        f"margin {attribution.margin:+.3f} = baseline {attribution.baseline_margin:+.3f}, "
        f"image {image:+.3f}, name {name:+.3f}, [SEP] {special:+.3f} "
        f"({attribution.points} points; error of the sum {attribution.error:.1e})"
    )


def name_characters(filename: bytes, positions: TokenPositions, policy: str) -> list[str]:
    """The characters that the model reads at each position of the name, or • for a [MASK]."""
    if policy != "visible":
        return ["•"] * positions.name_length
    last = filename[len(filename) - positions.name_length :]
    return [chr(code) if 32 <= code < 127 else "\ufffd" for code in last]


def name_strip(
    characters: Sequence[str], values: np.ndarray, scale: float
) -> list[tuple[str, str | None]]:
    """Each character with the CSS colour of its attribution, None if it was trimmed (NaN)."""
    strengths = attribution_strength(np.nan_to_num(values), scale).round(3).tolist()
    colours = [
        f"rgba{(*(FOR if value > 0 else AGAINST), strength)}"
        for value, strength in zip(values, strengths, strict=True)
    ]
    known = ~np.isnan(values)
    return [(c, x if k else None) for c, x, k in zip(characters, colours, known, strict=True)]

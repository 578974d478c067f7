"""What a model of tokens can see of an image, and on which tokens its answers rest."""

from collections.abc import Sequence

import numpy as np

from covid_lm.data.records import encoded_filename
from covid_lm.evaluation.attribution import Attribution, integrated_gradients
from covid_lm.evaluation.token_positions import TokenPositions, token_positions
from covid_lm.html_page import elided, escaped
from covid_lm.models.classifier import Classifier
from covid_lm.models.token_classifier import TokenClassifier
from covid_lm.pipeline.decoded import DecodedRecords
from covid_lm.report.measures import answer_text, surest_right, worst_mistakes
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
_NO_TOKENS = (
    "<p>This model reads whole pictures and no tokens: there are no dropped pixels to show and "
    "no tokens to attribute to.</p>"
)


def visible_section(classifier: Classifier, images: DecodedRecords) -> str:
    """The picture as the model gets it: with the shortest name of the split and the longest."""
    heading = '<h2 id="visible">What the model can see</h2>'
    if not isinstance(classifier, TokenClassifier):
        return heading + _NO_TOKENS
    preprocessor = classifier.preprocessor()
    lengths = [len(encoded_filename(record)) for record in images.records]
    chosen = [int(np.argmin(lengths))]
    if preprocessor.reads_filename and max(lengths) > min(lengths):
        chosen.append(int(np.argmax(lengths)))
    figures = []
    for index in chosen:
        record = images.records[index]
        positions = token_positions(preprocessor, encoded_filename(record))
        text = kept_text(positions)
        drawn = _pair(images.pixels[index], seen_picture(images.pixels[index], positions.kept()))
        figures.append(
            f"<li><figure>{drawn}<figcaption>{escaped(elided(record.filename))}<br/>{escaped(text)}"
            "</figcaption></figure></li>"
        )
    height, width = preprocessor.image_input.image_size
    room = " A longer name leaves less room for the picture." if len(chosen) > 1 else ""
    return (
        f'{heading}<p class="dim">Left: the image resized to {height}x{width}. Right: the channel '
        "values that are among the tokens, lit in their own colour; all others dark."
        f'{room}</p><ul class="gallery wide">{"".join(figures)}</ul>'
    )


def kept_text(positions: TokenPositions) -> str:
    """How many values of each plane, and positions of the name, reach the model."""
    kept = positions.kept()
    names = _PLANES[len(kept)]
    parts = [
        f"{plane.sum()} of {plane.size} {name}" for name, plane in zip(names, kept, strict=True)
    ]
    return f"{', '.join(parts)} values; {np.sum(positions.name >= 0)} positions for the name"


def attribution_section(
    classifier: Classifier, images: DecodedRecords, probabilities: np.ndarray
) -> str:
    """Integrated gradients drawn over the worst mistakes and the surest right answers."""
    heading = '<h2 id="attribution">What answers rest on</h2>'
    if not isinstance(classifier, TokenClassifier):
        return heading + _NO_TOKENS
    labels = np.array([record.label for record in images.records])
    worst = worst_mistakes(probabilities, labels, MAX_ATTRIBUTIONS // 2)
    chosen = [*worst, *surest_right(probabilities, labels, MAX_ATTRIBUTIONS - len(worst))]
    figures = [_attributed(classifier, images, int(i), probabilities[i]) for i in chosen]
    return (
        f'{heading}<p class="dim">Integrated gradients over token embeddings (Sundararajan et al. '
        "2017), from a baseline whose every token but [CLS] is [PAD] and in the first segment, so "
        "that the length of the name counts for the name. They add up to the change of the "
        "margin from the baseline to the image: the predicted class's logit less the mean of the "
        "other classes'. "
        f"{_legend(FOR, 'for the predicted class')} {_legend(AGAINST, 'against it')} "
        "Strength is the square root of the share of the image's largest value; channels are "
        "added up; the name stands below its picture, • for a [MASK], pale where it was trimmed. "
        "Shown: the worst mistakes, then the surest right answers.</p>"
        f'<ul class="gallery wide">{"".join(figures)}</ul>'
    )


def _legend(colour: tuple[int, int, int], text: str) -> str:
    return f'<span class="swatch" style="background: rgb{colour}"></span> {text}.'


def _attributed(
    classifier: TokenClassifier, images: DecodedRecords, index: int, probabilities: np.ndarray
) -> str:
    record, pixels = images.records[index], images.pixels[index]
    preprocessor = classifier.preprocessor()
    alone = DecodedRecords(pixels[np.newaxis], (record,)).tokenize(preprocessor)
    answer = int(np.argmax(probabilities))
    attribution = integrated_gradients(classifier, alone.tokens, answer)
    positions = token_positions(preprocessor, encoded_filename(record))
    scale = float(np.abs(attribution.tokens).max())
    overlay = attribution_picture(pixels, positions.on_planes(attribution.tokens), scale)
    text = answer_text(probabilities, record.label, classifier.config.classes)
    sums = sums_text(attribution, positions)
    shown = _name_strip(
        name_characters(encoded_filename(record), positions, preprocessor.file_name_input.policy),
        positions.on_name(attribution.tokens),
        scale,
    )
    return (
        f"<li><figure>{_pair(pixels, overlay)}{shown}<figcaption>"
        f"{escaped(elided(record.filename))}<br/>{escaped(text)}<br/>{escaped(sums)}"
        "</figcaption></figure></li>"
    )


def _pair(pixels: np.ndarray, drawn: np.ndarray) -> str:
    """The resized image and what is drawn of it, side by side; the caption tells the figures."""
    return (
        f'<div class="pair"><img class="pixels" alt="the resized image" src="{png(rgb(pixels))}"/>'
        f'<img class="pixels" alt="its values as described below" src="{png(drawn)}"/></div>'
    )


def sums_text(attribution: Attribution, positions: TokenPositions) -> str:
    """What picture, name and special tokens add to the margin, and how exact the sum is."""
    tokens = attribution.tokens
    picture = tokens[positions.pixels[:, 0] >= 0].sum()
    name = tokens[positions.name >= 0].sum()
    special = tokens[positions.special].sum()
    return (
        f"margin {attribution.margin:+.3f} = baseline {attribution.baseline_margin:+.3f}, "
        f"picture {picture:+.3f}, name {name:+.3f}, [SEP] {special:+.3f} "
        f"({attribution.points} points; the sum is off by {attribution.error:.1e})"
    )


def name_characters(filename: bytes, positions: TokenPositions, policy: str) -> list[str]:
    """What the model reads at each place of the name: its characters, or • for a [MASK]."""
    if policy != "visible":
        return ["•"] * positions.name_length
    last = filename[len(filename) - positions.name_length :]
    return [chr(code) if 32 <= code < 127 else "\ufffd" for code in last]


def _name_strip(characters: Sequence[str], values: np.ndarray, scale: float) -> str:
    if not characters:
        return ""
    strengths = attribution_strength(np.nan_to_num(values), scale)
    spans = []
    for character, value, strength in zip(characters, values, strengths, strict=True):
        if np.isnan(value):
            spans.append(f'<span class="trimmed">{escaped(character)}</span>')
            continue
        colour = (*(FOR if value > 0 else AGAINST), round(float(strength), 3))
        spans.append(f'<span style="border-color: rgba{colour}">{escaped(character)}</span>')
    return (
        f'<div class="name" role="img" aria-label="Attribution to the name: '
        f'{np.nansum(values):+.3f} over {len(characters)} places">{"".join(spans)}</div>'
    )

"""What a finished run's answers hang on: its predictions before and after edits of its input."""

import dataclasses
import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from covid_lm.audit.attribution import attribution_shares, mean_shares
from covid_lm.audit.features.observations import Observation
from covid_lm.audit.findings import Finding
from covid_lm.audit.intervals import bounded_area_interval, design_effect_interval
from covid_lm.audit.model import image_edits
from covid_lm.audit.model.model_findings import (
    BLANKED,
    BORDER,
    REENCODED,
    UNCHANGED,
    model_findings,
    model_lines,
)
from covid_lm.data.records import ImageDataset, ImageRecord, encoded_filename
from covid_lm.errors import InputError
from covid_lm.evaluation.statistics import areas_under_curve
from covid_lm.models.classifier import predict_tokens
from covid_lm.models.saving import load_classifier
from covid_lm.models.token_classifier import TokenClassifier
from covid_lm.serving.versions import resolve_model

MAX_IMAGES = 200
MAX_ATTRIBUTED = 32
BATCH_SIZE = 32


def _same(payload: bytes) -> bytes:
    return payload


@dataclasses.dataclass(frozen=True)
class Edit:
    """An edit of the input: of the image's bytes, and of the name.

    Attributes:
        name: what was done.
        image: from bytes to bytes.
        rename: "keep", "exchange" (each file gets another file's name) or "blank".
    """

    name: str
    image: Callable[[bytes], bytes] = _same
    rename: str = "keep"


EDITS = (
    Edit(UNCHANGED),
    Edit("names exchanged between files", rename="exchange"),
    Edit("name blanked", rename="blank"),
    Edit("metadata stripped", image_edits.without_metadata),
    Edit(REENCODED, image_edits.reencoded),
    Edit(BLANKED, image_edits.blanked),
    Edit(BORDER, image_edits.only_border),
    Edit("centre only", image_edits.only_centre),
)


def check_model(
    model: str,
    dataset: ImageDataset,
    observations: Sequence[Observation],
    progress: bool = False,
    seed: int = 0,
) -> tuple[dict, list[Finding]]:
    """Edits at most 200 test images in every way and compares the live model's answers.

    Each is shown under the run's test policy, and under its training policy where that is another
    one: a model that was trained on letters is not cleared by hiding them.

    Args:
        model: `saved_models/NAME[/VERSION]`.
        dataset: the data, of the model's classes.
        observations: of its readable files.
        seed: of the exchanged names and the bootstraps.

    Returns:
        Results (`model`, `images`, `rows`, `attribution`, `lines`) and findings.

    Raises:
        InputError: no such run, other classes, or too few readable test images.
    """
    classifier = load_classifier(_run_directory(model))
    if not isinstance(classifier, TokenClassifier):
        raise InputError(f"--model={model}: these checks are for models that read tokens")
    if dataset.classes != classifier.config.classes:
        raise InputError(
            f"--model={model}: its classes are {', '.join(classifier.config.classes)}, but the "
            f"data's are {', '.join(dataset.classes)}"
        )
    records = _choose([o.record for o in observations if o.record.split == "test"])
    if len(records) < 2:
        raise InputError(f"--model={model}: fewer than 2 readable test images to check it on")
    config = classifier.config
    policies = tuple(dict.fromkeys((config.test_policy, config.training_policy)))
    predictions = _predict_edits(classifier, records, policies, seed, progress)
    rows = [row for policy in policies for row in _rows(policy, predictions[policy], records, seed)]
    results = {
        "model": model,
        "protocol": config.protocol,
        "images": len(records),
        "rows": rows,
        "attribution": _attribution(classifier, records[:MAX_ATTRIBUTED], policies),
    }
    return {**results, "lines": model_lines(results)}, model_findings(results)


def _run_directory(model: str) -> str:
    own = os.path.join(model, "run")
    return own if os.path.isdir(own) else os.path.join(resolve_model(model)[0], "run")


def _choose(records: Sequence[ImageRecord]) -> list[ImageRecord]:
    """At most 200, spread evenly over the data set's order."""
    count = min(len(records), MAX_IMAGES)
    return [records[i * len(records) // count] for i in range(count)]


def edited_names(names: Sequence[bytes], rename: str, seed: int) -> list[bytes]:
    """The names after an edit; exchanged ones go round a seeded circle of the distinct names."""
    if rename == "blank":
        return [b""] * len(names)
    if rename == "keep":
        return list(names)
    distinct = sorted(set(names))
    order = np.random.default_rng(seed).permutation(len(distinct))
    following = {distinct[i]: distinct[j] for i, j in zip(order, np.roll(order, 1), strict=True)}
    return [following[name] for name in names]


def _tokens(
    classifier: TokenClassifier, policy: str, images: list[bytes], names: list[bytes]
) -> dict[str, tf.Tensor]:
    tokens = classifier.preprocessor(policy)(tf.constant(images), tf.constant(names))
    return {key: value for key, value in tokens.items() if key != "valid"}


def _predict_edits(
    classifier: TokenClassifier,
    records: Sequence[ImageRecord],
    policies: Sequence[str],
    seed: int,
    progress: bool,
) -> dict[str, dict[str, np.ndarray]]:
    """Probabilities, float32 [n, classes], by policy and edit; batch by batch, so little is held.

    Every edit of a batch has the batch's own size, so that equal input gives equal bits.
    """
    names = [encoded_filename(record) for record in records]
    renamed = {edit.name: edited_names(names, edit.rename, seed) for edit in EDITS}
    parts: dict[str, dict[str, list]] = {
        policy: {edit.name: [] for edit in EDITS} for policy in policies
    }
    starts = range(0, len(records), BATCH_SIZE)
    for start in tqdm.tqdm(starts, desc="checking the model", disable=not progress):
        batch = slice(start, start + BATCH_SIZE)
        payloads = [record.read() for record in records[batch]]
        for edit in EDITS:
            images = [edit.image(payload) for payload in payloads]
            for policy in policies:
                tokens = _tokens(classifier, policy, images, renamed[edit.name][batch])
                parts[policy][edit.name].append(predict_tokens(classifier, tokens, BATCH_SIZE))
    return {
        policy: {name: np.concatenate(part) for name, part in edits.items()}
        for policy, edits in parts.items()
    }


def _rows(
    policy: str,
    predictions: dict[str, np.ndarray],
    records: Sequence[ImageRecord],
    seed: int,
) -> list[dict]:
    """Figures of each edit under one policy; changes are against the unedited input."""
    labels = np.array([record.label for record in records])
    keys = [record.patient or record.path for record in records]
    groups = np.unique(keys, return_inverse=True)[1]
    before = predictions[UNCHANGED]
    rows = []
    for edit, after in predictions.items():
        flipped = before.argmax(axis=1) != after.argmax(axis=1)
        change = np.abs(before - after).sum(axis=1) / 2
        rows.append(
            {
                "policy": policy,
                "edit": edit,
                "identical": bool(np.array_equal(before, after)),
                "mean_change": float(change.mean()),
                "largest_change": float(change.max()),
                "flipped": int(flipped.sum()),
                "flipped_interval": list(design_effect_interval(flipped, groups)),
                "accuracy": float(np.mean(after.argmax(axis=1) == labels)),
                **_area(after, labels, groups, seed),
            }
        )
    return rows


def _area(probabilities: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int) -> dict:
    """The area under the curve with its interval over patients; None where a class is absent."""
    if len(np.unique(labels)) < probabilities.shape[1]:
        return {"auc": None, "auc_interval": None}
    if probabilities.shape[1] == 2:
        scores, indicators = probabilities[:, 1:], (labels == 1)[:, None]
    else:
        scores, indicators = probabilities, labels[:, None] == np.arange(probabilities.shape[1])
    interval = bounded_area_interval(scores, indicators, groups, np.random.default_rng(seed))
    return {"auc": float(areas_under_curve(scores, indicators)[0]), "auc_interval": list(interval)}


def _attribution(
    classifier: TokenClassifier, records: Sequence[ImageRecord], policies: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Mean share of each kind of token, by policy."""
    shares = {}
    for policy in policies:
        parts = []
        for record in records:
            tokens = _tokens(classifier, policy, [record.read()], [encoded_filename(record)])
            parts.append(attribution_shares(classifier, tokens))
        shares[policy] = mean_shares(parts)
    return shares

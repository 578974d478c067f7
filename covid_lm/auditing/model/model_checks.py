"""Checks on a trained model: its predictions before and after edits of its input."""

import math
import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from covid_lm.auditing.features.observations import Observation
from covid_lm.auditing.findings import Finding
from covid_lm.auditing.model import image_edits
from covid_lm.auditing.model.model_findings import (
    BLANKED,
    BORDER,
    MARKS,
    REENCODED,
    UNCHANGED,
    model_findings,
)
from covid_lm.data.records import ImageDataset, ImageRecord, encoded_filename
from covid_lm.data.splits import patient_groups
from covid_lm.errors import InputError
from covid_lm.evaluation.attribution import IntegratedGradients
from covid_lm.evaluation.statistics import (
    areas_under_curve,
    bounded_area_interval,
    design_effect_interval,
)
from covid_lm.evaluation.token_positions import token_positions
from covid_lm.models.classifier import predict_tokens
from covid_lm.models.saving import load_for_dataset
from covid_lm.models.token_classifier import TokenClassifier
from covid_lm.serving.versions import resolve_model

MAX_IMAGES = 200
MAX_ATTRIBUTED = 8
BATCH_SIZE = 32
SEED = 0  # of the exchanged names and the bootstraps
# Edits by name: the edit of the image file, and that of its name ("keep" it, "exchange" it for
# the name of another file, or "blank" it).
EDITS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    UNCHANGED: (bytes, "keep"),
    "names exchanged between files": (bytes, "exchange"),
    "name blanked": (bytes, "blank"),
    "metadata stripped": (image_edits.without_metadata, "keep"),
    REENCODED: (image_edits.reencoded, "keep"),
    MARKS: (image_edits.marks_removed, "keep"),
    BLANKED: (image_edits.blanked, "keep"),
    BORDER: (image_edits.only_border, "keep"),
    "centre only": (image_edits.only_centre, "keep"),
}


def check_model(
    model: str,
    dataset: ImageDataset,
    observations: Sequence[Observation],
    progress: bool = False,
) -> tuple[dict, list[Finding]]:
    """Applies every edit to at most 200 test images and compares the model's predictions.

    The images are tokenized with the model's test policy and, if it differs, with its training
    policy: a model trained with visible names is not cleared by masking them in the test.

    Args:
        model: `saved_models/NAME[/VERSION]`.
        dataset: a data set with the model's classes.
        observations: its readable files.
        progress: whether to show a progress bar on standard error.

    Returns:
        Results (`model`, `protocol`, `images`, `rows`, `attribution`) and findings.

    Raises:
        InputError: no such model, a model without tokens, other classes, or fewer than two
            readable test images.
    """
    own = os.path.join(model, "run")
    run = own if os.path.isdir(own) else os.path.join(resolve_model(model)[0], "run")
    classifier = load_for_dataset(run, dataset, f"--model={model}")
    if not isinstance(classifier, TokenClassifier):
        raise InputError(f"--model={model}: reads no tokens; only token models can be checked")
    config = classifier.config
    test = [o.record for o in observations if o.record.split == "test"]
    count = min(len(test), MAX_IMAGES)
    if count < 2:
        raise InputError(f"--model={model}: needs at least 2 readable test images")
    records = [test[i * len(test) // count] for i in range(count)]
    few = slice(None, None, math.ceil(count / MAX_ATTRIBUTED))
    policies = tuple(dict.fromkeys((config.test_policy, config.training_policy)))
    predictions = _predict_edits(classifier, records, policies, progress)
    results = {
        "model": model,
        "protocol": config.protocol,
        "images": count,
        "rows": _rows(predictions, records),
        "attribution": {
            p: attribution_shares(classifier, p, records[few], predictions[p, UNCHANGED][few])
            for p in policies
        },
    }
    return results, model_findings(results)


def edited_names(names: Sequence[bytes], rename: str, seed: int) -> list[bytes]:
    """Applies an edit to the names; exchanged names follow a random cycle of the distinct names."""
    if rename != "exchange":
        return [name if rename == "keep" else b"" for name in names]
    distinct = sorted(set(names))
    order = np.random.default_rng(seed).permutation(len(distinct))
    following = {distinct[i]: distinct[j] for i, j in zip(order, np.roll(order, 1), strict=True)}
    return [following[name] for name in names]


def _predict_edits(
    classifier: TokenClassifier,
    records: Sequence[ImageRecord],
    policies: Sequence[str],
    progress: bool,
) -> dict[tuple[str, str], np.ndarray]:
    """Probabilities, float32 [n, classes], by (policy, edit).

    Images are read and edited batch by batch to save memory. All edits of a batch have the same
    size, so that equal inputs give bit-identical outputs.
    """
    preprocessors = {policy: classifier.preprocessor(policy) for policy in policies}
    decode = preprocessors[policies[0]].decode  # the same for all policies
    names = [encoded_filename(record) for record in records]
    renamed = {edit: edited_names(names, rename, SEED) for edit, (_, rename) in EDITS.items()}
    parts: dict = {(policy, edit): [] for policy in policies for edit in EDITS}
    starts = range(0, len(records), BATCH_SIZE)
    for start in tqdm.tqdm(starts, desc="checking the model", disable=not progress):
        batch = slice(start, start + BATCH_SIZE)
        payloads = [record.read() for record in records[batch]]
        decoded = {
            image: decode(tf.constant([image(payload) for payload in payloads]))["pixels"]
            for image in {image for image, _ in EDITS.values()}
        }
        for (policy, edit), predicted in parts.items():
            names_of_edit = tf.constant(renamed[edit][batch])
            tokens = preprocessors[policy].tokenize(decoded[EDITS[edit][0]], names_of_edit)
            predicted.append(predict_tokens(classifier, tokens, BATCH_SIZE))
    return {key: np.concatenate(predicted) for key, predicted in parts.items()}


def _rows(
    predictions: dict[tuple[str, str], np.ndarray], records: Sequence[ImageRecord]
) -> list[dict]:
    """Figures of each policy and edit; changes are relative to the unchanged input."""
    labels = np.array([record.label for record in records])
    groups = patient_groups([record.patient for record in records])
    rows = []
    for (policy, edit), after in predictions.items():
        before = predictions[policy, UNCHANGED]
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
                **_area(after, labels, groups),
            }
        )
    return rows


def _area(probabilities: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> dict:
    """AUC and its interval over patients; None if a class has no image."""
    num_classes = probabilities.shape[1]
    if len(np.unique(labels)) < num_classes:
        return {"auc": None, "auc_interval": None}
    first = 1 if num_classes == 2 else 0  # of two classes, the second only
    scores = probabilities[:, first:]
    indicators = labels[:, None] == np.arange(first, num_classes)
    interval = bounded_area_interval(scores, indicators, groups, SEED)
    return {"auc": float(areas_under_curve(scores, indicators)[0]), "auc_interval": list(interval)}


def attribution_shares(
    classifier: TokenClassifier,
    policy: str,
    records: Sequence[ImageRecord],
    probabilities: np.ndarray,
) -> dict[str, float]:
    """Shares of the absolute integrated gradients by kind of token, averaged over the images.

    The gradients are those of the predicted class, at 8 points per image: enough for shares.

    Args:
        probabilities: predictions for the records, float [n, classes].

    Returns:
        Shares that add up to 1, of "image", "name" and "special" tokens ([CLS] and [SEP]).
    """
    preprocessor = classifier.preprocessor(policy)
    names = [encoded_filename(record) for record in records]
    tokens = preprocessor(tf.constant([record.read() for record in records]), tf.constant(names))
    attribute, rows = IntegratedGradients(classifier), []
    for i, (name, target) in enumerate(zip(names, probabilities.argmax(axis=1), strict=True)):
        alone = {key: tokens[key][i : i + 1] for key in classifier.input_keys}
        attribution = attribute(alone, int(target), tolerance=1.0)
        positions = token_positions(preprocessor, name)
        kinds = (positions.from_image, positions.name >= 0, positions.special)
        weights = np.abs(attribution.tokens)
        shares = np.array([weights[kind].sum() for kind in kinds])
        rows.append(shares / max(shares.sum(), 1e-30))
    return dict(zip(("image", "name", "special"), np.mean(rows, axis=0).tolist(), strict=True))

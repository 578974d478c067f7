"""Loss and metrics compared with an independent computation."""

import math

import numpy as np
import pytest

from covid_lm.layers.token_masking import IMAGE, NAME, UNUSED
from covid_lm.models.masked_lm_metrics import masked_token_loss, masked_token_metrics


def make_batch(rows, seed=0):
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, [rows, 4, 5]).astype(np.float32)
    words = generator.integers(0, 5, [rows, 4])
    kinds = generator.choice([UNUSED, IMAGE, IMAGE, NAME], [rows, 4])
    kinds[0, 0] = UNUSED
    return np.stack([words, kinds], axis=-1).astype(np.int32), logits


def by_hand(targets, logits):
    """(loss, is right, kind) of every used slot, in plain Python."""
    tokens = []
    for row in range(len(targets)):
        for slot in range(targets.shape[1]):
            word, kind = (int(x) for x in targets[row, slot])
            if kind == UNUSED:
                continue
            scores = [float(x) for x in logits[row, slot]]
            loss = math.log(sum(math.exp(x) for x in scores)) - scores[word]
            tokens.append((loss, max(scores) == scores[word], kind))
    return tokens


def test_loss_is_the_cross_entropy_of_every_slot():
    targets, logits = make_batch(rows=6)
    expected = [token[0] for token in by_hand(targets, logits)]
    assert 0 < len(expected) < 24
    used = targets[..., 1] != UNUSED
    # Keras passes targets to a loss as float32.
    for given in (targets, targets.astype(np.float32)):
        losses = np.asarray(masked_token_loss(given, logits))
        assert losses.shape == (6, 4)
        np.testing.assert_allclose(losses[used], expected, rtol=1e-6)


def test_metrics_count_every_token_of_unequal_batches():
    batches = [make_batch(rows=20, seed=1), make_batch(rows=7, seed=2)]
    metrics = {metric.name: metric for metric in masked_token_metrics()}
    for targets, logits in batches:
        for metric in metrics.values():
            metric.update_state(targets, logits)
    tokens = [token for batch in batches for token in by_hand(*batch)]

    def mean(values):
        values = list(values)
        return pytest.approx(sum(values) / len(values), rel=1e-6)

    figures = {name: float(metric.result()) for name, metric in metrics.items()}
    assert figures == {
        "cross_entropy": mean(loss for loss, _, _ in tokens),
        "accuracy": mean(right for _, right, _ in tokens),
        "image_accuracy": mean(right for _, right, kind in tokens if kind == IMAGE),
        "name_accuracy": mean(right for _, right, kind in tokens if kind == NAME),
    }
    assert 0 < figures["image_accuracy"] < 1

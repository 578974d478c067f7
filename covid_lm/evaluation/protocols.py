"""A model under every test policy that it can be given, the paper's beside the honest ones."""

import math

import keras
import numpy as np

from covid_lm.classifier import Classifier, ClassifierConfig
from covid_lm.data.tokens import DecodedRecords
from covid_lm.evaluation.metrics import classification_metrics
from covid_lm.layers.file_name_input import POLICIES


def test_policies(config: ClassifierConfig) -> dict[str, str]:
    """Row name to test policy; the run's own protocol first.

    A model trained on names, or on their lengths, is also tested under every other policy. One
    that was trained without (`fixed`, `absent`) has its own row only.
    """
    rows = {config.protocol: config.test_policy}
    if config.training_policy in ("visible", "masked"):
        rows |= {policy: policy for policy in POLICIES if policy != config.test_policy}
    return rows


def predict_tokens(classifier: Classifier, tokens: dict, batch_size: int = 32) -> np.ndarray:
    """Probabilities, float32 [n, classes], of tokenized images."""
    return predict_in_batches(classifier.core, tokens, batch_size)


def predict_in_batches(model: keras.Model, tokens: dict, batch_size: int) -> np.ndarray:
    """The model's outputs, [n, ...], for each of n inputs once, on however many devices.

    Several devices get whole batches with equal shares, for which the last one is filled up.

    Args:
        tokens: input name to array [n, ...].
    """
    count = len(next(iter(tokens.values())))
    replicas = model.distribute_strategy.num_replicas_in_sync
    if replicas > 1:
        batch_size = math.ceil(min(batch_size, count) / replicas) * replicas
        rows = np.resize(np.arange(count), math.ceil(count / batch_size) * batch_size)
        tokens = {key: value[rows] for key, value in tokens.items()}
    return model.predict(tokens, batch_size=batch_size, verbose=0)[:count]


def evaluate_protocols(
    classifier: Classifier, test: DecodedRecords
) -> tuple[dict[str, dict], np.ndarray]:
    """Metrics under every test policy.

    Returns:
        Row name to metrics, and the probabilities, float32 [n, classes], of the run's own protocol.
    """
    rows, own_probabilities = {}, None
    for name, policy in test_policies(classifier.config).items():
        split = test.tokenize(classifier.preprocessor(policy))
        probabilities = predict_tokens(classifier, split.tokens)
        if own_probabilities is None:
            own_probabilities = probabilities
        rows[name] = {
            "training_policy": classifier.config.training_policy,
            "test_policy": policy,
            **classification_metrics(probabilities, split.labels),
            "skipped": len(test.skipped),
        }
    return rows, own_probabilities

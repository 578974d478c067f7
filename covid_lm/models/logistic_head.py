"""A head fitted as a logistic regression on the vectors of an encoder that is left as it is."""

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from covid_lm.data.splits import class_groups, patient_groups

FOLDS = 10
INVERSE_PENALTIES = tuple(10.0**exponent for exponent in range(-5, 1))
_NEVER = -100.0  # logit of a class without an image, below any other's


def logistic_head(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    patients: Sequence[str | None],
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Fits a logistic regression on standardized features.

    Args:
        features: float [n, width].
        labels: int [n], of two classes at least.
        num_classes: of the data set. A class without a label gets a probability of 0.
        patients: of the images, None where unknown. `with_penalty` chooses the penalty by log loss.
        seed: of the folds.

    Returns:
        Kernel, float64 [width, num_classes], and bias, float64 [num_classes], of logits.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model = with_penalty(model, labels, patients, seed, log_likelihood)
    search = model.fit(features.astype(np.float64), labels)
    scaler, regression = getattr(search, "best_estimator_", search)
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(coefficients) == 1:  # two classes: one row, the difference of their logits
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    coefficients = coefficients / scaler.scale_
    kernel, bias = np.zeros((features.shape[1], num_classes)), np.full(num_classes, _NEVER)
    kernel[:, regression.classes_] = coefficients.T
    bias[regression.classes_] = intercepts - coefficients @ scaler.mean_
    return kernel, bias


def with_penalty(
    model: Pipeline,
    labels: np.ndarray,
    patients: Sequence[str | None],
    seed: int,
    scoring: str | Callable = "accuracy",
) -> Pipeline | GridSearchCV:
    """The model with a search for its penalty, if `penalty_folds` are possible.

    Without such folds it has scikit-learn's default penalty. `scoring` is scikit-learn's.
    """
    folds = penalty_folds(labels, patient_groups(patients), seed)
    if not folds:
        return model
    penalties = {"logisticregression__C": INVERSE_PENALTIES}
    return GridSearchCV(model, penalties, scoring=scoring, cv=folds, error_score="raise")


def log_likelihood(model: Pipeline, features: np.ndarray, labels: np.ndarray) -> float:
    """Mean log probability of the labels, which need not have all classes of the model.

    On few images it tells penalties apart that have the same accuracy. The AUC does, too, but it
    may choose a penalty under which all images get the more frequent class.
    """
    return -float(log_loss(labels, model.predict_proba(features), labels=model.classes_))


def penalty_folds(
    labels: np.ndarray, groups: np.ndarray, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """At most ten (fitted, held out) pairs of indices, with no group on both sides.

    Every class is among the fitted images. Empty if a class has a single group.

    Args:
        labels, groups: int [n].
    """
    present, labels = np.unique(labels, return_inverse=True)
    num_folds = min(FOLDS, *class_groups(labels, groups, len(present)))
    if num_folds < 2:
        return []
    folds = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    pairs = folds.split(labels, labels, groups)
    return [pair for pair in pairs if len(np.unique(labels[pair[0]])) == len(present)]

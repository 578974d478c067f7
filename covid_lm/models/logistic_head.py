"""A head fitted as a logistic regression on the vectors of an encoder that is left as it is."""

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.base import clone
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
    """Fits logistic regressions on standardized features, and averages them.

    Each of the `penalty_folds` has a vote for the penalty under which its held-out images are most
    likely. The head is the mean of the models, fitted on all images, of these penalties. On few
    images the penalty that is best over all folds is largely chance, and may be far too strong.

    Args:
        features: float [n, width].
        labels: int [n], of two classes at least.
        num_classes: of the data set. A class without a label gets a probability of 0.
        patients: of the images, None where unknown.
        seed: of the folds.

    Returns:
        Kernel, float64 [width, num_classes], and bias, float64 [num_classes], of logits.
    """
    features = features.astype(np.float64)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model = with_penalty(model, labels, patients, seed, log_likelihood).fit(features, labels)
    models = [model] if isinstance(model, Pipeline) else _voted(model, features, labels)
    kernels, biases = zip(*(_kernel_and_bias(model, num_classes) for model in models), strict=True)
    return np.mean(kernels, axis=0), np.mean(biases, axis=0)


def _voted(search: GridSearchCV, features: np.ndarray, labels: np.ndarray) -> list[Pipeline]:
    """For each fold of a search, the model with the penalty that is best there."""
    results = search.cv_results_
    scores = [results[f"split{fold}_test_score"] for fold in range(search.n_splits_)]
    votes = np.argmax(scores, axis=1).tolist()
    models = {vote: clone(search.estimator) for vote in votes}
    for vote, model in models.items():
        model.set_params(**results["params"][vote]).fit(features, labels)
    return [models[vote] for vote in votes]


def _kernel_and_bias(model: Pipeline, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of all classes as a function of the features before they are standardized."""
    scaler, regression = model
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(coefficients) == 1:  # two classes: one row, the difference of their logits
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    coefficients = coefficients / scaler.scale_
    kernel = np.zeros((coefficients.shape[1], num_classes))
    kernel[:, regression.classes_] = coefficients.T
    bias = np.full(num_classes, _NEVER)
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

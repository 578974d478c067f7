"""Bootstrap intervals: exact small cases, explicit resampling, clusters, seeds and memory."""

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from covid_lm.evaluation import statistics as intervals
from covid_lm.evaluation.metrics import classification_metrics

pytestmark = pytest.mark.filterwarnings("error")


def predictions(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Informative probabilities [n, 2], and labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    positive = 1 / (1 + np.exp(-rng.normal(labels - 0.5)))
    return np.stack([1 - positive, positive], axis=1), labels


def width(interval: list[float]) -> float:
    return interval[1] - interval[0]


def test_a_patient_s_images_are_drawn_together():
    # drawn twice each with probability 1/4: the accuracy is 1/1 or 1/3 in more than 2.5%
    correct, groups = np.array([True, True, False, False]), np.array([0, 1, 1, 1])
    interval, method = intervals.accuracy_interval(correct, groups)
    assert (interval, method) == (pytest.approx([1 / 3, 1]), "patient bootstrap")


def test_patients_of_one_image_are_a_binomial():
    correct = np.arange(400) < 300
    (low, high), _ = intervals.accuracy_interval(correct, np.arange(400))
    assert low == pytest.approx(stats.binom.ppf(0.025, 400, 0.75) / 400, abs=1.5 / 400)
    assert high == pytest.approx(stats.binom.ppf(0.975, 400, 0.75) / 400, abs=1.5 / 400)


@pytest.mark.parametrize("known", [False, True])
def test_areas_against_explicit_resamples(known):
    rng = np.random.default_rng(3)
    labels = rng.random(30) < 0.4
    scores = rng.integers(0, 6, 30).astype(float)  # with ties
    groups = np.arange(30) // 3 if known else np.arange(30)
    areas = []
    for counts in intervals.resampled_counts(int(groups.max()) + 1, seed=5):
        assert (counts.sum(axis=0) == groups.max() + 1).all()
        for column in counts.T.astype(int):
            drawn = np.repeat(np.arange(30), column[groups])
            above, below = scores[drawn][labels[drawn]], scores[drawn][~labels[drawn]]
            if len(above) and len(below):
                order = np.sign(above[:, None] - below[None])
                areas.append((order.mean() + 1) / 2)
    assert len(areas) > 1900
    interval, method = intervals.area_interval(
        scores[:, None], labels[:, None], groups if known else None, seed=5
    )
    assert interval == pytest.approx(list(np.percentile(areas, [2.5, 97.5])))
    assert method == ("patient bootstrap" if known else "image bootstrap")


def test_duplicated_images_only_narrow_the_bootstrap_over_images():
    probabilities, labels = predictions(100)
    once = classification_metrics(probabilities, labels, patients=[str(i) for i in range(100)])
    four_times = np.repeat(np.arange(100), 4)
    many, many_labels = probabilities[four_times], labels[four_times]
    naive = classification_metrics(many, many_labels, patients=[str(i) for i in range(400)])
    clustered = classification_metrics(many, many_labels, patients=four_times.astype(str).tolist())
    for key in ("ci95", "auc_ci95"):
        assert width(clustered[key]) == pytest.approx(width(once[key]))
        assert width(clustered[key]) > 1.7 * width(naive[key])
    assert clustered["num_patients"] == 100
    assert width(clustered["wilson95"]) == pytest.approx(width(naive["wilson95"]))


def test_the_seed_decides():
    probabilities, labels = predictions(60)
    scores, indicators, groups = probabilities[:, 1:], labels[:, None] == 1, np.arange(60) // 2
    correct = probabilities.argmax(axis=1) == labels
    again = [intervals.area_interval(scores, indicators, groups, seed) for seed in (1, 1, 2)]
    assert again[0] == again[1] != again[2]
    again = [next(iter(intervals.resampled_counts(5, seed=seed))).tolist() for seed in (1, 1, 2)]
    assert again[0] == again[1] != again[2]
    once, twice = (intervals.accuracy_interval(correct, groups) for _ in range(2))
    assert once == twice
    assert classification_metrics(probabilities, labels) == classification_metrics(
        probabilities, labels
    )


@pytest.mark.parametrize("reverse", [False, True])
def test_perfect_ranking_has_the_exact_bound_of_its_rarer_class(reverse):
    labels = np.arange(20) < 8
    scores = np.where(labels, 1.0, 0.0) * (-1 if reverse else 1)
    interval, method = intervals.area_interval(scores[:, None], labels[:, None], None)
    low, high = stats.binomtest(0 if reverse else 8, 8).proportion_ci(method="exact")
    assert (interval, method) == (pytest.approx([low, high]), "clopper-pearson")
    groups = np.where(labels, np.arange(20) % 2, np.arange(20))  # the 8 are 2 patients
    interval, _ = intervals.area_interval(scores[:, None], labels[:, None], groups)
    low, high = stats.binomtest(0 if reverse else 2, 2).proportion_ci(method="exact")
    assert interval == pytest.approx([low, high])


def test_no_area_without_both_classes_or_two_patients():
    scores = np.arange(4.0)[:, None]
    nothing = (None, None)
    assert intervals.area_interval(scores, np.ones((4, 1), bool), None) == nothing
    assert intervals.area_interval(scores, np.zeros((4, 1), bool), None) == nothing
    mixed = np.array([[True], [False], [True], [False]])
    assert intervals.area_interval(scores, mixed, np.zeros(4, int)) == nothing
    assert intervals.area_interval(scores[:0], mixed[:0], None) == nothing


def test_too_much_work_gives_no_interval():
    labels = np.arange(10_000) % 100
    indicators = labels[:, None] == np.arange(100)
    assert intervals.area_interval(indicators * 1.0, indicators, None) == (None, None)


def test_memory_does_not_hold_every_resample():
    probabilities, labels = predictions(10_000)
    tracemalloc.start()
    row = classification_metrics(probabilities, labels, patients=[f"{i}" for i in range(10_000)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert row["auc_ci95"][0] < row["auc"] < row["auc_ci95"][1]
    assert peak < 120e6  # all the draws together, 8 bytes each, are 160 million

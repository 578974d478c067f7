"""Design matrix, ridge, intervals, permutations and the probe itself."""

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from covid_lm.auditing.design_matrix import Features, binned, cut_points, design_matrix
from covid_lm.auditing.probes import Labels, permuted_labels, run_probe
from covid_lm.auditing.ridge import FoldRidge, RidgeFit, penalty
from covid_lm.evaluation.statistics import (
    areas_under_curve,
    bounded_area_interval,
    design_effect,
    design_effect_interval,
)


def target(labels, groups=None, is_test=None, num_classes=2) -> Labels:
    labels = np.asarray(labels)
    groups = np.arange(len(labels)) if groups is None else np.asarray(groups)
    is_test = np.zeros(len(labels), bool) if is_test is None else np.asarray(is_test)
    return Labels(labels, groups, is_test, num_classes)


def test_cut_points_keep_frequent_values_apart():
    assert cut_points(np.array([5.0] * 9)).tolist() == []
    assert cut_points(np.array([1.0, 1, 1, 3, 3, 3])).tolist() == [2]
    # 8 is frequent, so its bin ends before the first longer name.
    lengths = np.array([8.0] * 50 + list(range(19, 69)))
    assert 13.5 in cut_points(lengths)


def random_column(rng: np.random.Generator) -> np.ndarray:
    """4 to 60 values with ties, among them neighbours that differ by one rounding step or two."""
    scale = 10.0 ** rng.integers(-300, 308)
    values = rng.integers(0, rng.integers(2, 9), rng.integers(4, 61)) * scale
    for _ in range(rng.integers(0, 3)):
        chosen = rng.random(len(values)) < 0.4
        values[chosen] = np.nextafter(values[chosen], rng.choice([-np.inf, np.inf]))
    return values * rng.choice([-1, 1])


def test_every_bin_holds_a_value_whatever_the_rounding():
    rng = np.random.default_rng(0)
    for _ in range(1000):
        values = random_column(rng)
        cuts, columns = cut_points(values), binned("x", values)
        assert len(columns) == max(2 * len(cuts) - 1, 0)
        above = np.array([column for _, column in columns[: len(cuts)]]).sum(axis=0, dtype=int)
        bins = [above == k for k in range(len(cuts) + 1)]
        assert all(inside.any() for inside in bins)
        for (name, column), inside in zip(columns[len(cuts) :], bins[1:-1], strict=True):
            assert column.tolist() == inside.tolist(), name


def test_design_matrix_of_numbers_and_facts():
    features = Features(
        {"length": np.array([1.0, 1, 1, 5, 5, 9])},
        [("a", "b"), ("a", "b"), ("a", "b", "c"), ("c",), ("c",), ("d",)],
    )
    matrix = design_matrix(features, 6)
    # "a" and "b" equal "length above 3", and "d" holds for fewer than 3 files.
    assert matrix.names == ("length above 3", "length above 7", "length is 5", "c")
    assert matrix.columns.T.tolist() == [
        [0, 0, 0, 1, 1, 1],
        [0, 0, 0, 0, 0, 1],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 1, 1, 1, 0],
    ]


@pytest.mark.parametrize("shape", [(60, 5), (30, 50)])
def test_ridge_equals_scikit_learn(shape):
    rng = np.random.default_rng(0)
    columns = (rng.random(shape) < 0.4).astype(np.float32)
    targets = rng.random((shape[0], 3)).astype(np.float32)
    new = (rng.random((7, shape[1])) < 0.4).astype(np.float32)
    expected = Ridge(alpha=penalty(shape[0])).fit(columns, targets).predict(new)
    ours = RidgeFit(columns).predict(targets, new) + targets.mean(axis=0)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_fold_ridge_predicts_every_file_from_the_others():
    rng = np.random.default_rng(0)
    columns = rng.random((20, 3)).astype(np.float32)
    targets = rng.random((20, 1)).astype(np.float32)
    folds = np.arange(20) % 4
    predictions, scores = FoldRidge(columns, folds).predict(targets)
    inside = folds == 2
    model = Ridge(alpha=penalty(15)).fit(columns[~inside], targets[~inside])
    np.testing.assert_allclose(
        predictions[inside].ravel(), model.predict(columns[inside]).ravel(), atol=1e-5
    )
    np.testing.assert_allclose((predictions - scores)[inside], targets[~inside].mean(), atol=1e-6)


def test_weighted_areas_are_those_of_repeated_files():
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 5, 30).astype(float)  # with ties
    labels = np.arange(30) % 2 == 0
    weights = rng.integers(0, 3, (30, 2))
    areas = areas_under_curve(scores[:, None], labels[:, None], weights)
    for column in range(2):
        repeated = np.repeat(np.arange(30), weights[:, column])
        assert areas[column] == pytest.approx(roc_auc_score(labels[repeated], scores[repeated]))


def test_area_interval_of_a_perfect_score():
    labels = np.arange(20) < 10
    low, high = bounded_area_interval(
        labels[:, None] * 1.0, labels[:, None], np.arange(20), np.random.default_rng(0)
    )
    exact = stats.binomtest(10, 10).proportion_ci(method="exact").low
    assert (low, high) == (pytest.approx(exact), 1)


def test_accuracy_interval_widens_with_clusters():
    correct = np.repeat([1, 0, 1, 1, 0, 1, 1, 1], 5).astype(bool)
    single = design_effect_interval(correct, np.arange(40))
    wilson = stats.binomtest(30, 40).proportion_ci(method="wilson")
    assert single == (pytest.approx(wilson.low), pytest.approx(wilson.high))
    groups = np.repeat(np.arange(8), 5)
    assert design_effect(correct, groups) == pytest.approx(5)
    wilson = stats.binomtest(6, 8).proportion_ci(method="wilson")
    clustered = design_effect_interval(correct, groups)
    assert clustered == (pytest.approx(wilson.low), pytest.approx(wilson.high))
    assert design_effect_interval(np.ones(40, bool), groups) == (
        pytest.approx(stats.binomtest(8, 8).proportion_ci(method="wilson").low),
        1,
    )


def test_labels_are_permuted_by_whole_groups():
    labels = np.array([0, 0, 1, 1, 1, 0, 1])
    groups = np.array([0, 0, 1, 1, 2, 3, 3])  # the last has both labels
    permuted = permuted_labels(labels, groups, 200, np.random.default_rng(0))
    assert np.all(permuted[0] == permuted[1])
    assert np.all(permuted[2] == permuted[3])
    assert np.all(permuted[5] + permuted[6] == 1)
    assert np.all(permuted[0] + permuted[2] + permuted[4] == 2)
    assert len({tuple(column) for column in permuted.T}) == 6


def test_a_perfect_feature_is_found():
    labels = np.arange(80) % 2
    is_test = np.arange(80) >= 60
    result = run_probe(Features({"length": labels * 6.0 + 12}), target(labels, None, is_test))
    assert (result.score.accuracy, result.score.auc, result.score.majority) == (1, 1, 0.5)
    assert (result.test.correct, result.test.n) == (20, 20)
    # Doubled for two tails, and for the permutation test that is made, too.
    exact = stats.fisher_exact([[40, 0], [0, 40]], "greater").pvalue
    assert result.p_value == pytest.approx(2 * 2 * exact)
    assert (result.marker_p_value, result.permutations) == (result.p_value / 2, 99)
    assert result.markers[0].text == "length above 15"
    assert result.markers[0].class_shares == (0, 1)


def test_rate_of_small_p_values_without_an_effect():
    rng = np.random.default_rng(3)
    p_values = []
    for seed in range(60):
        labels = np.repeat(np.arange(30) % 2, 3)  # thirty patients of three images
        values = np.repeat(rng.random(30), 3) + 0.01 * rng.random(90)
        drawn = Labels(labels, np.repeat(np.arange(30), 3), np.zeros(90, bool), 2, seed)
        p_values.append(run_probe(Features({"x": values}), drawn, 99).p_value)
    # If images were taken as independent, most p-values would be below 0.05.
    assert np.mean(np.array(p_values) <= 0.05) <= 0.1


def test_three_classes_and_a_rare_marker():
    labels = np.arange(150) % 3
    facts = [("marked",) if label == 2 and i < 60 else () for i, label in enumerate(labels)]
    result = run_probe(Features(facts=facts), target(labels, num_classes=3))
    assert result.p_value < 0.01
    assert result.markers[0].class_shares == (0, 0, 0.4)
    assert result.score.majority == pytest.approx(1 / 3)


def test_constant_features_are_not_probed():
    assert run_probe(Features({"length": np.full(40, 3.0)}), target(np.arange(40) % 2)) is None


def test_equal_seeds_give_equal_results():
    features = Features({"x": np.random.default_rng(0).random(60)})
    labels = target(np.arange(60) % 2)
    assert run_probe(features, labels, 99) == run_probe(features, labels, 99)

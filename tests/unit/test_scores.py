"""Scores from merged sums equal scikit-learn's from all rows."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics

from gradloom.scores import classification_scores, classification_sums, regression_scores, regression_sums
from gradloom.tensors import sum_tensors

CUTS = [0, 1, 1, 400, 1000]
"""Ends of five parts, one of them empty."""


def rows(
    classes: int, weighted: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64] | None]:
    rng = np.random.default_rng(classes)
    y = rng.integers(0, classes, 1500)
    z = rng.standard_normal((1500, classes)) + 1.5 * np.eye(classes)[y]
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    return y, p, rng.uniform(0, 2, 1500) if weighted else None


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("weighted", [False, True])
def test_classification(classes: int, weighted: bool) -> None:
    y, p, weight = rows(classes, weighted)
    pieces = [
        classification_sums(y[a:b], p[a:b], None if weight is None else weight[a:b])
        for a, b in zip([0, *CUTS], [*CUTS, 1500], strict=True)
    ]
    total = pieces[0]
    for piece in pieces[1:]:
        total = sum_tensors(total, piece)
    scores = classification_scores(total)
    assert scores["accuracy"] == pytest.approx(
        metrics.accuracy_score(y, p.argmax(1), sample_weight=weight), abs=1e-9
    )
    assert scores["log_loss"] == pytest.approx(metrics.log_loss(y, p, sample_weight=weight), abs=1e-9)
    if classes == 2:
        bins_p, bins_n = total["positive"], total["negative"]
        bound = float(bins_p @ bins_n) / (2 * bins_p.sum() * bins_n.sum())
        exact = metrics.roc_auc_score(y, p[:, 1], sample_weight=weight)
        assert abs(scores["roc_auc"] - exact) <= bound < 1e-3
    else:
        assert "roc_auc" not in scores


def test_probabilities_of_zero_and_one() -> None:
    p = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    y = np.array([0, 1, 1])
    scores = classification_scores(classification_sums(y, p))
    assert scores["log_loss"] == pytest.approx(metrics.log_loss(y, p), abs=1e-9)
    assert scores["roc_auc"] == metrics.roc_auc_score(y, p[:, 1])


def test_one_class_has_no_area_under_the_curve() -> None:
    scores = classification_scores(classification_sums(np.array([1, 1]), np.array([[0.2, 0.8], [0.6, 0.4]])))
    assert scores.keys() == {"accuracy", "log_loss"}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_regression(weighted: bool, offset: float) -> None:
    rng = np.random.default_rng(5)
    y = offset + rng.standard_normal(1500)
    predicted = y + 0.3 * rng.standard_normal(1500)
    weight = rng.uniform(0, 2, 1500) if weighted else None
    total = regression_sums(y[:0], predicted[:0], None, offset)
    for a, b in ((0, 1), (1, 700), (700, 1500)):
        part = regression_sums(y[a:b], predicted[a:b], None if weight is None else weight[a:b], offset)
        total = sum_tensors(total, part)
    scores = regression_scores(total)
    assert scores["r2"] == pytest.approx(metrics.r2_score(y, predicted, sample_weight=weight), abs=1e-9)
    rmse = metrics.root_mean_squared_error(y, predicted, sample_weight=weight)
    assert scores["rmse"] == pytest.approx(rmse, abs=1e-9)
    assert scores["mae"] == pytest.approx(
        metrics.mean_absolute_error(y, predicted, sample_weight=weight), abs=1e-9
    )


@pytest.mark.parametrize(("predicted", "r2"), [([2.0, 2.0], 1.0), ([2.0, 3.0], 0.0)])
def test_a_target_that_never_varies(predicted: list[float], r2: float) -> None:
    y = np.array([2.0, 2.0])
    assert (
        regression_scores(regression_sums(y, np.array(predicted)))["r2"]
        == r2
        == metrics.r2_score(y, predicted)
    )


def test_no_rows_have_no_scores() -> None:
    assert regression_scores(regression_sums(np.zeros(0), np.zeros(0))) == {}
    assert classification_scores(classification_sums(np.zeros(0, np.int64), np.zeros((0, 2)))) == {}

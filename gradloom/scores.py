"""Scores of held-out rows, as sums that merge with ``sum_tensors`` and are divided once at the end.

Every sum is float64. Nothing here knows of models: it takes true and predicted values.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.tensors import Tensors

AUC_BINS = 4096


def classification_sums(
    y: NDArray[Any], probabilities: NDArray[Any], weight: NDArray[np.float64] | None = None
) -> Tensors:
    """Sums for accuracy, log loss and, with two classes, the area under the ROC curve.

    y (n,) int64 class index, probabilities (n, K) of the classes, weight (n,) or None = 1 each.
    Two classes add two histograms (4096,) of the probability of class 1: the weight of each class in each bin.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    s = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
    # The clip is scikit-learn's: a wrong answer given with certainty costs 36 nats, not infinitely many.
    at_label = np.clip(p[np.arange(len(y)), y], np.finfo(np.float64).eps, 1.0)
    sums = {
        "weight": s.sum(),
        "correct": s[p.argmax(axis=1) == y].sum() if len(y) else np.float64(0.0),
        "log_loss": -np.dot(s, np.log(at_label)),
    }
    if p.shape[1] == 2:
        bins = np.minimum((p[:, 1] * AUC_BINS).astype(np.int64), AUC_BINS - 1)
        for name, label in (("negative", 0), ("positive", 1)):
            sums[name] = np.bincount(bins[y == label], s[y == label], AUC_BINS)
    return {name: np.asarray(value, dtype=np.float64) for name, value in sums.items()}


def classification_scores(total: Tensors) -> dict[str, float]:
    """``accuracy``, ``log_loss`` (nats) and, with two classes, ``roc_auc``; {} without rows.

    roc_auc counts pairs in one bin as half right: with p_b and q_b the weights of the classes in bin b, and P and
    Q their sums, it is off by at most sum_b p_b q_b / (2 P Q). It is left out while one class has no rows.
    """
    weight = float(total["weight"])
    if weight == 0:
        return {}
    scores = {"accuracy": float(total["correct"]) / weight, "log_loss": float(total["log_loss"]) / weight}
    if "positive" in total:
        positive, negative = total["positive"], total["negative"]
        pairs = float(positive.sum() * negative.sum())
        below = np.cumsum(negative) - negative
        if pairs > 0:
            scores["roc_auc"] = float(np.dot(positive, below + 0.5 * negative)) / pairs
    return scores


def regression_sums(
    y: NDArray[Any], predicted: NDArray[Any], weight: NDArray[np.float64] | None = None, center: float = 0.0
) -> Tensors:
    """Sums for R^2, root mean squared error and mean absolute error.

    y and predicted (n,), weight (n,) or None = 1 each. ``center`` is subtracted from y before it is squared; it
    must be the same for all rows, and near their mean, or R^2 loses digits where y is large and varies little.
    """
    error = np.asarray(predicted, dtype=np.float64) - y
    s = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
    centered = np.asarray(y, dtype=np.float64) - center
    sums = {
        "weight": s.sum(),
        "squared_error": np.dot(s, error**2),
        "absolute_error": np.dot(s, np.abs(error)),
        "y": np.dot(s, centered),
        "y_squared": np.dot(s, centered**2),
    }
    return {name: np.asarray(value, dtype=np.float64) for name, value in sums.items()}


def regression_scores(total: Tensors) -> dict[str, float]:
    """``r2``, ``rmse`` and ``mae`` (both in units of y); {} without rows.

    R^2 of a target that never varies is 1 for a perfect prediction and 0 for any other.
    """
    weight = float(total["weight"])
    if weight == 0:
        return {}
    squared = float(total["squared_error"])
    variation = max(0.0, float(total["y_squared"]) - float(total["y"]) ** 2 / weight)
    r2 = 1.0 - squared / variation if variation > 0 else float(squared == 0)
    return {"r2": r2, "rmse": (squared / weight) ** 0.5, "mae": float(total["absolute_error"]) / weight}

"""Gaussian naive Bayes: within a class, every column is normally distributed by itself.

    round 1   W_k = sum w,  m_k = sum w x / W_k                over the rows of class k
    round 2   v_k = sum w (x - m_k)^2 / W_k + epsilon,         epsilon = var_smoothing * max_j variance of column j

Two passes: squares are summed around the mean that they belong to, so that no digit is lost. As in scikit-learn the
variance of a column leaves sample weights out, those of a class do not.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gradloom.algorithms.algorithm import Needs, Progress, WholeRounds
from gradloom.algorithms.naive_bayes_priors import check_priors, log_priors
from gradloom.algorithms.naive_bayes_settings import GaussianSettings
from gradloom.data.shard import Rows, Shard
from gradloom.models import Model, NaiveBayes
from gradloom.models.naive_bayes import log_likelihoods, normalised
from gradloom.saved import Saved, restore_value, save_value
from gradloom.schema import Schema
from gradloom.scores import classification_scores, classification_sums
from gradloom.tensors import Tensors, sum_tensors

Vector = NDArray[np.float64]
BLOCK_BYTES = 1 << 19
LEAST_VARIANCE = 1e-200
"""So small that a row beside the mean is out of question, so large that its square over it is a number."""


@dataclass(frozen=True, slots=True, eq=False)
class GaussianState:
    """Where the training stands; on centred columns."""

    schema: Schema
    round: int = 0
    weight: Vector | None = None
    """(K,) of the classes."""
    means: Vector | None = None
    """(K, d)"""
    variances: Vector | None = None
    """(K, d), epsilon included; those of all rows together before the second round."""
    epsilon: float = 0.0


@dataclass(frozen=True, slots=True)
class GaussianNaiveBayes(WholeRounds):
    """Gaussian naive Bayes with its settings; a value that coordinator and workers build alike."""

    settings: GaussianSettings
    name: str = "gaussian_nb"
    version: int = 1

    @property
    def needs(self) -> Needs:
        """Two or more classes; centred columns."""
        return Needs("multiclass", self.settings.dtype, standardize=False, center=True)

    # --- the loop ------------------------------------------------------------------------------------------------

    def start(self, schema: Schema) -> GaussianState:
        """Nothing is known. Raises InvalidInput if the priors are not one a class."""
        check_priors(self.settings, schema)
        return GaussianState(schema)

    def broadcast(self, state: GaussianState) -> Tensors:
        """classes () int64; in the second round means (K, d) float64."""
        classes = {"classes": np.asarray(state.schema.n_classes, dtype=np.int64)}
        return classes if state.means is None else {**classes, "means": state.means}

    def map(self, shard: Shard, message: Tensors) -> Tensors:
        """Float64 sums over the train rows of each class: weight (K,), sum (K, d); over all of them rows (),
        column_sum, column_squares (d,). In the second round squares (K, d), around the means.
        """
        rows, k = shard.train, int(message["classes"])
        return _sums(rows, k) if "means" not in message else _squares(rows, message["means"])

    merge = staticmethod(sum_tensors)

    def update(self, state: GaussianState, total: Tensors) -> GaussianState:
        """The means, then the variances."""
        after = replace(state, round=state.round + 1)
        if state.means is None:
            weight = total["weight"]
            mean, square = total["column_sum"] / total["rows"], total["column_squares"] / total["rows"]
            spread = np.maximum(square - mean**2, 0.0)  # the columns are centred: nothing cancels
            epsilon = self.settings.var_smoothing * float(spread.max())
            means = total["sum"] / _or_one(weight)[:, np.newaxis]
            variances = _positive(np.tile(spread, (len(weight), 1)) + epsilon)
            return replace(after, weight=weight, means=means, variances=variances, epsilon=epsilon)
        assert state.weight is not None
        variances = total["squares"] / _or_one(state.weight)[:, np.newaxis] + state.epsilon
        return replace(after, variances=_positive(variances))

    def save(self, state: GaussianState) -> Saved:
        """All but the schema."""
        return save_value(state, "schema")

    def restore(self, schema: Schema, saved: Saved) -> GaussianState:
        """The state that was saved."""
        return restore_value(GaussianState, saved, schema=schema)

    def done(self, state: GaussianState) -> str | None:
        """After two rounds."""
        return "means and variances are known" if state.round >= 2 else None

    def finish(self, state: GaussianState) -> Model:
        """The model on raw columns."""
        schema, arrays = state.schema, self.solution(state)
        return NaiveBayes(
            algorithm=self.name,
            version=self.version,
            features=schema.features,
            target=schema.target,
            classes=schema.classes,
            log_priors=arrays["log_priors"],
            class_weights=np.zeros(schema.n_classes) if state.weight is None else state.weight,
            means=arrays["means"] + np.asarray(schema.preparation.center),
            variances=arrays["variances"],
            settings=self.settings.model_dump(),
            metadata={
                "train_rows": schema.train_rows,
                "train_weight": schema.train_weight,
                "rounds": state.round,
                "epsilon": state.epsilon,
                "stopped": self.done(state) or "stopped early",
            },
        )

    def progress(self, state: GaussianState) -> Progress:
        """Rounds."""
        return Progress(iteration=state.round, max_iterations=2)

    # --- held-out rows -------------------------------------------------------------------------------------------

    def solution(self, state: GaussianState) -> Tensors:
        """log_priors (K,), means and variances (K, d) on centred columns."""
        shape = (state.schema.n_classes, state.schema.n_features)
        return {
            "log_priors": log_priors(self.settings, state.weight, shape[0]),
            "means": np.zeros(shape) if state.means is None else state.means,
            "variances": np.ones(shape) if state.variances is None else state.variances,
        }

    def assess(self, rows: Rows, solution: Tensors) -> Tensors:
        """Metric sums; see ``gradloom.scores``."""
        probabilities = np.exp(normalised(log_likelihoods(rows.X, solution)))
        return classification_sums(rows.y, probabilities, rows.weight)

    def scores(self, total: Tensors) -> dict[str, float]:
        """accuracy, log_loss and, with two classes, roc_auc."""
        return classification_scores(total)


def _sums(rows: Rows, k: int) -> Tensors:
    d = rows.X.shape[1]
    weight, total = np.zeros(k), np.zeros((k, d))
    column_sum, column_squares = np.zeros(d), np.zeros(d)
    for block in _blocks(rows):
        X, y, s = _block(rows, block)
        weight += np.bincount(y, s, k)
        for label in np.unique(y):
            chosen = y == label
            total[label] += s[chosen] @ X[chosen]
        column_sum += X.sum(axis=0)
        column_squares += np.square(X).sum(axis=0)
    return {
        "weight": weight,
        "sum": total,
        "rows": np.asarray(float(len(rows))),
        "column_sum": column_sum,
        "column_squares": column_squares,
    }


def _squares(rows: Rows, means: Vector) -> Tensors:
    squares = np.zeros(means.shape)
    for block in _blocks(rows):
        X, y, s = _block(rows, block)
        for label in np.unique(y):
            chosen = y == label
            squares[label] += s[chosen] @ np.square(X[chosen] - means[label])
    return {"squares": squares}


def _blocks(rows: Rows) -> list[slice]:
    """Ranges of rows that stay in the cache."""
    step = max(64, BLOCK_BYTES // (8 * rows.X.shape[1]))
    return [slice(start, start + step) for start in range(0, len(rows), step)]


def _block(rows: Rows, block: slice) -> tuple[Vector, NDArray[np.int64], Vector]:
    X = rows.X[block].astype(np.float64, copy=False)
    return X, rows.y[block], np.ones(len(X)) if rows.weight is None else rows.weight[block]


def _or_one(weight: Vector) -> Vector:
    return np.where(weight > 0, weight, 1.0)


def _positive(variances: Vector) -> Vector:
    """A constant column of a class has the variance 0 without smoothing, which nothing can be divided by."""
    return np.maximum(variances, LEAST_VARIANCE)

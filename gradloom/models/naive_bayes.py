"""Naive Bayes: columns that are independent within a class, normally distributed or counts of events."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gradloom.errors import InvalidInput
from gradloom.models.model import Floats, Model, label_array, sklearn_module
from gradloom.tensors import Tensors

ROWS_AT_ONCE = 16_384


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class NaiveBayes(Model):
    """Log-likelihoods of classes, and the class of the largest: see ``log_likelihoods``.

    A Gaussian model has means and variances, a multinomial one log-probabilities.
    """

    kind: ClassVar[str] = "naive_bayes"

    log_priors: Floats  # (K,); -inf for a class that no train row has
    class_weights: Floats  # (K,): of the train rows of each class
    means: Floats | None = None  # (K, d)
    variances: Floats | None = None  # (K, d)
    log_probabilities: Floats | None = None  # (K, d)
    counts: Floats | None = None  # (K, d): weighted sums of the columns, of a multinomial model

    @property
    def arrays(self) -> Tensors:
        """log_priors and class_weights, and means and variances, or log_probabilities and counts."""
        given = {
            "log_priors": self.log_priors,
            "class_weights": self.class_weights,
            "means": self.means,
            "variances": self.variances,
            "log_probabilities": self.log_probabilities,
            "counts": self.counts,
        }
        return {name: array for name, array in given.items() if array is not None}

    def check_arrays(self) -> None:
        """A row a class and a column a feature; either a Gaussian model or a multinomial one."""
        k = len(self.classes or ())
        gaussian = self.means is not None and self.variances is not None
        if gaussian == (self.log_probabilities is not None):
            raise ValueError("a model needs means and variances, or log_probabilities")
        for name, array in self.arrays.items():
            expected = (k,) if name in ("log_priors", "class_weights") else (k, len(self.features))
            if array.shape != expected:
                raise ValueError(f"{name} of shape {array.shape}, not {expected}")

    def predict_log_proba(self, X: object) -> Floats:
        """Log-probability of each class, (n, K). Raises InvalidInput."""
        z = self._joint(X)
        return normalised(z)

    def predict_proba(self, X: object) -> Floats:
        """Probability of each class in the order of ``classes``; (n, K). Raises InvalidInput."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: object) -> NDArray[Any]:
        """The most probable class as it is written in the data; shape (n,). Raises InvalidInput."""
        assert self.classes is not None
        predicted: NDArray[Any] = label_array(self.classes)[self._joint(X).argmax(axis=1)]
        return predicted

    def to_sklearn(self) -> Any:
        """A fitted GaussianNB or MultinomialNB with these parameters. Raises InvalidInput without scikit-learn."""
        naive_bayes = sklearn_module("naive_bayes")
        assert self.classes is not None
        if self.means is not None and self.variances is not None:
            estimator = naive_bayes.GaussianNB(var_smoothing=float(self.settings.get("var_smoothing") or 0.0))
            estimator.theta_, estimator.var_ = self.means.copy(), self.variances.copy()
            estimator.class_prior_ = np.exp(self.log_priors)
            estimator.class_count_ = self.class_weights.copy()
            estimator.epsilon_ = float(self.metadata.get("epsilon") or 0.0)
        else:
            estimator = naive_bayes.MultinomialNB(alpha=float(self.settings.get("alpha") or 0.0))
            estimator.feature_log_prob_ = self.log_probabilities
            estimator.class_log_prior_ = self.log_priors.copy()
            estimator.class_count_ = self.class_weights.copy()
            if self.counts is not None:
                estimator.feature_count_ = self.counts.copy()
        estimator.classes_ = label_array(self.classes)
        estimator.n_features_in_ = len(self.features)
        estimator.feature_names_in_ = np.asarray(self.features, dtype=object)
        return estimator

    def _joint(self, X: object) -> Floats:
        rows = self.checked(X)
        with np.errstate(over="ignore", invalid="ignore"):
            self.refuse_not_finite(rows, np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
        if self.log_probabilities is not None and len(rows) and rows.min() < 0:
            row, place = np.argwhere(rows < 0)[0]
            raise InvalidInput(
                "X", f"row {row} is negative in column {self.features[place]!r}; counts must be 0 or more"
            )
        out = np.empty((len(rows), len(self.log_priors)))
        for start in range(0, len(rows), ROWS_AT_ONCE):
            block = rows[start : start + ROWS_AT_ONCE].astype(np.float64)
            out[start : start + ROWS_AT_ONCE] = log_likelihoods(block, self.arrays)
        return out


def log_likelihoods(X: Floats, arrays: Tensors) -> Floats:
    """ln P(class) + ln P(x | class) of each row and class, up to what no class changes; (n, K) float64.

    Gaussian:     sum_j -(ln(2 pi v_kj) + (x_j - m_kj)^2 / v_kj) / 2       with means m, variances v (K, d)
    multinomial:  sum_j x_j ln p_kj                                        with log_probabilities ln p (K, d)
    """
    z = np.empty((len(X), len(arrays["log_priors"])))
    if "log_probabilities" in arrays:
        np.matmul(X.astype(np.float64, copy=False), arrays["log_probabilities"].T, out=z)
    else:
        for k, (mean, variance) in enumerate(zip(arrays["means"], arrays["variances"], strict=True)):
            z[:, k] = -0.5 * np.sum(np.log(2.0 * np.pi * variance))
            z[:, k] -= 0.5 * np.sum(np.square(X - mean) / variance, axis=1)
    z += arrays["log_priors"]
    return z


def normalised(z: Floats) -> Floats:
    """Logits as log-probabilities: z - ln sum exp z, row by row."""
    largest = z.max(axis=1, keepdims=True, initial=-np.inf)
    shifted = z - largest
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))

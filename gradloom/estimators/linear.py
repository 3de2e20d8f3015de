"""What the linear estimators have in common: how coefficients become values, classes and probabilities."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.extmath import safe_sparse_dot, softmax

from gradloom.errors import JobFailed
from gradloom.estimators.data import Given, InMemory
from gradloom.estimators.estimator import ClusterEstimator, Settings
from gradloom.models import Linear, label_array

SEARCHES = {"lbfgs": "auto", "newton-cg": "newton", "newton-cholesky": "newton", "auto": "auto"}
"""Solvers by the names of scikit-learn; lbfgs, its default, leaves it to us: Newton's method where it is quick."""
TOO_MANY_CLASSES = "use multinomial for more than 2"
"""What a job for two classes ends with when its data has more."""


class LinearRegressorBase(RegressorMixin, ClusterEstimator):
    """Learns coef_ (d,) and intercept_; n_iter_ is the number of rounds."""

    _target = "number"

    def _train_linear(self, algorithm: str, settings: Settings, given: Given) -> Linear:
        model = self._train(Linear, algorithm, {**settings, "dtype": dtype_of(given)}, given)
        self.coef_ = as_given(model.coefficients, given)
        self.intercept_: Any = float(model.intercept)
        return model

    def _linear(self, X: object) -> NDArray[Any]:
        """X w + b, shape (n,)."""
        rows = self._checked(X)
        z: NDArray[Any] = safe_sparse_dot(rows, self.coef_, dense_output=True) + self.intercept_
        return z

    def predict(self, X: object) -> NDArray[Any]:
        """The value of each row, shape (n,)."""
        return self._linear(X)


class LinearClassifierBase(ClassifierMixin, ClusterEstimator):
    """Learns classes_ (K,), coef_ (1, d) and intercept_ (1,) for two classes, (K, d) and (K,) for more."""

    _target = "class"

    def _train_linear(self, algorithms: tuple[str, str], settings: Settings, given: Given) -> Linear:
        """Train the first algorithm on two classes, the second on more."""
        model = self._train_for_classes(algorithms, {**settings, "dtype": dtype_of(given)}, given)
        self.classes_ = classes_of(model, given)
        w, b = model.coefficients, model.intercept
        if w.ndim == 1:
            w, b = w[:, np.newaxis], b.reshape(1)
        elif w.shape[1] == 2:  # of two classes only the difference counts
            w, b = w[:, 1:] - w[:, :1], b[1:] - b[:1]
        self.coef_, self.intercept_ = as_given(np.ascontiguousarray(w.T), given), as_given(b, given)
        return model

    def _train_for_classes(self, algorithms: tuple[str, str], settings: Settings, given: Given) -> Linear:
        if isinstance(given, InMemory) and given.classes is not None:
            return self._train(Linear, algorithms[len(given.classes) > 2], settings, given)
        try:
            return self._train(Linear, algorithms[0], settings, given)
        except JobFailed as error:  # only the workers know how many classes the files hold
            if TOO_MANY_CLASSES not in error.message:
                raise
            return self._train(Linear, algorithms[1], settings, given)

    def decision_function(self, X: object) -> NDArray[Any]:
        """X w + b: shape (n,) for two classes, where above 0 means the second one; (n, K) for more."""
        rows = self._checked(X)
        z: NDArray[Any] = safe_sparse_dot(rows, self.coef_.T, dense_output=True) + self.intercept_
        return z.ravel() if z.shape[1] == 1 else z

    def predict(self, X: object) -> NDArray[Any]:
        """The most probable class of each row, shape (n,)."""
        z = self.decision_function(X)
        index = (z > 0).astype(np.int64) if z.ndim == 1 else z.argmax(axis=1)
        predicted: NDArray[Any] = self.classes_[index]
        return predicted


class ProbabilitiesMixin:
    """Probabilities of a linear classifier: logistic for two classes, softmax for more."""

    def predict_proba(self, X: object) -> NDArray[Any]:
        """Probability of each class in the order of classes_, shape (n, K)."""
        return probabilities_of(self.decision_function(X))  # type: ignore[attr-defined]

    def predict_log_proba(self, X: object) -> NDArray[Any]:
        """Logarithm of predict_proba, shape (n, K)."""
        p: NDArray[Any] = np.log(self.predict_proba(X))
        return p


def probabilities_of(z: NDArray[Any]) -> NDArray[Any]:
    """Probabilities (n, K) of decisions: log-odds of the second of two classes (n,), or logits (n, K)."""
    both = np.stack([-z, z], axis=1) / 2 if z.ndim == 1 else z
    p: NDArray[Any] = softmax(both, copy=True)
    return p


def classes_of(model: Any, given: Given) -> NDArray[Any]:
    """The classes as ``fit`` was given them, or as files hold them."""
    if isinstance(given, InMemory) and given.classes is not None:
        return given.classes
    return label_array(model.classes)


def class_weight_setting(class_weight: object, given: Given) -> str:
    """The setting that stands for a class_weight; weights by class of arrays are in the weights of the rows."""
    match class_weight:
        case "balanced":
            return "balanced"
        case dict() if not isinstance(given, InMemory):
            return ",".join(f"{label}:{float(weight)!r}" for label, weight in class_weight.items())
    return ""


def dtype_of(given: Given) -> str:
    """What workers compute in: the dtype of arrays; float64 for files."""
    return given.dtype if isinstance(given, InMemory) else "float64"


def as_given(values: NDArray[np.float64], given: Given) -> NDArray[Any]:
    """Learnt numbers in the dtype of the data."""
    return values.astype(dtype_of(given))

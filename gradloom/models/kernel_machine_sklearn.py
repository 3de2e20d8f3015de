"""A kernel machine as a fitted scikit-learn SVC, for tools that know those. Imported only on demand."""

from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.errors import InvalidInput
from gradloom.models.model import label_array, sklearn_module

if TYPE_CHECKING:
    from gradloom.models.kernel_machine import KernelMachine


def to_sklearn(model: "KernelMachine") -> Any:
    """A fitted SVC that predicts what ``model`` does; a Pipeline of StandardScaler and SVC where it standardises.

    Raises InvalidInput if scikit-learn is not installed, and for landmarks of more than two classes.
    """
    svm = sklearn_module("svm")
    estimator = _fitted(svm.SVC(**_parameters(model)), model)
    if not len(model.center):
        estimator.feature_names_in_ = np.asarray(model.features, dtype=object)
        return estimator
    scaler = sklearn_module("preprocessing").StandardScaler()
    scaler.mean_, scaler.scale_ = model.center.copy(), model.scale.copy()
    scaler.var_ = model.scale**2
    scaler.n_features_in_ = len(model.features)
    scaler.n_samples_seen_ = int(model.metadata.get("train_rows") or 0)
    scaler.feature_names_in_ = np.asarray(model.features, dtype=object)
    return sklearn_module("pipeline").make_pipeline(scaler, estimator)


def _parameters(model: "KernelMachine") -> dict[str, Any]:
    same = ("C", "kernel", "degree", "gamma", "coef0", "decision_function_shape", "break_ties")
    given = {name: model.settings[name] for name in same if name in model.settings}
    return {**given, "tol": model.settings.get("tolerance", 1e-3)}


def _fitted(estimator: Any, model: "KernelMachine") -> Any:
    """Fill in what SVC.fit learns; the names with one underscore are what its predict reads."""
    assert model.classes is not None
    two = len(model.classes) == 2
    order, counts = _order(model)
    estimator.classes_ = label_array(model.classes)
    estimator.class_weight_ = np.ones(len(model.classes))
    estimator.support_vectors_ = model.support_vectors.astype(np.float64)[order]
    estimator.support_ = model.support_positions.astype(np.int32)[order]
    estimator._n_support = counts.astype(np.int32)  # noqa: SLF001 - n_support_ is a property of it
    estimator._dual_coef_ = np.ascontiguousarray(model.coefficients[order].T)
    estimator._intercept_ = model.intercept.copy()
    estimator.dual_coef_ = -estimator._dual_coef_ if two else estimator._dual_coef_
    estimator.intercept_ = -model.intercept if two else model.intercept.copy()
    estimator._gamma, estimator._sparse = float(model.gamma), False  # noqa: SLF001
    estimator._probA = estimator._probB = np.empty(0)  # noqa: SLF001
    estimator._effective_probability = False  # noqa: SLF001
    estimator._num_iter = np.zeros(len(model.intercept), dtype=np.int32)  # noqa: SLF001
    estimator.n_iter_ = estimator._num_iter  # noqa: SLF001
    estimator.fit_status_ = 0
    estimator.n_features_in_ = len(model.features)
    estimator.shape_fit_ = (int(model.metadata.get("train_rows") or 0), len(model.features))
    return estimator


def _order(model: "KernelMachine") -> tuple[Any, Any]:
    """How SVC wants the rows sorted, and how many each class has: with two classes, by the sign of the coefficient."""
    if not model.from_landmarks:
        return np.arange(len(model.support_vectors)), model.support_counts
    if len(model.classes or ()) > 2:
        raise InvalidInput("to_sklearn", "landmarks of more than two classes fit in no scikit-learn SVC")
    second = model.coefficients[:, 0] < 0
    return np.argsort(second, kind="stable"), np.array([(~second).sum(), second.sum()])

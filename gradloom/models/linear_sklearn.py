"""A linear model as a fitted scikit-learn estimator, for tools that know those. Imported only on demand."""

from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.models.model import label_array, sklearn_module

if TYPE_CHECKING:
    from gradloom.models.linear import Linear


def to_sklearn(model: "Linear") -> Any:
    """A fitted LogisticRegression, or Ridge for a regression, that predicts what ``model`` does.

    It carries coef_, intercept_, classes_, n_features_in_, feature_names_in_ and n_iter_. Its C or alpha is the
    penalty of the training in scikit-learn's terms: C = 1 / (l2 W), alpha = l2 W, with W the weight of the train
    rows. Raises InvalidInput if scikit-learn is not installed.
    """
    linear_model = sklearn_module("linear_model")
    penalty = _number(model, "l2") * float(model.metadata.get("train_weight") or 1.0)
    rounds = int(model.metadata.get("rounds") or 0)
    fit_intercept = bool(model.settings.get("fit_intercept", True))
    if model.classes is None:
        estimator = linear_model.Ridge(alpha=penalty, fit_intercept=fit_intercept)
        estimator.coef_, estimator.intercept_ = model.coefficients.copy(), float(model.intercept)
        estimator.n_iter_ = None
    else:
        estimator = linear_model.LogisticRegression(
            C=1.0 / penalty if penalty > 0 else np.inf, fit_intercept=fit_intercept
        )
        estimator.coef_, estimator.intercept_ = _rows_of_classes(model)
        estimator.classes_ = _classes(model)
        estimator.n_iter_ = np.array([rounds], dtype=np.int32)
    estimator.n_features_in_ = len(model.features)
    estimator.feature_names_in_ = np.asarray(model.features, dtype=object)
    return estimator


def _number(model: "Linear", setting: str) -> float:
    return float(model.settings.get(setting) or 0.0)


def _classes(model: "Linear") -> Any:
    assert model.classes is not None
    return label_array(model.classes)


def _rows_of_classes(model: "Linear") -> tuple[Any, Any]:
    """scikit-learn holds one row for two classes, and one row a class for more."""
    w, b = model.coefficients, model.intercept
    if w.ndim == 1:
        return w[np.newaxis].copy(), b.reshape(1).copy()
    if w.shape[1] == 2:
        return (w[:, 1] - w[:, 0])[np.newaxis], (b[1:] - b[:1])
    return w.T.copy(), b.copy()

"""A model as a fitted scikit-learn estimator, for pipelines and tools that know those. Imported only on demand."""

from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.errors import InvalidInput

if TYPE_CHECKING:
    from gradloom.models import Model


def to_sklearn(model: "Model") -> Any:
    """A fitted LogisticRegression, or Ridge for a regression, that predicts what ``model`` does.

    It carries coef_, intercept_, classes_, n_features_in_, feature_names_in_ and n_iter_. Its C or alpha is the
    penalty of the training in scikit-learn's terms: C = 1 / (l2 W), alpha = l2 W, with W the weight of the train
    rows. Raises InvalidInput if scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression, Ridge
    except ImportError as error:
        raise InvalidInput(
            "to_sklearn", "needs scikit-learn, which is not installed: pip install gradloom[sklearn]"
        ) from error
    penalty = _number(model, "l2") * float(model.metadata.get("train_weight") or 1.0)
    rounds = int(model.metadata.get("rounds") or 0)
    fit_intercept = bool(model.settings.get("fit_intercept", True))
    if model.classes is None:
        estimator = Ridge(alpha=penalty, fit_intercept=fit_intercept)
        estimator.coef_, estimator.intercept_ = model.coefficients.copy(), float(model.intercept)
        estimator.n_iter_ = None
    else:
        estimator = LogisticRegression(
            C=1.0 / penalty if penalty > 0 else np.inf, fit_intercept=fit_intercept
        )
        estimator.coef_, estimator.intercept_ = _rows_of_classes(model)
        estimator.classes_ = _classes(model)
        estimator.n_iter_ = np.array([rounds], dtype=np.int32)
    estimator.n_features_in_ = len(model.features)
    estimator.feature_names_in_ = np.asarray(model.features, dtype=object)
    return estimator


def _number(model: "Model", setting: str) -> float:
    return float(model.settings.get(setting) or 0.0)


def _classes(model: "Model") -> Any:
    from gradloom.models import label_array

    assert model.classes is not None
    return label_array(model.classes)


def _rows_of_classes(model: "Model") -> tuple[Any, Any]:
    """scikit-learn holds one row for two classes, and one row a class for more."""
    w, b = model.coefficients, model.intercept
    if w.ndim == 1:
        return w[np.newaxis].copy(), b.reshape(1).copy()
    if w.shape[1] == 2:
        return (w[:, 1] - w[:, 0])[np.newaxis], (b[1:] - b[:1])
    return w.T.copy(), b.copy()

"""A linear model as a fitted scikit-learn estimator, for tools that know those. Imported only on demand."""

from typing import TYPE_CHECKING, Any

import numpy as np

from gradloom.models.model import label_array, sklearn_module

if TYPE_CHECKING:
    from gradloom.models.linear import Linear

MARGINS = frozenset({"linear_svm"})


def to_sklearn(model: "Linear") -> Any:
    """A fitted estimator that predicts what ``model`` does.

    LogisticRegression or LinearSVC of classes; Ridge, Lasso, ElasticNet, HuberRegressor or PoissonRegressor of values.
    It carries coef_, intercept_, classes_, n_features_in_, feature_names_in_ and n_iter_. Its C or alpha is the
    penalty of the training in scikit-learn's terms: C = 1 / (l2 W), alpha = l2 W, with W the weight of the train
    rows. Raises InvalidInput if scikit-learn is not installed.
    """
    estimator = _classifier(model) if model.classes is not None else _regressor(model)
    estimator.n_features_in_ = len(model.features)
    estimator.feature_names_in_ = np.asarray(model.features, dtype=object)
    return estimator


def _classifier(model: "Linear") -> Any:
    l1, l2 = _penalties(model, per="sum")
    strength, intercept = l1 + l2, bool(model.settings.get("fit_intercept", True))
    C = 1.0 / strength if strength > 0 else np.inf
    if model.algorithm in MARGINS:
        svm = sklearn_module("svm")
        loss = str(model.settings.get("loss", "squared_hinge"))
        estimator = svm.LinearSVC(C=C, loss=loss, fit_intercept=intercept)
    else:
        share = {"l1_ratio": l1 / strength, "solver": "saga"} if l1 else {}
        estimator = sklearn_module("linear_model").LogisticRegression(C=C, fit_intercept=intercept, **share)
    estimator.coef_, estimator.intercept_ = _rows_of_classes(model)
    estimator.classes_ = _classes(model)
    estimator.n_iter_ = np.array([int(model.metadata.get("rounds") or 0)], dtype=np.int32)
    return estimator


def _regressor(model: "Linear") -> Any:
    linear_model = sklearn_module("linear_model")
    fit_intercept = bool(model.settings.get("fit_intercept", True))
    (l1, l2), of_sum = _penalties(model, per="mean"), _penalties(model, per="sum")[1]
    match model.algorithm:
        case "huber":
            epsilon = max(1.0, _number(model, "epsilon"))
            estimator = linear_model.HuberRegressor(
                epsilon=epsilon, alpha=0.5 * of_sum, fit_intercept=fit_intercept
            )
            estimator.scale_ = float(model.metadata.get("scale") or 1.0)
        case "poisson":
            estimator = linear_model.PoissonRegressor(alpha=l2, fit_intercept=fit_intercept)
            loss = sklearn_module("_loss").HalfPoissonLoss
            estimator._base_loss = loss()  # noqa: SLF001 - its predict reads the link from there
        case _ if l1 and l2:
            estimator = linear_model.ElasticNet(
                alpha=l1 + l2, l1_ratio=l1 / (l1 + l2), fit_intercept=fit_intercept
            )
        case _ if l1:
            estimator = linear_model.Lasso(alpha=l1, fit_intercept=fit_intercept)
        case _:
            estimator = linear_model.Ridge(alpha=of_sum, fit_intercept=fit_intercept)
    estimator.coef_, estimator.intercept_ = model.coefficients.copy(), float(model.intercept)
    estimator.n_iter_ = None
    return estimator


def _penalties(model: "Linear", per: str) -> tuple[float, float]:
    """l1 and l2 as they go with the weighted mean of the losses, or with their sum."""
    weight = float(model.metadata.get("train_weight") or 1.0)
    before = model.settings.get("penalty_per", "mean")
    factor = 1.0 if before == per else weight if per == "sum" else 1.0 / weight
    return factor * _number(model, "l1"), factor * _number(model, "l2")


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

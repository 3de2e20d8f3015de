"""Linear models against scikit-learn, on standardised columns of the data sets that come with it."""

import warnings
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
)
from sklearn.linear_model._huber import _huber_loss_and_gradient
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from benchmarks.equality_case import EqualityCase, Floats, parameters
from tests.unit.algorithms.training import Data

EXACT: Mapping[str, Any] = {
    "dtype": "float64",
    "tolerance": 1e-12,
    "max_rounds": 20_000,
    "standardize": False,
    "penalty_per": "sum",
}
POLISHED: Mapping[str, Any] = {"dtype": "float32", "tolerance": 1e-10}
"""Begins on float32 rows and ends on float64 ones."""


@cache
def standardised(name: str, weighted: bool = False) -> Data:
    load = {
        "diabetes": load_diabetes,
        "counts": load_diabetes,
        "breast_cancer": load_breast_cancer,
        "iris": load_iris,
        "wine": load_wine,
    }[name]
    X, y = load(return_X_y=True)
    rng = np.random.default_rng(3)
    order = rng.permutation(len(X))
    y = np.round(y / 50) if name == "counts" else y
    weight = rng.uniform(0.2, 3.0, len(X)) if weighted else None
    return Data(StandardScaler().fit_transform(X)[order], y[order].astype(np.float64), weight)


def fitted(estimator: Any, data: Data) -> Floats:
    """Parameters of a reference; LIBLINEAR's warning that it could go on for ever is no concern of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return parameters(estimator.fit(data.X, data.y, sample_weight=data.weight))


def twin(make: Callable[..., Any], **arguments: Any) -> Callable[[Data], Floats]:
    return lambda data: fitted(make(**arguments), data)


def huber_objective(alpha: float, epsilon: float) -> Callable[[Data], Floats]:
    """The minimum of what HuberRegressor minimises, found further than its own tolerance of 2e-9 of the loss goes."""

    def fit(data: Data) -> Floats:
        weight = np.ones(len(data.X)) if data.weight is None else data.weight
        n = data.X.shape[1]
        arguments = (data.X, data.y, epsilon, alpha, weight)
        bounds = [(None, None)] * (n + 1) + [(1e-12, None)]
        start = np.append(np.zeros(n), [data.y.mean(), data.y.std()])
        for _ in range(5):  # from where it stopped: its memory starts anew
            found = minimize(
                _huber_loss_and_gradient,
                start,
                method="L-BFGS-B",
                jac=True,
                args=arguments,
                bounds=bounds,
                options={"maxiter": 10_000, "maxfun": 10**6, "gtol": 0.0, "ftol": 0.0, "maxcor": 30},
            )
            start = found.x
        return np.asarray(start[: n + 1])

    return fit


def cases(
    algorithm: str,
    data_name: str,
    reference: str,
    make_twin: Callable[[Data], Floats],
    settings: Mapping[str, Any],
    solvers: tuple[str, ...],
    limit: float = 1e-6,
    *,
    weighted: bool = False,
    same_zeros: bool = False,
    note: str = "",
) -> tuple[EqualityCase, ...]:
    @cache
    def reference_once() -> Floats:
        return make_twin(standardised(data_name, weighted))

    return tuple(
        EqualityCase(
            algorithm,
            {**EXACT, **settings, "solver": solver},
            data_name,
            lambda: standardised(data_name, weighted),
            reference,
            lambda _: reference_once(),
            limit,
            same_zeros=same_zeros,
            note=", ".join(part for part in ("sample weights" if weighted else "", note) if part),
        )
        for solver in solvers
    )


SMOOTH = ("newton", "lbfgs", "lbfgsb", "barzilai_borwein")
SPARSE = ("newton", "lbfgsb", "barzilai_borwein")
FULL: dict[str, Any] = {"tol": 1e-14, "max_iter": 1_000_000}
SVC: dict[str, Any] = {"dual": False, "tol": 1e-13, "max_iter": 1_000_000}
SPARSE_SVC: dict[str, Any] = {"dual": False, "tol": 1e-9, "max_iter": 1_000_000, "random_state": 0}
"""Told to go further, LIBLINEAR ends elsewhere for some orders of the columns."""
NEWTON: dict[str, Any] = {"solver": "newton-cholesky", "tol": 1e-14, "max_iter": 1000}
SAGA: dict[str, Any] = {"solver": "saga", "tol": 1e-13, "max_iter": 200_000}
MEAN = {"penalty_per": "mean"}

LEAST_SQUARES = (
    *cases("linear", "diabetes", "LinearRegression", twin(LinearRegression), {"l2": 0.0}, ("gram", "auto"), 1e-8),
    *cases("linear", "diabetes", "Ridge", twin(Ridge, alpha=5.0), {"l2": 5.0}, ("gram", *SMOOTH), 1e-8),
    *cases("linear", "diabetes", "Ridge", twin(Ridge, alpha=5.0), {"l2": 5.0}, ("gram", "lbfgs"), 1e-8, weighted=True),
    *cases(
        "linear",
        "diabetes",
        "Ridge",
        twin(Ridge, alpha=5.0, fit_intercept=False),
        {"l2": 5.0, "fit_intercept": False},
        ("gram", "newton"),
        1e-8,
        note="no intercept",
    ),
    *cases(
        "linear", "diabetes", "Ridge", twin(Ridge, alpha=5.0), {"l2": 5.0, **POLISHED}, ("lbfgs",), note="float32 first"
    ),
    *cases(
        "linear", "diabetes", "Lasso", twin(Lasso, alpha=3.0, **FULL), {"l1": 3.0, "l2": 0.0, **MEAN},
        ("gram", *SPARSE), 1e-8, same_zeros=True,
    ),
    *cases(
        "linear", "diabetes", "Lasso", twin(Lasso, alpha=3.0, **FULL), {"l1": 3.0, "l2": 0.0, **MEAN},
        ("gram", "lbfgsb"), 1e-8, same_zeros=True, weighted=True,
    ),
    *cases(
        "linear", "diabetes", "ElasticNet", twin(ElasticNet, alpha=2.0, l1_ratio=0.6, **FULL),
        {"l1": 1.2, "l2": 0.8, **MEAN}, ("gram", *SPARSE), 1e-8, same_zeros=True,
    ),
    *cases(
        "linear", "diabetes", "ElasticNet", twin(ElasticNet, alpha=2.0, l1_ratio=0.6, fit_intercept=False, **FULL),
        {"l1": 1.2, "l2": 0.8, "fit_intercept": False, **MEAN}, ("gram",), 1e-8,
        same_zeros=True, weighted=True, note="no intercept",
    ),
)  # fmt: skip
ROBUST = (
    *cases("huber", "diabetes", "HuberRegressor", huber_objective(0.5, 1.35), {"l2": 1.0}, ("newton", "lbfgs")),
    *cases(
        "huber", "diabetes", "HuberRegressor", huber_objective(0.5, 1.1), {"l2": 1.0, "epsilon": 1.1},
        ("newton",), weighted=True,
    ),
)  # fmt: skip
COUNTS = (
    *cases(
        "poisson", "counts", "PoissonRegressor", twin(PoissonRegressor, alpha=0.1, **NEWTON), {"l2": 0.1, **MEAN},
        SMOOTH,
    ),
    *cases(
        "poisson", "counts", "PoissonRegressor", twin(PoissonRegressor, alpha=0.1, **NEWTON), {"l2": 0.1, **MEAN},
        ("newton",), weighted=True,
    ),
    *cases(
        "poisson", "counts", "PoissonRegressor", twin(PoissonRegressor, alpha=0.1, fit_intercept=False, **NEWTON),
        {"l2": 0.1, "fit_intercept": False, **MEAN}, ("newton",), note="no intercept",
    ),
)  # fmt: skip
TWO_CLASSES = (
    *cases("logistic", "breast_cancer", "LogisticRegression", twin(LogisticRegression, C=1.0, **NEWTON), {"l2": 1.0},
           (*SMOOTH, "auto")),
    *cases("logistic", "breast_cancer", "LogisticRegression", twin(LogisticRegression, C=1.0, **NEWTON), {"l2": 1.0},
           ("newton", "lbfgs"), weighted=True),
    *cases("logistic", "breast_cancer", "LogisticRegression",
           twin(LogisticRegression, C=1.0, class_weight="balanced", **NEWTON),
           {"l2": 1.0, "class_weight": "balanced"}, ("newton", "lbfgs"), note="class weights"),
    *cases("logistic", "breast_cancer", "LogisticRegression",
           twin(LogisticRegression, C=1.0, fit_intercept=False, **NEWTON),
           {"l2": 1.0, "fit_intercept": False}, ("newton", "lbfgs"), note="no intercept"),
    *cases("logistic", "breast_cancer", "LogisticRegression", twin(LogisticRegression, C=1.0, **NEWTON),
           {"l2": 1.0, **POLISHED}, ("lbfgs", "newton"), note="float32 first"),
    *cases("logistic", "breast_cancer", "LogisticRegression(l1)", twin(LogisticRegression, C=0.1, l1_ratio=1.0, **SAGA),
           {"l1": 10.0, "l2": 0.0}, (*SPARSE, "auto"), same_zeros=True),
    *cases("logistic", "breast_cancer", "LogisticRegression(l1)", twin(LogisticRegression, C=0.1, l1_ratio=1.0, **SAGA),
           {"l1": 10.0, "l2": 0.0}, ("lbfgsb",), same_zeros=True, weighted=True),
    *cases("logistic", "breast_cancer", "LogisticRegression(elastic net)",
           twin(LogisticRegression, C=0.1, l1_ratio=0.5, **SAGA), {"l1": 5.0, "l2": 5.0}, ("newton", "lbfgsb"),
           same_zeros=True),
)  # fmt: skip
CLASSES = (
    *cases("multinomial", "wine", "LogisticRegression", twin(LogisticRegression, C=1.0, **NEWTON), {"l2": 1.0},
           ("newton", "lbfgs", "barzilai_borwein")),
    *cases("multinomial", "iris", "LogisticRegression", twin(LogisticRegression, C=1.0, **NEWTON), {"l2": 1.0},
           ("newton", "lbfgs"), weighted=True),
    *cases("multinomial", "iris", "LogisticRegression",
           twin(LogisticRegression, C=1.0, fit_intercept=False, **NEWTON),
           {"l2": 1.0, "fit_intercept": False}, ("newton",), note="no intercept"),
    *cases("multinomial", "wine", "LogisticRegression(l1)", twin(LogisticRegression, C=0.2, l1_ratio=1.0, **SAGA),
           {"l1": 5.0, "l2": 0.0}, ("newton", "lbfgsb"), same_zeros=True),
)  # fmt: skip
VECTOR = {"l2": 1.0, "penalize_intercept": True}
MACHINES = (
    *cases("linear_svm", "breast_cancer", "LinearSVC", twin(LinearSVC, **SVC), VECTOR, SMOOTH),
    *cases("linear_svm", "breast_cancer", "LinearSVC",
           twin(LinearSVC, intercept_scaling=5.0, class_weight="balanced", **SVC),
           {**VECTOR, "intercept_scaling": 5.0, "class_weight": "balanced"}, ("newton", "lbfgs"),
           note="class weights, intercept_scaling=5"),
    *cases("linear_svm", "breast_cancer", "LinearSVC", twin(LinearSVC, fit_intercept=False, **SVC),
           {"l2": 1.0, "fit_intercept": False}, ("newton",), weighted=True, note="no intercept"),
    *cases("linear_svm", "wine", "LinearSVC", twin(LinearSVC, **SVC), VECTOR, ("newton", "lbfgs"),
           note="one versus rest"),
    *cases("linear_svm", "wine", "LinearSVC(l1)", twin(LinearSVC, C=0.1, penalty="l1", **SPARSE_SVC),
           {"l1": 10.0, "l2": 0.0, "penalize_intercept": True}, ("newton", "lbfgsb"), same_zeros=True,
           note="one versus rest"),
)  # fmt: skip
CASES = (*LEAST_SQUARES, *ROBUST, *COUNTS, *TWO_CLASSES, *CLASSES, *MACHINES)

"""Least squares with every penalty."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import csr_matrix

from gradloom.algorithms.linear_solvers import MOST_PARAMETERS
from gradloom.estimators.data import Given, InMemory
from gradloom.estimators.estimator import Settings
from gradloom.estimators.linear import (
    LinearRegressorBase,
)
from gradloom.estimators.parameters import (
    COLD,
    IN_THE_CLUSTER,
    Rule,
    either,
    number,
    one_of,
    only,
    random_state,
    truth,
    whole,
)

ANY_SIGN = only(False, "coefficients may have any sign")
EXACT = 1e-12
"""Tolerance of what is solved in one step anyway."""
STRICTER = 1e-4
"""Our tol bounds the gradient relative to its first value, which on raw columns may be large."""


def one_round(given: Given) -> str:
    """The solver: gram for arrays that it takes, however many columns; of files the cluster counts the columns."""
    small = isinstance(given, InMemory) and given.X.shape[1] < MOST_PARAMETERS["gram"]
    return "gram" if small else "auto"


class LinearRegression(LinearRegressorBase):
    """Ordinary least squares: minimises sum_i s_i (x_i w + b - y_i)^2 in one round over the data.

    It solves the sums of products. With an intercept columns are centred before; without one, columns whose mean is far
    above their deviation lose digits (a mean of 1e5 deviations leaves about 5). Attributes: coef_ (d,), intercept_,
    n_features_in_, feature_names_in_, model_, job_id_.
    """

    _twin = "linear_model.LinearRegression"
    _rules: ClassVar[Mapping[str, Rule]] = {
        "fit_intercept": truth(),
        "copy_X": truth(),
        "tol": number(least=0),
        "n_jobs": IN_THE_CLUSTER,
        "positive": ANY_SIGN,
    }

    def __init__(
        self,
        *,
        fit_intercept: bool = True,
        copy_X: bool = True,
        tol: float = 1e-6,
        n_jobs: int | None = None,
        positive: bool = False,
        cluster: object = None,
    ) -> None:
        self.fit_intercept = fit_intercept
        self.copy_X = copy_X
        self.tol = tol
        self.n_jobs = n_jobs
        self.positive = positive
        self.cluster = cluster

    def _learn(self, given: Given) -> None:
        settings: Settings = {
            "l2": 0.0,
            "fit_intercept": bool(self.fit_intercept),
            "standardize": False,
            "solver": one_round(given),
            "tolerance": EXACT,
        }
        model = self._train_linear("linear", settings, given)
        self._warn_unless_converged(model)


class Ridge(LinearRegressorBase):
    """Least squares with an L2 penalty: minimises sum_i s_i (x_i w + b - y_i)^2 + alpha |w|^2.

    Attributes: coef_ (d,), intercept_, n_iter_, n_features_in_, feature_names_in_, model_, job_id_.
    """

    _twin = "linear_model.Ridge"
    _rules: ClassVar[Mapping[str, Rule]] = {
        "alpha": number(least=0),
        "fit_intercept": truth(),
        "copy_X": truth(),
        "max_iter": either(whole(least=1), one_of(None)),
        "tol": number(least=0),
        "solver": one_of("auto", "cholesky", "lbfgs", why="cholesky takes one round over the data"),
        "positive": ANY_SIGN,
        "random_state": random_state(),
    }

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        fit_intercept: bool = True,
        copy_X: bool = True,
        max_iter: int | None = None,
        tol: float = 1e-4,
        solver: str = "auto",
        positive: bool = False,
        random_state: object = None,
        cluster: object = None,
    ) -> None:
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.copy_X = copy_X
        self.max_iter = max_iter
        self.tol = tol
        self.solver = solver
        self.positive = positive
        self.random_state = random_state
        self.cluster = cluster

    def _learn(self, given: Given) -> None:
        settings: Settings = {
            "l2": float(self.alpha),
            "penalty_per": "sum",
            "fit_intercept": bool(self.fit_intercept),
            "standardize": False,
            "solver": {"cholesky": "gram", "auto": one_round(given)}.get(self.solver, self.solver),
            "tolerance": min(float(self.tol), EXACT) if self.solver == "auto" else float(self.tol) * STRICTER,
            **({} if self.max_iter is None else {"max_rounds": int(self.max_iter)}),
        }
        model = self._train_linear("linear", settings, given)
        self.n_iter_ = np.array([model.metadata["rounds"]])
        self._warn_unless_converged(model, "max_iter")


class _Sparse(LinearRegressorBase):
    """Lasso and ElasticNet: least squares with absolute values in the penalty."""

    def _learn_sparse(self, l1_ratio: float, given: Given) -> None:
        p = self.get_params(deep=False)
        settings: Settings = {
            "l1": float(p["alpha"]) * l1_ratio,
            "l2": float(p["alpha"]) * (1.0 - l1_ratio),
            "fit_intercept": bool(p["fit_intercept"]),
            "standardize": False,
            "solver": one_round(given),
            "max_rounds": int(p["max_iter"]),
            "tolerance": min(float(p["tol"]), EXACT),
        }
        model = self._train_linear("linear", settings, given)
        self.n_iter_ = int(str(model.metadata["rounds"]))
        self._warn_unless_converged(model, "max_iter")

    @property
    def sparse_coef_(self) -> Any:
        """coef_ as a sparse row."""
        return csr_matrix(self.coef_)


class Lasso(_Sparse):
    """Least squares with an L1 penalty: minimises 1/(2 W) sum_i s_i (x_i w + b - y_i)^2 + alpha |w|_1, W = sum_i s_i.

    Attributes: coef_ (d,), intercept_, n_iter_, n_features_in_, feature_names_in_, model_, job_id_.
    """

    _twin = "linear_model.Lasso"
    _rules: ClassVar[Mapping[str, Rule]] = {
        "alpha": number(least=0),
        "fit_intercept": truth(),
        "precompute": only(False, "the sums of products are computed anyway"),
        "copy_X": truth(),
        "max_iter": whole(least=1),
        "tol": number(least=0),
        "warm_start": COLD,
        "positive": ANY_SIGN,
        "random_state": random_state(),
        "selection": one_of("cyclic", "random", why="every coefficient is found at once"),
    }

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        fit_intercept: bool = True,
        precompute: object = False,
        copy_X: bool = True,
        max_iter: int = 1000,
        tol: float = 1e-4,
        warm_start: bool = False,
        positive: bool = False,
        random_state: object = None,
        selection: str = "cyclic",
        cluster: object = None,
    ) -> None:
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.precompute = precompute
        self.copy_X = copy_X
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.positive = positive
        self.random_state = random_state
        self.selection = selection
        self.cluster = cluster

    def _learn(self, given: Given) -> None:
        self._learn_sparse(1.0, given)


class ElasticNet(_Sparse):
    """Least squares with both penalties: Lasso's with alpha l1_ratio |w|_1 + alpha (1 - l1_ratio) / 2 |w|^2.

    Attributes: coef_ (d,), intercept_, n_iter_, n_features_in_, feature_names_in_, model_, job_id_.
    """

    _twin = "linear_model.ElasticNet"
    _rules: ClassVar[Mapping[str, Rule]] = {
        "alpha": number(least=0),
        "l1_ratio": number(least=0, most=1),
        "fit_intercept": truth(),
        "precompute": only(False, "the sums of products are computed anyway"),
        "copy_X": truth(),
        "max_iter": whole(least=1),
        "tol": number(least=0),
        "warm_start": COLD,
        "positive": ANY_SIGN,
        "random_state": random_state(),
        "selection": one_of("cyclic", "random", why="every coefficient is found at once"),
    }

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        l1_ratio: float = 0.5,
        fit_intercept: bool = True,
        precompute: object = False,
        max_iter: int = 1000,
        copy_X: bool = True,
        tol: float = 1e-4,
        warm_start: bool = False,
        positive: bool = False,
        random_state: object = None,
        selection: str = "cyclic",
        cluster: object = None,
    ) -> None:
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.precompute = precompute
        self.max_iter = max_iter
        self.copy_X = copy_X
        self.tol = tol
        self.warm_start = warm_start
        self.positive = positive
        self.random_state = random_state
        self.selection = selection
        self.cluster = cluster

    def _learn(self, given: Given) -> None:
        self._learn_sparse(float(self.l1_ratio), given)

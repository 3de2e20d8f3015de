"""Linear models of other losses than the squared one, each found where its gradient is zero."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import d2_tweedie_score

from gradloom.estimators.data import Given, InMemory
from gradloom.estimators.estimator import Settings
from gradloom.estimators.linear import (
    SEARCHES,
    LinearClassifierBase,
    LinearRegressorBase,
    ProbabilitiesMixin,
    class_weight_setting,
)
from gradloom.estimators.parameters import (
    COLD,
    IN_THE_CLUSTER,
    QUIET,
    Rule,
    class_weights,
    either,
    number,
    one_of,
    only,
    random_state,
    truth,
    whole,
)

STRICTER = 1e-4
"""scikit-learn's tol bounds the gradient of such a loss, ours its ratio to the first one, which may be large."""


class HuberRegressor(LinearRegressorBase):
    """A regression that outliers hardly move: minimises sum_i s_i (c + H((x_i w + b - y_i) / c) c) + alpha |w|^2.

    H(u) = u^2 if |u| <= epsilon, else 2 epsilon |u| - epsilon^2; the scale c > 0 is learnt too. Attributes: coef_ (d,),
    intercept_, scale_, outliers_ (n,) of arrays, n_iter_, n_features_in_, feature_names_in_, model_, job_id_.
    """

    _twin = "linear_model.HuberRegressor"
    _of_rows = ("outliers_",)
    _rules: ClassVar[Mapping[str, Rule]] = {
        "epsilon": number(above=1),
        "max_iter": whole(least=1),
        "alpha": number(least=0),
        "warm_start": COLD,
        "fit_intercept": truth(),
        "tol": number(least=0),
    }

    def __init__(
        self,
        *,
        epsilon: float = 1.35,
        max_iter: int = 100,
        alpha: float = 0.0001,
        warm_start: bool = False,
        fit_intercept: bool = True,
        tol: float = 1e-5,
        cluster: object = None,
    ) -> None:
        self.epsilon = epsilon
        self.max_iter = max_iter
        self.alpha = alpha
        self.warm_start = warm_start
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.cluster = cluster

    def _learn(self, given: Given) -> None:
        settings: Settings = {
            "epsilon": float(self.epsilon),
            "l2": 2.0 * float(self.alpha),
            "penalty_per": "sum",
            "fit_intercept": bool(self.fit_intercept),
            "standardize": False,
            "max_rounds": int(self.max_iter),
            "tolerance": float(self.tol) * STRICTER,
        }
        model = self._train_linear("huber", settings, given)
        self.scale_ = float(str(model.metadata["scale"]))
        self.n_iter_ = int(str(model.metadata["rounds"]))
        if isinstance(given, InMemory):
            error = np.abs(given.y - self._linear(given.X))
            self.outliers_ = error > self.scale_ * self.epsilon
        self._warn_unless_converged(model, "max_iter")


class PoissonRegressor(LinearRegressorBase):
    """A regression on counts: minimises 1/W sum_i s_i (exp(z_i) - y_i z_i) + alpha/2 |w|^2, z = X w + b, W = sum_i s_i.

    Attributes: coef_ (d,), intercept_, n_iter_, n_features_in_, feature_names_in_, model_, job_id_.
    """

    _twin = "linear_model.PoissonRegressor"
    _rules: ClassVar[Mapping[str, Rule]] = {
        "alpha": number(least=0),
        "fit_intercept": truth(),
        "solver": one_of(*SEARCHES),
        "max_iter": whole(least=1),
        "tol": number(least=0),
        "warm_start": COLD,
        "verbose": QUIET,
    }

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        fit_intercept: bool = True,
        solver: str = "lbfgs",
        max_iter: int = 100,
        tol: float = 1e-4,
        warm_start: bool = False,
        verbose: int = 0,
        cluster: object = None,
    ) -> None:
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.verbose = verbose
        self.cluster = cluster

    def _learn(self, given: Given) -> None:
        settings: Settings = {
            "l2": float(self.alpha),
            "fit_intercept": bool(self.fit_intercept),
            "standardize": False,
            "solver": SEARCHES[self.solver],
            "max_rounds": int(self.max_iter),
            "tolerance": float(self.tol) * STRICTER,
        }
        model = self._train_linear("poisson", settings, given)
        self.n_iter_ = int(str(model.metadata["rounds"]))
        self._warn_unless_converged(model, "max_iter")

    def predict(self, X: object) -> NDArray[Any]:
        """The expected count of each row, exp(X w + b), shape (n,)."""
        counts: NDArray[Any] = np.exp(self._linear(X))
        return counts

    def score(self, X: object, y: object, sample_weight: object = None) -> float:
        """D^2, the share of the Poisson deviance that is explained: 1 = all of it, 0 = none."""
        return float(d2_tweedie_score(y, self.predict(X), sample_weight=sample_weight, power=1))

    def to_sklearn(self) -> Any:
        """The fitted estimator of scikit-learn with these parameters, which predicts the same."""
        twin = super().to_sklearn()
        twin._base_loss = twin._get_loss()  # noqa: SLF001 - what its predict reads
        return twin

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = True
        return tags


class LogisticRegression(ProbabilitiesMixin, LinearClassifierBase):
    """Logistic regression for two classes, softmax for more: minimises C sum_i s_i loss_i + penalty.

    The penalty is (1 - l1_ratio) / 2 |w|^2 + l1_ratio |w|_1; C = inf is none. The solvers lbfgs and auto are Newton's
    method while its matrix is small, and L-BFGS beyond: on raw columns too they find the minimum, or warn. ``tol``
    bounds the gradient relative to its first value, times 1e-4; ``max_iter`` counts rounds over the data. Attributes:
    classes_ (K,), coef_ (1, d) or (K, d), intercept_, n_iter_, n_features_in_, feature_names_in_, model_, job_id_.
    """

    _twin = "linear_model.LogisticRegression"
    _rules: ClassVar[Mapping[str, Rule]] = {
        "penalty": one_of("deprecated", "l2", "l1", "elasticnet", None),
        "C": either(number(above=0), only(np.inf, "no penalty")),
        "l1_ratio": either(number(least=0, most=1), one_of(None)),
        "dual": only(False, "there are fewer columns than rows in what is spread over machines"),
        "tol": number(least=0),
        "fit_intercept": truth(),
        "intercept_scaling": only(1, "it belongs to the solver liblinear"),
        "class_weight": class_weights(),
        "random_state": random_state(),
        "solver": one_of(*SEARCHES, why="they find the same minimum; lbfgs and auto take every penalty"),
        "max_iter": whole(least=1),
        "verbose": QUIET,
        "warm_start": COLD,
        "n_jobs": IN_THE_CLUSTER,
    }

    def __init__(
        self,
        penalty: str | None = "deprecated",
        *,
        C: float = 1.0,
        l1_ratio: float | None = 0.0,
        dual: bool = False,
        tol: float = 1e-4,
        fit_intercept: bool = True,
        intercept_scaling: float = 1,
        class_weight: object = None,
        random_state: object = None,
        solver: str = "lbfgs",
        max_iter: int = 100,
        verbose: int = 0,
        warm_start: bool = False,
        n_jobs: int | None = None,
        cluster: object = None,
    ) -> None:
        self.penalty = penalty
        self.C = C
        self.l1_ratio = l1_ratio
        self.dual = dual
        self.tol = tol
        self.fit_intercept = fit_intercept
        self.intercept_scaling = intercept_scaling
        self.class_weight = class_weight
        self.random_state = random_state
        self.solver = solver
        self.max_iter = max_iter
        self.verbose = verbose
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.cluster = cluster

    def _learn(self, given: Given) -> None:
        strength, ratio = self._penalty()
        settings: Settings = {
            "l1": strength * ratio,
            "l2": strength * (1.0 - ratio),
            "penalty_per": "sum",
            "fit_intercept": bool(self.fit_intercept),
            "standardize": False,
            "solver": SEARCHES[self.solver],
            "class_weight": class_weight_setting(self.class_weight, given),
            "max_rounds": int(self.max_iter),
            "tolerance": float(self.tol) * STRICTER,
        }
        model = self._train_linear(("logistic", "multinomial"), settings, given)
        self.n_iter_ = np.array([model.metadata["rounds"]], dtype=np.int32)
        self._warn_unless_converged(model, "max_iter")

    def _penalty(self) -> tuple[float, float]:
        """1 / C, and the share of L1 in it; ``penalty`` is how scikit-learn before 1.8 said the share."""
        ratio = float(self.l1_ratio or 0.0)
        match self.penalty:
            case None:
                return 0.0, 0.0
            case "l2" | "l1":
                ratio = float(self.penalty == "l1")
        return 1.0 / float(self.C), ratio

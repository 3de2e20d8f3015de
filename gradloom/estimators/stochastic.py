"""Linear models by steps along a gradient: of all rows, or of batches of them."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.metaestimators import available_if

from gradloom.errors import InvalidParameter
from gradloom.estimators.data import Given, InMemory
from gradloom.estimators.estimator import ClusterEstimator, Settings
from gradloom.estimators.linear import (
    LinearClassifierBase,
    LinearRegressorBase,
    class_weight_setting,
    probabilities_of,
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
from gradloom.models import Model

LOSSES = {
    "hinge": ("linear_svm", "linear_svm"),
    "squared_hinge": ("linear_svm", "linear_svm"),
    "log_loss": ("logistic", "multinomial"),
}
"""The algorithms for two classes and for more."""
RULES: Mapping[str, Rule] = {
    "penalty": one_of("l2", "l1", "elasticnet", None),
    "alpha": number(least=0),
    "l1_ratio": number(least=0, most=1),
    "fit_intercept": truth(),
    "max_iter": whole(least=1),
    "tol": either(number(least=0), one_of(None)),
    "shuffle": only(True, "batches are drawn in a new order in every epoch"),
    "verbose": QUIET,
    "random_state": random_state(),
    "learning_rate": one_of("optimal", "constant", "invscaling"),
    "eta0": number(above=0),
    "power_t": number(least=0),
    "early_stopping": truth(),
    "validation_fraction": number(above=0, below=1),
    "n_iter_no_change": whole(least=1),
    "warm_start": COLD,
    "average": only(False, "steps are not averaged"),
    "batch_size": either(whole(least=0), one_of("auto")),
}
ANY_NUMBER = 1_000_000_000
ANY_PATIENCE = 5
"""The default of n_iter_no_change."""
STEPS_PER_EPOCH = 128
LEAST_BATCH = 8
LOCAL_STEPS = 8
FILE_BATCH = 1024


class _StochasticBase(ClusterEstimator):
    """What both have in common: the penalty, the steps, and when they end."""

    def _penalty_and_steps(self, given: Given) -> Settings:
        p = self.get_params(deep=False)
        share = {"l2": 0.0, "l1": 1.0, "elasticnet": float(p["l1_ratio"]), None: 0.0}[p["penalty"]]
        alpha = 0.0 if p["penalty"] is None else float(p["alpha"])
        return {
            "l1": alpha * share,
            "l2": alpha * (1.0 - share),
            "fit_intercept": bool(p["fit_intercept"]),
            "standardize": False,
            **_steps(p),
            **self._end(p, given),
        }

    def _end(self, p: Mapping[str, Any], given: Given) -> Settings:
        """What ends the steps: epochs that lower the loss no more; with all rows in each step the gradient."""
        size = self._batch_size(given)
        settings: Settings = {"batch_size": size, "local_steps": self._steps_per_round(given)}
        if p["early_stopping"]:
            settings["validation_fraction"] = float(p["validation_fraction"])
        if not size:
            if not p["early_stopping"] and p["n_iter_no_change"] != ANY_PATIENCE:
                raise InvalidParameter(
                    "n_iter_no_change",
                    f"{p['n_iter_no_change']} means nothing with batch_size=0, where tol bounds the gradient; "
                    "early_stopping=True counts epochs, and so do batches",
                )
            patience = {"patience": int(p["n_iter_no_change"])} if p["early_stopping"] else {}
            tolerance = 0.0 if p["tol"] is None else float(p["tol"])
            return {**settings, **patience, "max_rounds": int(p["max_iter"]), "tolerance": tolerance}
        settings |= {"max_epochs": int(p["max_iter"]), "max_rounds": ANY_NUMBER, "tolerance": 0.0}
        if p["tol"] is not None:
            settings["epoch_patience"] = int(p["n_iter_no_change"])
            settings["epoch_tolerance"] = (
                float(p["tol"]) / size
            )  # of as many steps as one row each would take
        return settings

    def _batch_size(self, given: Given) -> int:
        """Rows of a step; "auto" takes about 128 steps an epoch, or a fixed number of files, which nobody counted."""
        size: int | str = self.get_params(deep=False)["batch_size"]
        if not isinstance(size, str):
            return int(size)
        if not isinstance(given, InMemory):
            return FILE_BATCH
        return int(max(LEAST_BATCH, given.X.shape[0] // STEPS_PER_EPOCH))

    def _steps_per_round(self, given: Given) -> int:
        """Steps of each shard by itself between two averages: one, but for "auto" of arrays."""
        if self.get_params(deep=False)["batch_size"] != "auto" or not isinstance(given, InMemory):
            return 1
        steps = int(given.X.shape[0]) // self._batch_size(given)
        return max(1, min(LOCAL_STEPS, steps // 2))

    def _count(self, model: Model, given: Given) -> None:
        """Epochs and steps; without ``tol`` nothing but ``max_iter`` was to end them."""
        rounds, size = int(str(model.metadata["rounds"])), self._batch_size(given)
        rows = int(str(model.metadata["train_rows"]))
        local = self._steps_per_round(given)
        per_epoch = max(1, -(-rows // size) // local) if size else 1
        self.n_iter_ = max(1, -(-rounds // per_epoch))
        self.t_ = float(rounds * local + 1)
        diverged = str(model.metadata["stopped"]).startswith("diverged")
        if self.get_params(deep=False)["tol"] is not None or diverged:
            self._warn_unless_converged(model, "max_iter")


def _steps(p: Mapping[str, Any]) -> Settings:
    match p["learning_rate"]:
        case "optimal":
            return {"solver": "adam"}
        case "constant":
            return {"solver": "gradient_descent", "learning_rate": float(p["eta0"])}
    return {
        "solver": "gradient_descent",
        "learning_rate": float(p["eta0"]),
        "schedule": "inverse_scaling",
        "power": float(p["power_t"]),
    }


def _knows_probabilities(estimator: Any) -> bool:
    if estimator.loss != "log_loss":
        raise AttributeError(f"probabilities need loss='log_loss'; it is {estimator.loss!r}")
    return True


class SGDClassifier(LinearClassifierBase, _StochasticBase):
    """A linear classifier by steps: minimises the mean loss + alpha (l1_ratio |w|_1 + (1 - l1_ratio) / 2 |w|^2).

    Each step is along the gradient of a batch of ``batch_size`` rows from all shards together, 0 = all; "auto" = about
    128 steps an epoch, of which each shard takes up to 8 by itself before all are averaged. ``learning_rate``:
    constant, invscaling, or optimal, which is Adam. ``max_iter`` counts epochs; ``n_iter_no_change`` of them without a
    loss that is lower by ``tol / batch_size`` end it. With ``batch_size=0`` tol bounds the gradient relative to its
    first value. Columns should be on one scale: a loss that rises ends in a warning. With more than two classes
    log_loss learns a softmax, and the others tell each class from the rest. Attributes: classes_ (K,), coef_ (1, d) or
    (K, d), intercept_, n_iter_, t_, n_features_in_, feature_names_in_, model_, job_id_.
    """

    _twin = "linear_model.SGDClassifier"
    _rules: ClassVar[Mapping[str, Rule]] = {
        "loss": one_of(*LOSSES),
        **RULES,
        "epsilon": number(least=0),
        "n_jobs": IN_THE_CLUSTER,
        "class_weight": class_weights(),
    }

    def __init__(
        self,
        loss: str = "hinge",
        *,
        penalty: str | None = "l2",
        alpha: float = 0.0001,
        l1_ratio: float = 0.15,
        fit_intercept: bool = True,
        max_iter: int = 1000,
        tol: float | None = 1e-3,
        shuffle: bool = True,
        verbose: int = 0,
        epsilon: float = 0.1,
        n_jobs: int | None = None,
        random_state: object = None,
        learning_rate: str = "optimal",
        eta0: float = 0.01,
        power_t: float = 0.5,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        class_weight: object = None,
        warm_start: bool = False,
        average: bool = False,
        batch_size: int | str = "auto",
        cluster: object = None,
    ) -> None:
        self.loss = loss
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.shuffle = shuffle
        self.verbose = verbose
        self.epsilon = epsilon
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.learning_rate = learning_rate
        self.eta0 = eta0
        self.power_t = power_t
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.average = average
        self.batch_size = batch_size
        self.cluster = cluster

    def _learn(self, given: Given) -> None:
        settings = {
            **self._penalty_and_steps(given),
            **({} if self.loss == "log_loss" else {"loss": self.loss}),
            "class_weight": class_weight_setting(self.class_weight, given),
        }
        model = self._train_linear(LOSSES[self.loss], settings, given)
        self._count(model, given)

    @available_if(_knows_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: object) -> NDArray[Any]:
        """Probability of each class in the order of classes_, (n, K); with loss="log_loss" only."""
        return probabilities_of(self.decision_function(X))

    @available_if(_knows_probabilities)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: object) -> NDArray[Any]:
        """Logarithm of predict_proba, (n, K)."""
        p: NDArray[Any] = np.log(self.predict_proba(X))
        return p


class SGDRegressor(LinearRegressorBase, _StochasticBase):
    """A linear regression by steps: minimises the mean loss + alpha (l1_ratio |w|_1 + (1 - l1_ratio) / 2 |w|^2).

    The loss is half the squared error, or Huber's, which is linear beyond ``epsilon``. The rest is as in SGDClassifier.
    Attributes: coef_ (d,), intercept_ (1,), n_iter_, t_, n_features_in_, feature_names_in_, model_, job_id_.
    """

    _twin = "linear_model.SGDRegressor"
    _rules: ClassVar[Mapping[str, Rule]] = {
        "loss": one_of("squared_error", "huber"),
        **RULES,
        "epsilon": number(above=0),
    }

    def __init__(
        self,
        loss: str = "squared_error",
        *,
        penalty: str | None = "l2",
        alpha: float = 0.0001,
        l1_ratio: float = 0.15,
        fit_intercept: bool = True,
        max_iter: int = 1000,
        tol: float | None = 1e-3,
        shuffle: bool = True,
        verbose: int = 0,
        epsilon: float = 0.1,
        random_state: object = None,
        learning_rate: str = "invscaling",
        eta0: float = 0.01,
        power_t: float = 0.25,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        warm_start: bool = False,
        average: bool = False,
        batch_size: int | str = "auto",
        cluster: object = None,
    ) -> None:
        self.loss = loss
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.shuffle = shuffle
        self.verbose = verbose
        self.epsilon = epsilon
        self.random_state = random_state
        self.learning_rate = learning_rate
        self.eta0 = eta0
        self.power_t = power_t
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.average = average
        self.batch_size = batch_size
        self.cluster = cluster

    def _learn(self, given: Given) -> None:
        settings = self._penalty_and_steps(given)
        algorithm = "linear"
        if self.loss == "huber":
            algorithm = "huber"
            settings |= {"epsilon": float(self.epsilon), "learn_scale": False}
        model = self._train_linear(algorithm, settings, given)
        self.intercept_ = np.array([self.intercept_])
        self._count(model, given)

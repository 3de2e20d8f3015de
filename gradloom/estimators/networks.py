"""Multi-layer perceptrons."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin

from gradloom.errors import InvalidParameter
from gradloom.estimators.asking import over_blocks, predicted_classes
from gradloom.estimators.data import Given, InMemory
from gradloom.estimators.estimator import ClusterEstimator, Settings
from gradloom.estimators.linear import classes_of, dtype_of
from gradloom.estimators.parameters import (
    COLD,
    QUIET,
    Rule,
    either,
    number,
    one_of,
    only,
    random_state,
    truth,
    whole,
)
from gradloom.models import Network

ALL_SIZES = Rule(
    lambda given: all(isinstance(size, int | np.integer) and size >= 1 for size in _sizes(given)),
    "it must be the units of each hidden layer, such as (128, 64)",
)
RULES: Mapping[str, Rule] = {
    "hidden_layer_sizes": ALL_SIZES,
    "activation": one_of("relu", "tanh", "gelu", "identity", "logistic"),
    "solver": one_of("adam", "sgd", why="lbfgs takes no batches"),
    "alpha": number(least=0),
    "batch_size": either(whole(least=1), one_of("auto")),
    "learning_rate": one_of("constant", "invscaling", why="adaptive needs more than one job can tell"),
    "learning_rate_init": number(above=0),
    "power_t": number(least=0),
    "max_iter": whole(least=1),
    "shuffle": only(True, "batches are drawn in a new order in every epoch"),
    "random_state": random_state(),
    "tol": number(least=0),
    "verbose": QUIET,
    "warm_start": COLD,
    "momentum": number(least=0, below=1),
    "nesterovs_momentum": truth(),
    "early_stopping": truth(),
    "validation_fraction": number(above=0, below=1),
    "beta_1": number(least=0, below=1),
    "beta_2": number(least=0, below=1),
    "epsilon": number(above=0),
    "n_iter_no_change": whole(least=1),
    "max_fun": only(15000, "it belongs to the solver lbfgs"),
}


def _sizes(given: Any) -> tuple[Any, ...]:
    return (
        tuple(given) if isinstance(given, Sequence | np.ndarray) and not isinstance(given, str) else (given,)
    )


class _NetworkBase(ClusterEstimator):
    """What both have in common: the parameters, the training, and what a network is made of."""

    batch_size: object
    early_stopping: bool
    hidden_layer_sizes: object
    learning_rate: str
    solver: str

    def _train_network(self, algorithm: str, more: Settings, given: Given) -> Network:
        if isinstance(given, InMemory) and self.early_stopping and given.X.shape[0] < 2:
            raise InvalidParameter("early_stopping", "needs more rows than one, to validate on some of them")
        settings = {**self._settings(given), "dtype": dtype_of(given), "standardize": False, **more}
        model = self._train(Network, algorithm, settings, given)
        dtype = dtype_of(given)
        self.coefs_ = [layer.weights.astype(dtype) for layer in model.layers]
        self.intercepts_ = [layer.bias.astype(dtype) for layer in model.layers]
        self.n_layers_ = len(self.coefs_) + 1
        self.n_outputs_ = int(model.sizes[-1])
        self.n_iter_ = max(1, round(float(str(model.metadata["epochs"]))))
        self.t_ = self.n_iter_ * int(str(model.metadata["train_rows"]))
        self.loss_ = float(str(model.metadata["loss"]))
        self._warn_unless_converged(model, "max_iter")
        return model

    def _settings(self, given: Given) -> Settings:
        p = self.get_params(deep=False)
        auto = min(200, given.X.shape[0]) if isinstance(given, InMemory) else 200
        settings: Settings = {
            "hidden_layer_sizes": ",".join(str(int(size)) for size in _sizes(self.hidden_layer_sizes)),
            "activation": p["activation"],
            "solver": self.solver,
            "learning_rate": float(p["learning_rate_init"]),
            "alpha": float(p["alpha"]),
            "batch_size": auto if self.batch_size == "auto" else int(str(self.batch_size)),
            "max_epochs": int(p["max_iter"]),
            "patience": int(p["n_iter_no_change"]),
            "tolerance": float(p["tol"]),
            "validation_fraction": float(p["validation_fraction"]) if self.early_stopping else 0.0,
        }
        if self.solver == "sgd":
            settings |= {"momentum": float(p["momentum"]), "nesterov": bool(p["nesterovs_momentum"])}
            if self.learning_rate == "invscaling":
                settings |= {"schedule": "inverse_scaling", "power": float(p["power_t"])}
        else:
            settings |= {
                "beta1": float(p["beta_1"]),
                "beta2": float(p["beta_2"]),
                "epsilon": float(p["epsilon"]),
            }
        return settings


class MLPClassifier(ClassifierMixin, _NetworkBase):
    """A network for two or more classes: softmax cross-entropy, in batches of all shards together.

    It trains as scikit-learn's does, on float32 or float64 as X is, by other random numbers; ``early_stopping`` goes by
    the validation loss. Attributes: classes_, coefs_, intercepts_, n_iter_ (epochs), loss_, n_layers_, n_outputs_,
    out_activation_, t_, n_features_in_, feature_names_in_, model_, job_id_.
    """

    _twin = "neural_network.MLPClassifier"
    _target = "class"
    _rules = RULES

    def __init__(
        self,
        hidden_layer_sizes: object = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: object = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: object = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int = 10,
        max_fun: int = 15000,
        cluster: object = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.cluster = cluster

    def _learn(self, given: Given) -> None:
        model = self._train_network("mlp_classifier", {}, given)
        self.classes_ = classes_of(model, given)
        self.out_activation_ = "logistic" if len(self.classes_) == 2 else "softmax"

    def predict(self, X: object) -> NDArray[Any]:
        """The most probable class of each row, (n,)."""
        rows = self._checked(X)
        return predicted_classes(self.model_, rows, self.classes_)

    def predict_proba(self, X: object) -> NDArray[Any]:
        """Probability of each class in the order of classes_, (n, K)."""
        rows = self._checked(X)
        return over_blocks(self.model_.predict_proba, rows)

    def predict_log_proba(self, X: object) -> NDArray[Any]:
        """Logarithm of predict_proba, (n, K)."""
        p: NDArray[Any] = np.log(self.predict_proba(X))
        return p

    def _twin_attributes(self) -> dict[str, Any]:
        from sklearn.preprocessing import LabelBinarizer

        return {**super()._twin_attributes(), "_label_binarizer": LabelBinarizer().fit(self.classes_)}


class MLPRegressor(RegressorMixin, _NetworkBase):
    """A network for a number: half the squared error, in batches of all shards together.

    It trains as scikit-learn's does, on float32 or float64 as X is, by other random numbers. Attributes: those of
    MLPClassifier but classes_.
    """

    _twin = "neural_network.MLPRegressor"
    _target = "number"
    _rules: ClassVar[Mapping[str, Rule]] = {
        "loss": only("squared_error", "the loss of other distributions has no network here"),
        **RULES,
    }

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: object = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: object = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: object = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int = 10,
        max_fun: int = 15000,
        cluster: object = None,
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.cluster = cluster

    def _learn(self, given: Given) -> None:
        self._train_network("mlp_regressor", {"standardize_target": False}, given)
        self.out_activation_ = "identity"

    def predict(self, X: object) -> NDArray[Any]:
        """The value of each row, (n,)."""
        rows = self._checked(X)
        return over_blocks(self.model_.predict, rows)

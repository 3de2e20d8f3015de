"""Networks against scikit-learn: the same weights at the start, then as many steps over all rows on both sides."""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.neural_network import MLPClassifier, MLPRegressor

from benchmarks.equality_case import EqualityCase, Floats
from gradloom.algorithms import build
from tests.unit.algorithms.training import Data, schema_of

STEPS = 50
HIDDEN = (16, 8)
NO_EPSILON = 1e-18
"""scikit-learn adds Adam's epsilon to another term of the formula."""


@cache
def standardised(name: str) -> Data:
    loads: dict[str, Callable[..., Any]] = {
        "digits": load_digits,
        "breast_cancer": load_breast_cancer,
        "diabetes": load_diabetes,
    }
    X, y = loads[name](return_X_y=True)
    order = np.random.default_rng(3).permutation(len(X))
    scale = X.std(axis=0)
    X = (X - X.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    y = (y - y.mean()) / y.std() if name == "diabetes" else y
    return Data(X[order], np.asarray(y[order], np.float64))


def network(name: str, activation: str, solver: str) -> EqualityCase:
    regression = name == "diabetes"
    algorithm = "mlp_regressor" if regression else "mlp_classifier"
    settings: dict[str, Any] = {
        "hidden_layer_sizes": ",".join(map(str, HIDDEN)),
        "activation": activation,
        "solver": solver,
        "learning_rate": 0.005,
        "alpha": 0.1,
        "batch_size": 0,
        "max_epochs": STEPS,
        "patience": 0,
        "standardize": False,
        "dtype": "float64",
        **({"standardize_target": False} if regression else {}),
        **({"epsilon": NO_EPSILON} if solver == "adam" else {}),
    }

    def twin(data: Data) -> Floats:
        ours = build(algorithm, settings)
        start = ours.finish(ours.start(schema_of(data, ours.needs)))
        theirs = (MLPRegressor if regression else MLPClassifier)(
            hidden_layer_sizes=HIDDEN,
            activation=activation,
            solver=solver,
            learning_rate_init=0.005,
            alpha=0.1,
            batch_size=len(data.X),
            epsilon=NO_EPSILON,
        )
        more = {} if regression else {"classes": np.unique(data.y)}
        theirs.partial_fit(data.X, data.y, **more)  # makes all that it needs
        theirs.coefs_ = [layer.weights.copy() for layer in start.layers]  # type: ignore[attr-defined]
        theirs.intercepts_ = [layer.bias.copy() for layer in start.layers]  # type: ignore[attr-defined]
        del theirs._optimizer  # noqa: SLF001 - another begins with no momentum
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(STEPS):
                theirs.partial_fit(data.X, data.y)
        layers = zip(theirs.coefs_, theirs.intercepts_, strict=True)
        return np.concatenate([part.ravel() for layer in layers for part in layer])

    return EqualityCase(
        algorithm,
        settings,
        name,
        lambda: standardised(name),
        "MLPRegressor" if regression else "MLPClassifier",
        twin,
        1e-9,
        lambda model, _: model.parameters,  # type: ignore[attr-defined]
        note=f"{activation}, {STEPS} steps from the same weights",
    )


CASES = tuple(
    network(name, activation, solver)
    for name, activation in (("digits", "relu"), ("breast_cancer", "tanh"), ("diabetes", "logistic"))
    for solver in ("adam", "sgd")
)

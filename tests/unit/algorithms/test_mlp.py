"""Perceptrons are scikit-learn's networks, and learn what those learn."""

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.neural_network import MLPClassifier, MLPRegressor

from gradloom.algorithms import build
from gradloom.errors import InvalidInput
from gradloom.models import Network
from tests.unit.algorithms.case import Case, World
from tests.unit.algorithms.cases.mlp import CANCER, CASES, DIGITS, EXACT, IRIS
from tests.unit.algorithms.training import Data, schema_of, shards_of, shuffled, total_of, train, train_state

NO_EPSILON = 1e-18
"""scikit-learn adds Adam's epsilon to another term, so that equality needs one that does not matter."""


def scaled(X: Any, y: Any) -> Data:
    return shuffled(Data((X - X.mean(axis=0)) / X.std(axis=0), np.asarray(y, np.float64)))


@pytest.mark.parametrize(("spread", "scale"), [(0.0, 1.0), (1e-4, 1e-4), (30.0, 30.0)])
def test_a_target_far_from_0_is_measured_around_its_mean(spread: float, scale: float) -> None:
    X = np.random.default_rng(0).normal(size=(200, 2))
    t = (X[:, 0] - X[:, 0].mean()) / X[:, 0].std()
    state = train_state(build("mlp_regressor", {"max_epochs": 1}), Data(X, 1e4 + spread * t), at_most=3)
    assert state.measured
    assert state.target_center == pytest.approx(1e4, rel=1e-15)
    assert state.target_scale == pytest.approx(scale, rel=1e-6)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("kind", ["two classes", "three classes", "regression"])
def test_from_the_same_start_every_step_is_scikit_learns(kind: str, activation: str, solver: str) -> None:
    data = {
        "two classes": scaled(*load_breast_cancer(return_X_y=True)),
        "three classes": scaled(*load_iris(return_X_y=True)),
        "regression": scaled(*load_diabetes(return_X_y=True)),
    }[kind]
    regression = kind == "regression"
    if regression:
        data = Data(data.X, data.y / 100.0)
    more: dict[str, Any] = {"standardize_target": False} if regression else {}
    more |= {"epsilon": NO_EPSILON} if solver == "adam" else {}
    algorithm = build(
        "mlp_regressor" if regression else "mlp_classifier",
        {**EXACT, "alpha": 0.3, "activation": activation, "solver": solver, "learning_rate": 0.01, **more},
    )
    schema = schema_of(data, algorithm.needs)
    shards, state = shards_of(data, schema, 5), algorithm.start(schema)
    theirs = (MLPRegressor if regression else MLPClassifier)(
        hidden_layer_sizes=(6, 4), activation=activation, solver=solver, alpha=0.3, learning_rate_init=0.01,
        batch_size=len(data.X), epsilon=NO_EPSILON,
    )  # fmt: skip
    _begin_at(theirs, algorithm.finish(state), data)
    for _ in range(4):
        state = algorithm.update(state, total_of(algorithm, shards, algorithm.broadcast(state)))
        theirs.partial_fit(data.X, data.y)
        ours = algorithm.finish(state)
        for layer, weights, bias in zip(ours.layers, theirs.coefs_, theirs.intercepts_, strict=True):
            np.testing.assert_allclose(layer.weights, weights, rtol=0, atol=1e-10)
            np.testing.assert_allclose(layer.bias, bias, rtol=0, atol=1e-10)
        assert state.optimizer.loss == pytest.approx(theirs.loss_, rel=1e-12)


def _begin_at(estimator: Any, model: Network, data: Data) -> None:
    more = {} if model.classes is None else {"classes": np.asarray(model.classes)}
    estimator.partial_fit(data.X, data.y, **more)  # makes all that it needs
    estimator.coefs_ = [layer.weights.copy() for layer in model.layers]
    estimator.intercepts_ = [layer.bias.copy() for layer in model.layers]
    del estimator._optimizer


def test_on_digits_it_is_as_good_as_scikit_learn() -> None:
    data = shuffled(DIGITS)
    X, y, half = data.X / 16.0, data.y.astype(np.float64), 900
    algorithm = build(
        "mlp_classifier",
        {
            "hidden_layer_sizes": "64",
            "batch_size": 64,
            "learning_rate": 0.005,
            "max_epochs": 20,
            "standardize": False,
        },
    )
    ours, theirs = [], []
    for seed in range(3):
        schema = schema_of(Data(X[:half], y[:half]), algorithm.needs, seed)
        shards, state = shards_of(Data(X[:half], y[:half]), schema, 3), algorithm.start(schema)
        while algorithm.done(state) is None:
            state = algorithm.update(state, total_of(algorithm, shards, algorithm.broadcast(state)))
        ours.append(algorithm.finish(state).scores(X[half:], y[half:])["accuracy"])
        other = MLPClassifier((64,), batch_size=64, learning_rate_init=0.005, max_iter=20, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it wants more epochs
            theirs.append(other.fit(X[:half], y[:half]).score(X[half:], y[half:]))
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=0.005)
    assert np.mean(ours) > 0.95


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize(
    "case", [case for case in CASES if case.variant in ("whole", "two classes")], ids=str
)
def test_a_model_becomes_a_fitted_estimator(case: Case, activation: str) -> None:
    world = World(Case(case.algorithm, "", case.data, {**case.settings, "activation": activation}))
    model, X = world.algorithm.finish(world.state), world.data.X
    theirs = model.to_sklearn()
    del theirs.feature_names_in_  # X below is a bare array
    if model.classes is None:
        np.testing.assert_allclose(theirs.predict(X), model.predict(X), rtol=1e-9)
    else:
        np.testing.assert_array_equal(theirs.predict(X), model.predict(X))
        np.testing.assert_allclose(theirs.predict_proba(X), model.predict_proba(X), rtol=1e-9, atol=1e-12)
        assert theirs.score(X, world.data.y) == pytest.approx(model.scores(X, world.data.y)["accuracy"])
    assert [weights.shape for weights in theirs.coefs_] == [layer.weights.shape for layer in model.layers]
    assert theirs.n_features_in_ == X.shape[1]


def test_a_network_with_gelu_has_no_estimator() -> None:
    world = World(Case("mlp_classifier", "", IRIS, {**EXACT, "activation": "gelu"}))
    with pytest.raises(InvalidInput, match="gelu"):
        world.algorithm.finish(world.state).to_sklearn()


def test_it_learns_32_rows_by_heart() -> None:
    rng = np.random.default_rng(2)
    data = Data(rng.standard_normal((32, 10)), rng.integers(0, 4, 32).astype(np.float64))
    model = train(
        build(
            "mlp_classifier",
            {
                "hidden_layer_sizes": "64",
                "batch_size": 8,
                "learning_rate": 0.01,
                "max_epochs": 60,
                "alpha": 0,
            },
        ),
        data,
        at_most=10_000,
    )
    scores = model.scores(data.X, data.y)
    assert scores["accuracy"] == 1.0
    assert scores["log_loss"] < 0.02


def test_a_regression_learns_a_curve_in_any_unit() -> None:
    rng = np.random.default_rng(2)
    X = rng.uniform(-2, 2, (400, 2))
    y = np.sin(2 * X[:, 0]) * X[:, 1]
    settings = {"hidden_layer_sizes": "32", "batch_size": 32, "learning_rate": 0.05, "max_epochs": 40}
    scores = [
        train(build("mlp_regressor", settings), Data(X, y * scale + shift), at_most=10_000).scores(
            X, y * scale + shift
        )
        for scale, shift in ((1.0, 0.0), (1e4, 3e5))
    ]
    assert scores[0]["r2"] > 0.9
    assert scores[1]["r2"] == pytest.approx(scores[0]["r2"], abs=0.01)


def test_class_weights_move_the_odds() -> None:
    settings = {"hidden_layer_sizes": "", "batch_size": 0, "max_epochs": 150, "learning_rate": 0.05}
    data = shuffled(CANCER)
    plain, heavy = (
        train(build("mlp_classifier", {**settings, "class_weight": weight}), data, at_most=150)
        for weight in ("", "balanced")
    )
    rare = int(np.mean(data.y) < 0.5)
    assert heavy.predict_proba(data.X)[:, rare].mean() > plain.predict_proba(data.X)[:, rare].mean()


def test_dropout_is_for_training_only_and_slows_learning_by_heart() -> None:
    settings = {"hidden_layer_sizes": "64", "batch_size": 16, "learning_rate": 0.01, "max_epochs": 20}
    rng = np.random.default_rng(2)
    data = Data(rng.standard_normal((64, 10)), rng.integers(0, 2, 64).astype(np.float64))
    models = [
        train(build("mlp_classifier", {**settings, "dropout": dropout}), data, at_most=10_000)
        for dropout in (0.0, 0.6)
    ]
    losses = [model.scores(data.X, data.y)["log_loss"] for model in models]
    assert losses[1] > 1.5 * losses[0]
    np.testing.assert_array_equal(models[1].predict_proba(data.X), models[1].predict_proba(data.X))

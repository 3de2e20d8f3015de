"""What is true of perceptrons alone, beyond the contract of every algorithm."""

import warnings
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris
from sklearn.neural_network import MLPClassifier, MLPRegressor

from gradloom.algorithms import build
from gradloom.algorithms.epochs import batch_at, batch_bounds, steps_per_epoch
from gradloom.algorithms.mlp_state import MlpState
from gradloom.errors import InvalidInput, JobFailed
from gradloom.models import Network
from tests.unit.algorithms.case import Case, World
from tests.unit.algorithms.cases.mlp import CANCER, CASES, DIABETES, IRIS
from tests.unit.algorithms.training import Data, schema_of, shards_of, total_of, train, train_state

DIGITS = Data(*load_digits(return_X_y=True))
EXACT: Mapping[str, Any] = {
    "dtype": "float64", "standardize": False, "batch_size": 0, "hidden_layer_sizes": "6,4", "patience": 0,
}  # fmt: skip
NO_EPSILON = 1e-18
"""scikit-learn adds Adam's epsilon to another term, so that equality needs one that does not matter."""


def shuffled(data: Data, seed: int = 0) -> Data:
    order = np.random.default_rng(seed).permutation(len(data.X))
    return Data(np.asarray(data.X[order], np.float64), data.y[order])


def scaled(X: Any, y: Any) -> Data:
    return shuffled(Data((X - X.mean(axis=0)) / X.std(axis=0), np.asarray(y, np.float64)))


# ---- scikit-learn's networks are these


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


# ---- epochs and batches


@pytest.mark.parametrize("sizes", [[10] * 64, [1, 2, 3, 500, 7], [400], [0, 5]], ids=str)
@pytest.mark.parametrize("batch_size", [1, 32, 100, 10_000])
def test_an_epoch_takes_every_row_once_in_batches_of_about_one_size(
    sizes: list[int], batch_size: int
) -> None:
    steps = steps_per_epoch(sum(sizes), batch_size)
    bounds = [[batch_bounds(n, k, t, steps) for t in range(steps)] for k, n in enumerate(sizes)]
    for n, of_shard in zip(sizes, bounds, strict=True):
        assert [lo for lo, _ in of_shard] == [0, *(hi for _, hi in of_shard[:-1])]
        assert of_shard[-1][1] == n
    taken = np.array([sum(hi - lo for lo, hi in step) for step in zip(*bounds, strict=True)])
    assert taken.sum() == sum(sizes)
    assert abs(taken - taken.mean()).max() <= 1 + 4 * np.log2(1 + len(sizes))


def test_batches_of_a_shard_are_new_in_every_epoch_and_keep_rows_together() -> None:
    data = shuffled(CANCER)
    shard = shards_of(data, schema_of(data, build("mlp_classifier").needs), 3)[2]
    epochs = [[batch_at(shard.train, 2, 9, epoch, t, 5) for t in range(5)] for epoch in range(2)]
    for batches in epochs:
        positions = np.concatenate([batch.positions for batch in batches])
        np.testing.assert_array_equal(np.sort(positions), shard.train.positions)
        for batch in batches:
            at = np.searchsorted(shard.train.positions, batch.positions)
            np.testing.assert_array_equal(batch.X, shard.train.X[at])
            np.testing.assert_array_equal(batch.y, shard.train.y[at])
    assert epochs[0][0].positions.tolist() != epochs[1][0].positions.tolist()


def test_it_ends_after_so_many_epochs_and_says_so() -> None:
    algorithm = build("mlp_classifier", {"batch_size": 50, "max_epochs": 3, "hidden_layer_sizes": "5"})
    state = train_state(algorithm, shuffled(IRIS))
    assert algorithm.done(state) == "max_epochs = 3 reached"
    progress = algorithm.progress(state)
    assert (progress.iteration, progress.max_iterations) == (9, 9)
    model = algorithm.finish(state)
    assert model.metadata["epochs"] == 3.0
    assert model.metadata["updates"] == 9


# ---- what it learns


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


# ---- early stopping


def run_out_of_patience(**more: Any) -> tuple[Any, list[MlpState]]:
    """Random labels: what it learns by heart is of no use on other rows."""
    rng = np.random.default_rng(1)
    data = Data(rng.standard_normal((300, 8)), rng.integers(0, 2, 300).astype(np.float64))
    settings = {"hidden_layer_sizes": "32", "learning_rate": 0.02, "batch_size": 64, "patience": 4, **more}
    algorithm = build("mlp_classifier", settings)
    schema = schema_of(data, algorithm.needs)
    shards, states = shards_of(data, schema, 3), [algorithm.start(schema)]
    while algorithm.done(states[-1]) is None:
        total = total_of(algorithm, shards, algorithm.broadcast(states[-1]))
        states.append(algorithm.update(states[-1], total))
    return algorithm, states


@pytest.mark.parametrize("local_steps", [1, 3])
def test_the_best_parameters_on_validation_rows_are_returned(local_steps: int) -> None:
    algorithm, states = run_out_of_patience(validation_fraction=0.3, local_steps=local_steps)
    end = states[-1]
    assert algorithm.done(end) == "no better validation loss in 4 epochs"
    losses = {
        after.validation_loss: before.optimizer.point
        for before, after in pairwise(states)
        if after.validated > before.validated
    }
    best = min(loss for loss in losses if loss is not None)
    assert end.validation_loss is not None
    assert best == end.best_loss < end.validation_loss
    np.testing.assert_array_equal(algorithm.solution(end)["parameters"], losses[best].astype(np.float32))


def test_the_last_epoch_is_validated_too() -> None:
    algorithm, states = run_out_of_patience(validation_fraction=0.3, max_epochs=2)
    end = states[-1]
    assert algorithm.done(end) == "max_epochs = 2 reached"
    assert end.validated == 2
    assert end.round == end.optimizer.updates + 1  # a round for the validation rows alone
    assert algorithm.progress(end).max_iterations == end.round


def test_without_validation_rows_the_loss_of_the_train_rows_counts() -> None:
    algorithm, states = run_out_of_patience(tolerance=10.0)
    assert algorithm.done(states[-1]) == "no better train loss in 4 epochs"
    assert algorithm.finish(states[-1]).metadata["epochs"] == 5.0  # the first one is better than none


# ---- local steps, schedules, synchrony


@pytest.mark.parametrize("solver", ["adam", "adamw", "sgd"])
def test_of_one_shard_a_walk_is_as_many_synchronous_rounds(solver: str) -> None:
    data = shuffled(CANCER)
    settings = {
        "solver": solver, "dtype": "float64", "hidden_layer_sizes": "6", "batch_size": 64, "max_epochs": 4,
        "schedule": "cosine", "warmup_epochs": 0.5, "dropout": 0.2, "alpha": 0.0, "patience": 0,
    }  # fmt: skip
    walked, stepped = (
        train_state(build("mlp_classifier", {**settings, "local_steps": steps}), data, 1) for steps in (3, 1)
    )
    assert walked.optimizer.updates == stepped.optimizer.updates == 36
    assert (walked.round, stepped.round) == (12, 36)
    np.testing.assert_allclose(walked.optimizer.point, stepped.optimizer.point, rtol=1e-8, atol=1e-10)


def test_local_steps_learn_from_unequal_shards() -> None:
    data = shuffled(CANCER)
    settings = {
        "hidden_layer_sizes": "16",
        "batch_size": 64,
        "local_steps": 5,
        "max_epochs": 20,
        "learning_rate": 0.01,
    }
    model = train(build("mlp_classifier", settings), data, at_most=10_000)
    assert model.scores(data.X, data.y)["accuracy"] > 0.97


def test_the_learning_rate_follows_the_schedule_in_epochs() -> None:
    settings = {
        "batch_size": 50, "max_epochs": 4, "learning_rate": 0.1, "schedule": "cosine", "warmup_epochs": 1,
        "final_rate": 0.01, "hidden_layer_sizes": "4",
    }  # fmt: skip
    world = World(Case("mlp_classifier", "", IRIS, settings), rounds=0)
    rates = []
    while world.algorithm.done(world.state) is None:
        world.step()
        rates.append(world.algorithm.progress(world.state).learning_rate)
    assert rates[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert rates == [*sorted(rates[:4]), *sorted(rates[4:], reverse=True)]
    assert 0.01 < rates[-1] < 0.02


SOLVERS: Mapping[str, Mapping[str, Any]] = {
    "adam": {"solver": "adam"},
    "adamw": {"solver": "adamw", "weight_decay": 0.01},
    "sgd": {"solver": "sgd", "momentum": 0.0, "nesterov": False},
}


@pytest.mark.parametrize("solver", list(SOLVERS))
def test_an_old_gradient_makes_a_shorter_step_whatever_the_solver(solver: str) -> None:
    settings = {
        "batch_size": 32,
        "hidden_layer_sizes": "4",
        "dtype": "float64",
        "alpha": 0.0,
        **SOLVERS[solver],
    }
    world = World(Case("mlp_classifier", "", CANCER, settings))
    partial = world.algorithm.map(world.shards[3], world.message)
    damped = world.algorithm.damped(partial, 0.25)
    assert {name for name in partial if not np.array_equal(partial[name], damped[name])} == {
        "gradient",
        "fresh_weight",
    }
    start = world.state.optimizer.point
    full, short = (
        world.algorithm.update(world.state, one).optimizer.point - start for one in (partial, damped)
    )
    np.testing.assert_allclose(short, 0.25 * full, rtol=1e-9, atol=1e-15)


def test_with_delays_adam_learns_what_it_can_not_where_only_the_gradient_is_damped() -> None:
    data, late = shuffled(DIGITS), 7
    settings = {"hidden_layer_sizes": "32", "batch_size": 64, "learning_rate": 0.02, "max_epochs": 100}
    algorithm = build("mlp_classifier", {**settings, "patience": 0, "standardize": False})
    data = Data(data.X / 16.0, data.y)
    schema = schema_of(data, algorithm.needs)
    shards, states = shards_of(data, schema, 8)[3:], [algorithm.start(schema)]
    for i in range(500):
        old = states[max(0, len(states) - 1 - late)]
        partial = algorithm.map(shards[i % len(shards)], algorithm.broadcast(old))
        states.append(algorithm.update(states[-1], algorithm.damped(partial, 1 / (1 + late))))
    model = algorithm.finish(states[-1])
    assert model.scores(data.X, data.y)["accuracy"] > 0.9


def test_momentum_does_not_go_with_asynchronous_rounds() -> None:
    assert "set momentum=0" in build("mlp_classifier", {"solver": "sgd"}).stale_sums_harm
    assert not build("mlp_classifier", SOLVERS["sgd"]).stale_sums_harm
    assert not build("mlp_classifier").stale_sums_harm


def test_another_batch_size_counts_from_the_next_epoch_on_and_no_row_is_seen_twice() -> None:
    data = shuffled(CANCER)
    algorithms = [build("mlp_classifier", {"batch_size": size, "max_epochs": 3}) for size in (100, 40)]
    schema = schema_of(data, algorithms[0].needs)
    shards, state = shards_of(data, schema, 4), algorithms[0].start(schema)
    rows, after = [], []
    for round_ in range(100):
        algorithm = algorithms[int(round_ >= 2)]  # changed in the middle of the first epoch
        if algorithm.done(state):
            break
        total = total_of(algorithm, shards, algorithm.broadcast(state))
        state = algorithm.update(state, total)
        rows.append(float(total["rows"]))
        after.append(state.epochs)
    assert len(rows) == 6 + 15 + 15
    assert [sum(part) for part in (rows[:6], rows[6:21], rows[21:])] == [569.0] * 3
    assert after[5] == 1.0
    assert algorithms[1].progress(state).max_iterations == state.round == 36
    assert "batch_size" in algorithms[0].settings.steerable


def test_a_round_of_some_shards_is_a_step_and_one_of_no_rows_is_none() -> None:
    world = World(Case("mlp_classifier", "", CANCER, {"batch_size": 32, "hidden_layer_sizes": "4"}))
    some = world.total(world.shards[2:4])
    after = world.algorithm.update(world.state, some)
    assert after.optimizer.updates == world.state.optimizer.updates + 1
    nothing = {name: np.zeros_like(tensor) for name, tensor in some.items()}
    skipped = world.algorithm.update(world.state, nothing)
    assert (skipped.epochs, skipped.round) == (after.epochs, after.round)
    np.testing.assert_array_equal(skipped.optimizer.point, world.state.optimizer.point)
    assert world.algorithm.takes_part_sums
    assert not build("mlp_classifier", {"local_steps": 2}).takes_part_sums


# ---- refusals


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"hidden_layer_sizes": "128,,64"},
            "hidden_layer_sizes: .*'128,,64' is not allowed; it must be units",
        ),
        ({"hidden_layer_sizes": "0"}, "1 to 65536"),
        ({"hidden_layer_sizes": "a"}, "such as 128,64"),
        ({"momentum": "0.5"}, "momentum.*means nothing to solver 'adam', only to: sgd"),
        ({"solver": "sgd", "beta1": 0.5}, "beta1.*only to: adam, adamw"),
        ({"weight_decay": 0.5}, "weight_decay.*only to: adamw"),
        ({"final_rate": 0.5}, "final_rate.*means nothing to schedule 'constant', only to: cosine"),
        ({"dropout": 0.5, "hidden_layer_sizes": ""}, "dropout.*needs a hidden layer"),
        ({"dropout": 1}, "dropout.*less than or equal to 0.95"),
        ({"activation": "swish"}, "activation.*'relu'"),
        ({"solver": "lbfgs"}, "solver.*'adam'"),
        ({"class_weight": "a"}, "class_weight.*label:weight"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        build("mlp_classifier", settings)


def test_sizes_may_be_written_as_python_does() -> None:
    written = [
        build("mlp_classifier", {"hidden_layer_sizes": one}) for one in ("8,4", (8, 4), [8, 4], "8, 4,")
    ]
    assert {one.settings.hidden for one in written} == {(8, 4)}
    assert build("mlp_classifier", {"hidden_layer_sizes": 8}).settings.hidden == (8,)


def test_data_that_does_not_suit_is_refused() -> None:
    one_class = Data(np.ones((20, 2)), np.zeros(20))
    algorithm = build("mlp_classifier")
    with pytest.raises(InvalidInput, match="has 1 classes, which mlp_classifier can't learn"):
        algorithm.start(schema_of(one_class, algorithm.needs))
    large = build("mlp_classifier", {"hidden_layer_sizes": "65536,65536"})
    with pytest.raises(InvalidInput, match=r"hidden_layer_sizes.*4,295,.* parameters of 4 columns; at most"):
        large.start(schema_of(IRIS, large.needs))
    weightless = Data(np.ones((20, 2)), np.arange(20.0), np.zeros(20))
    with pytest.raises(InvalidInput, match="every train row weighs 0"):
        build("mlp_regressor").start(schema_of(weightless, build("mlp_regressor").needs))


def test_what_diverges_fails_and_says_what_to_do() -> None:
    world = World(Case("mlp_classifier", "", CANCER, {"batch_size": 32, "hidden_layer_sizes": "4"}))
    total = {**world.total(world.shards)}
    for bad in ("loss", "gradient"):
        broken = {**total, bad: np.full_like(total[bad], np.nan)}
        with pytest.raises(JobFailed, match=r"round 3 is not a finite number: .*smaller than 0.001"):
            world.algorithm.update(world.state, broken)


# ---- models


def test_rows_that_are_not_finite_are_refused_though_relu_would_swallow_them() -> None:
    world = World(Case("mlp_regressor", "", DIABETES, {**EXACT}))
    model, X = world.algorithm.finish(world.state), world.data.X[:3].copy()
    X[1, 4] = -np.inf
    with pytest.raises(InvalidInput, match="row 1 holds a value in column 'x4' that is not finite"):
        model.predict(X)


def test_a_network_whose_arrays_do_not_fit_is_refused() -> None:
    world = World(Case("mlp_classifier", "", IRIS, {**EXACT}))
    model = world.algorithm.finish(world.state)
    assert isinstance(model, Network)
    parts = {name: getattr(model, name) for name in ("algorithm", "version", "features", "target", "classes")}
    for wrong in (
        {"sizes": np.array([4, 6, 2])},
        {"sizes": np.array([4, 6, 5, 3])},
        {"parameters": model.parameters[:-1]},
        {"settings": {"activation": "swish"}},
    ):
        arrays = {"parameters": model.parameters, "sizes": model.sizes, "settings": model.settings, **wrong}
        with pytest.raises(ValueError, match=r"sizes|parameters|activation"):
            Network(**parts, **arrays).check_arrays()

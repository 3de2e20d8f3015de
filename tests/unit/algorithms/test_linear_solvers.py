"""Which solver is chosen and why, rows that become float64 on the way, and how penalties and targets are read."""

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_svmlight_file

from builders.files import through_a_file
from gradloom.algorithms import build
from gradloom.algorithms.algorithm import dtype_of
from gradloom.algorithms.linear_layout import Layout
from gradloom.algorithms.linear_settings import ClassifierSettings, LinearSettings
from gradloom.algorithms.linear_solvers import choose
from gradloom.errors import DataError, InvalidInput
from gradloom.objectives import LOGISTIC, MULTINOMIAL, SQUARED
from gradloom.specs import DataSpec, JobSpec
from gradloom_coordinator.steering import check_synchrony
from tests.unit.algorithms.training import Data, schema_of, shards_of, total_of, train, train_state

BREAST_CANCER = Data(*load_breast_cancer(return_X_y=True))
DIABETES = Data(*load_diabetes(return_X_y=True, scaled=False))
PLAIN: dict[str, object] = {"dtype": "float64", "tolerance": 1e-12}


@pytest.mark.parametrize(
    ("objective", "settings", "columns", "classes", "solver", "why"),
    [
        (SQUARED, {}, 100, 0, "gram", "least squares of 100 columns take one round"),
        (SQUARED, {"l1": 0.1}, 100, 0, "gram", "least squares of 100 columns take one round"),
        (SQUARED, {}, 5000, 0, "lbfgs", "5001 parameters"),
        (LOGISTIC, {}, 100, 0, "newton", "101 parameters have a small Hessian, and few rounds suffice"),
        (LOGISTIC, {}, 1000, 0, "lbfgs", "1001 parameters"),
        (LOGISTIC, {"l1": 0.1}, 1000, 0, "lbfgsb", "1001 parameters"),
        (LOGISTIC, {"batch_size": 64}, 10, 0, "adam", "steps on batches of rows"),
        (LOGISTIC, {"local_steps": 4}, 10, 0, "adam", "steps on batches of rows"),
        (
            LOGISTIC,
            {"patience": 3, "validation_fraction": 0.1},
            10,
            0,
            "lbfgs",
            "patience watches many small steps",
        ),
        (MULTINOMIAL, {}, 4, 3, "newton", "15 parameters have a small Hessian, and few rounds suffice"),
        (MULTINOMIAL, {}, 64, 10, "lbfgs", "650 parameters"),
        (LOGISTIC, {"solver": "momentum"}, 10, 0, "momentum", "it was asked for"),
    ],
)
def test_auto_chooses_and_says_why(
    objective: Any, settings: dict[str, Any], columns: int, classes: int, solver: str, why: str
) -> None:
    kind = LinearSettings if objective is SQUARED else ClassifierSettings
    assert choose(kind(**settings), objective, Layout(columns, classes, fit_intercept=True)) == (solver, why)


@pytest.mark.parametrize("solver", ["gram", "newton"])
def test_a_matrix_that_would_be_too_large_is_refused(solver: str) -> None:
    with pytest.raises(
        InvalidInput, match=rf"'{solver}' takes at most \d+ parameters, and there are 20001; use"
    ):
        choose(LinearSettings(solver=solver), SQUARED, Layout(20_000, 0, fit_intercept=True))  # type: ignore[arg-type]


def test_the_model_and_the_last_words_of_the_job_tell_the_solver_and_why() -> None:
    model = train(build("logistic"), BREAST_CANCER)
    assert model.metadata["solver"] == "newton"
    assert model.metadata["solver_because"] == "31 parameters have a small Hessian, and few rounds suffice"
    assert str(model.metadata["stopped"]).endswith(f"(solver newton: {model.metadata['solver_because']})")
    assert train(build("linear"), DIABETES).metadata["stopped"] == (
        "solved (solver gram: least squares of 10 columns take one round)"
    )


# ---- float32 first, then float64


@pytest.mark.parametrize("solver", ["newton", "lbfgs", "lbfgsb", "barzilai_borwein", "gradient_descent"])
def test_what_float32_can_not_give_float64_does(solver: str) -> None:
    more = {"learning_rate": 0.3} if solver == "gradient_descent" else {}
    settings = {"solver": solver, "l2": 0.5, "max_rounds": 5000, **more}
    polished = train(build("logistic", {**settings, "tolerance": 1e-9}), BREAST_CANCER)
    exact = train(build("logistic", {**settings, **PLAIN}), BREAST_CANCER)
    rough = train(build("logistic", {**settings, "tolerance": 1e-6}), BREAST_CANCER)
    assert (polished.metadata["polished"], rough.metadata["polished"]) == (True, False)
    assert "converged: the gradient is at most 1e-09" in str(polished.metadata["stopped"])
    scale = BREAST_CANCER.X.std(axis=0)

    def distance(model: Any) -> float:
        return float(np.abs((model.coefficients - exact.coefficients) * scale).max())

    assert distance(polished) < 1e-7
    assert distance(polished) < 0.1 * distance(rough)


def test_most_rounds_of_a_polished_job_are_float32() -> None:
    algorithm = build("logistic", {"solver": "lbfgs", "tolerance": 1e-8, "l2": 1e-3})
    schema = schema_of(BREAST_CANCER, algorithm.needs)
    state, seen = algorithm.start(schema), []
    for _ in range(200):
        dtype = dtype_of(algorithm, state)
        seen.append(dtype)
        rows = replace(schema, preparation=replace(schema.preparation, dtype=dtype))
        shards = shards_of(BREAST_CANCER, rows, 5)
        state = algorithm.update(state, total_of(algorithm, shards, algorithm.broadcast(state)))
        saved = through_a_file(algorithm.save(state))  # as after a restart, which must not forget the dtype
        state = algorithm.restore(schema, saved)
        if algorithm.done(state):
            break
    assert seen == sorted(seen)
    assert seen.count("float32") > seen.count("float64") > 2
    undisturbed = train_state(algorithm, BREAST_CANCER)
    assert undisturbed.optimizer.solution.tobytes() == state.optimizer.solution.tobytes()


def test_a_polished_model_has_the_same_bits_however_shards_lie_on_workers() -> None:
    algorithm = build("logistic", {"tolerance": 1e-10, "l2": 1e-3})
    expected = train(algorithm, BREAST_CANCER, n_shards=7)
    found = train(algorithm, BREAST_CANCER, n_shards=7, holdings=[[0, 3, 4], [1, 2], [5, 6]])
    assert expected.metadata["polished"]
    assert found.parameters_sha256 == expected.parameters_sha256


def test_batches_and_float64_rows_are_not_polished() -> None:
    for settings in ({"batch_size": 64, "max_rounds": 30}, {"dtype": "float64"}):
        model = train(build("logistic", {"tolerance": 0.0, **settings}), BREAST_CANCER, at_most=40)
        assert model.metadata["polished"] is False


# ---- penalties and targets


def test_a_penalty_of_the_sum_is_one_of_the_mean_times_the_weight() -> None:
    weighted = replace(BREAST_CANCER, weight=np.random.default_rng(0).uniform(0.5, 2.0, 569))
    mean = train(build("logistic", {"l2": 1e-2, "l1": 1e-3, **PLAIN}), weighted)
    strength = float(np.asarray(weighted.weight).sum())
    of_sum = {"l2": 1e-2 * strength, "l1": 1e-3 * strength, "penalty_per": "sum"}
    total = train(build("logistic", {**of_sum, **PLAIN}), weighted)
    np.testing.assert_allclose(total.coefficients, mean.coefficients, rtol=1e-9)


def test_columns_far_from_zero_cost_no_digits() -> None:
    shifted = Data(DIABETES.X + 1e6, DIABETES.y)
    settings = {"standardize": False, "l2": 0.0, **PLAIN}
    near, far = train(build("linear", settings), DIABETES), train(build("linear", settings), shifted)
    np.testing.assert_allclose(far.coefficients, near.coefficients, rtol=1e-6)


def test_counts_below_zero_are_refused_with_their_row() -> None:
    y = np.arange(60.0)
    y[41] = -3.0
    with pytest.raises(
        DataError, match=r"row 41 \(counted from 0\) is -3; counts are learnt, which are 0 or more"
    ):
        train(build("poisson"), Data(np.arange(60.0)[:, np.newaxis], y))


def test_a_machine_knows_margins_but_no_probabilities() -> None:
    model = train(build("linear_svm"), BREAST_CANCER)
    assert model.scores(BREAST_CANCER.X, BREAST_CANCER.y).keys() == {"accuracy", "roc_auc"}
    assert model.scores(BREAST_CANCER.X, BREAST_CANCER.y)["accuracy"] > 0.97
    with pytest.raises(InvalidInput, match="linear_svm knows no probabilities; use decision_function"):
        model.predict_proba(BREAST_CANCER.X)


@pytest.mark.parametrize(
    ("name", "settings", "data", "kind"),
    [
        ("linear", {}, DIABETES, "Ridge"),
        ("linear", {"l1": 1.0, "l2": 0.0}, DIABETES, "Lasso"),
        ("linear", {"l1": 1.0, "l2": 1.0}, DIABETES, "ElasticNet"),
        ("huber", {}, DIABETES, "HuberRegressor"),
        ("poisson", {}, DIABETES, "PoissonRegressor"),
        ("logistic", {"l1": 0.01}, BREAST_CANCER, "LogisticRegression"),
        ("linear_svm", {}, BREAST_CANCER, "LinearSVC"),
    ],
)
def test_a_model_becomes_the_estimator_of_its_loss(name: str, settings: Any, data: Data, kind: str) -> None:
    model = train(build(name, settings), data)
    estimator = model.to_sklearn()
    assert type(estimator).__name__ == kind
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # our rows have no names
        predicted = np.asarray(estimator.predict(data.X), float)
    np.testing.assert_allclose(predicted, model.predict(data.X), rtol=1e-9)


# ---- steps by learning rate


def test_the_learning_rate_follows_its_schedule_and_warm_up() -> None:
    settings = {"solver": "momentum", "learning_rate": 0.1, "schedule": "inverse_scaling", "power": 1.0}
    algorithm = build("logistic", {**settings, "warmup_rounds": 2, "max_rounds": 5, "tolerance": 0.0})
    schema = schema_of(BREAST_CANCER, algorithm.needs)
    shards, state, seen = shards_of(BREAST_CANCER, schema, 3), algorithm.start(schema), []
    while algorithm.done(state) is None:
        state = algorithm.update(state, total_of(algorithm, shards, algorithm.broadcast(state)))
        seen.append(algorithm.progress(state).learning_rate)
    np.testing.assert_allclose(seen, [0.1 / 3, 0.2 / 3, 0.1, 0.05, 0.1 / 3])


def test_a_batch_is_of_all_shards_together_and_every_row_comes_once_an_epoch() -> None:
    algorithm = build("logistic", {"batch_size": 100})
    schema = schema_of(BREAST_CANCER, algorithm.needs)
    shards, state, rows = shards_of(BREAST_CANCER, schema, 5), algorithm.start(schema), []
    for _ in range(6):
        total = total_of(algorithm, shards, algorithm.broadcast(state))
        rows.append(float(total["rows"]))
        state = algorithm.update(state, total)
    assert sum(rows) == 569
    assert max(rows) - min(rows) <= 5


@pytest.mark.parametrize(
    ("settings", "synchrony", "why"),
    [
        (
            {"solver": "momentum"},
            "asynchronous",
            "momentum=0.9 adds up gradients that are old already, and diverges",
        ),
        ({"solver": "momentum"}, "bounded:3", ""),
        ({"solver": "momentum", "momentum": "0"}, "asynchronous", ""),
        ({"solver": "adam"}, "asynchronous", ""),
        ({"batch_size": "64"}, "asynchronous", ""),
        ({}, "asynchronous", "its steps need every row"),
    ],
)
def test_momentum_is_refused_gradients_that_are_old(settings: Any, synchrony: str, why: str) -> None:
    spec = JobSpec("logistic", DataSpec(("a.npy",)), settings, synchrony=synchrony)
    if not why:
        check_synchrony(spec)
        return
    with pytest.raises(InvalidInput, match=why):
        check_synchrony(spec)


# ---- known optima of real data


@pytest.mark.skipif("GRADLOOM_DATA" not in os.environ, reason="GRADLOOM_DATA names no folder with libsvm/a9a")
@pytest.mark.parametrize("solver", ["newton", "lbfgs"])
@pytest.mark.parametrize(
    ("name", "l2", "optimum"),
    [
        ("a9a", 1e-2, 0.3727237469),
        ("a9a", 1e-3, 0.3333407521),
        ("a9a", 1 / 32561, 0.3233795825),
        ("mushrooms", 1e-3, 0.0503019795),
        ("mushrooms", 1 / 8124, 0.0144858661),
    ],
)
def test_known_optima_are_reached(name: str, l2: float, optimum: float, solver: str) -> None:
    X, y = load_svmlight_file(str(Path(os.environ["GRADLOOM_DATA"]) / "libsvm" / name))
    given = {"solver": solver, "l2": l2, "fit_intercept": False, "standardize": False, "tolerance": 1e-7}
    state = train_state(build("logistic", given), Data(X.toarray(), y))
    assert state.loss == pytest.approx(optimum, rel=1e-6)

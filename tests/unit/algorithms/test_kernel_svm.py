"""The kernel SVM is libsvm's, from shards of any size: decisions, conditions over all rows, and what it refuses."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from gradloom.algorithms import build
from gradloom.data.shard import Rows, Shard
from gradloom.errors import InvalidInput, JobFailed
from gradloom.kernels import Kernel
from gradloom.models import KernelMachine
from tests.unit.algorithms.training import Data, schema_of, shards_of, total_of, train, train_state

LOADERS = {"breast_cancer": load_breast_cancer, "iris": load_iris, "digits": load_digits}
EXACT = {"standardize": False, "dtype": "float64"}


def data_set(name: str, rows: int = 600, weighted: bool = False) -> Data:
    X, y = LOADERS[name](return_X_y=True)
    rng = np.random.default_rng(3)
    order = rng.permutation(len(X))[:rows]
    X = StandardScaler().fit_transform(X[order])
    return Data(X, y[order], rng.uniform(0.2, 3.0, len(X)) if weighted else None)


def svm(data: Data, n_shards: int = 5, **settings: Any) -> KernelMachine:
    model = train(build("kernel_svm", {**EXACT, **settings}), data, n_shards)
    assert isinstance(model, KernelMachine)
    return model


def decisions_of(twin: SVC, X: NDArray[Any]) -> NDArray[Any]:
    """The decisions of a fitted SVC as libsvm has them."""
    twin.set_params(decision_function_shape="ovo", break_ties=False)
    f = twin.decision_function(X)
    return -f[:, np.newaxis] if f.ndim == 1 else f


# --- equal to libsvm ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_decisions_with_rbf_are_within_twice_the_tolerance(name: str, weighted: bool, dtype: str) -> None:
    data = data_set(name, weighted=weighted)
    model = svm(data, dtype=dtype)
    twin = SVC().fit(data.X, data.y, data.weight)
    np.testing.assert_allclose(model.pair_decisions(data.X), decisions_of(twin, data.X), atol=2e-3, rtol=0)
    assert (model.predict(data.X) == twin.predict(data.X)).mean() > 0.998


KERNELS: tuple[dict[str, Any], ...] = (
    {"kernel": "rbf", "gamma": 0.05, "C": 10.0},
    {"kernel": "rbf", "gamma": "auto", "C": 0.5},
    {"kernel": "poly", "degree": 2, "coef0": 1.0},
    {"kernel": "linear", "C": 0.1},
    {"kernel": "sigmoid", "gamma": 1e-3},
)


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("given", KERNELS, ids=lambda given: "-".join(map(str, given.values())))
def test_every_kernel_ends_at_the_optimum_of_libsvm(name: str, given: Mapping[str, Any]) -> None:
    data = data_set(name, rows=300)
    model = svm(data, **given, tolerance=1e-8)
    twin = SVC(**given, tol=1e-8).fit(data.X, data.y)
    expected = decisions_of(twin, data.X)
    digits = 2e-5 * max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(model.pair_decisions(data.X), expected, atol=digits, rtol=0)
    assert abs(len(model.support_vectors) - len(twin.support_)) <= 0.01 * len(twin.support_) + 1


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("given", KERNELS, ids=lambda given: "-".join(map(str, given.values())))
def test_at_the_default_tolerance_every_kernel_is_within_twice_of_it(
    name: str, given: Mapping[str, Any]
) -> None:
    # of the optimum: libsvm itself stops up to 4.4 tolerances away from it
    data = data_set(name, rows=300)
    found = svm(data, **given).pair_decisions(data.X)
    loose, exact = (decisions_of(SVC(**given, tol=tol).fit(data.X, data.y), data.X) for tol in (1e-3, 1e-8))
    np.testing.assert_allclose(found, exact, atol=2e-3, rtol=0)
    np.testing.assert_allclose(found, loose, atol=1.5e-3 + np.abs(loose - exact).max(), rtol=0)


@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("name", ["breast_cancer", "iris"])
def test_balanced_class_weights_are_those_of_scikit_learn(name: str, weighted: bool) -> None:
    data = data_set(name, rows=300, weighted=weighted)
    model = svm(data, class_weight="balanced", tolerance=1e-7)
    twin = SVC(class_weight="balanced", tol=1e-7).fit(data.X, data.y, data.weight)
    np.testing.assert_allclose(model.pair_decisions(data.X), decisions_of(twin, data.X), atol=1e-5)


def test_gamma_scale_takes_the_variance_of_all_cells_of_all_rows() -> None:
    data = data_set("breast_cancer")
    skewed = Data(data.X * np.linspace(0.5, 3.0, 30) + 100.0 * np.arange(30), data.y)
    model = svm(skewed)
    assert float(model.gamma) == pytest.approx(1.0 / (30 * skewed.X.var()), rel=1e-12)


def test_rows_far_from_the_origin_keep_their_distances() -> None:
    data = data_set("breast_cancer")
    far = Data(data.X + 1000.0, data.y)
    near, moved = (svm(d, dtype="float32", gamma=0.05) for d in (data, far))
    np.testing.assert_allclose(moved.pair_decisions(far.X), near.pair_decisions(data.X), atol=1e-2)


def test_a_linear_machine_on_raw_columns_is_the_optimum() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    model = svm(Data(X, y), kernel="linear")
    first, f = np.where(y == 0, 1.0, -1.0), model.pair_decisions(X)[:, 0]
    w = model.coefficients[:, 0] @ model.support_vectors
    primal = 0.5 * w @ w + np.maximum(0.0, 1.0 - first * f).sum()
    assert primal == pytest.approx(np.abs(model.coefficients).sum() - 0.5 * w @ w, rel=1e-4)
    twin = model.to_sklearn().decision_function(_frame(X, model))
    np.testing.assert_allclose(-twin, f, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_linear_machine_far_from_the_origin_is_the_one_near_to_it(dtype: str) -> None:
    X = np.random.default_rng(0).normal(size=(300, 4))
    near, moved = (svm(Data(rows, X[:, 0] > 0), kernel="linear", dtype=dtype) for rows in (X, X + 1e4))
    expected = near.pair_decisions(X)
    np.testing.assert_allclose(
        moved.pair_decisions(X + 1e4), expected, atol=0.5 if dtype == "float32" else 0.01
    )


def test_a_linear_machine_that_is_stopped_early_has_no_rows() -> None:
    data = data_set("iris")
    algorithm = build("kernel_svm", {**EXACT, "kernel": "linear"})
    for rounds in (0, 1):
        model = train(algorithm, data, at_most=rounds)
        assert isinstance(model, KernelMachine)
        np.testing.assert_array_equal(model.intercept, np.zeros(3))


def test_landmarks_of_a_linear_kernel_far_from_the_origin() -> None:
    data = data_set("breast_cancer")
    model = svm(Data(data.X + 5.0, data.y), kernel="linear", method="nystroem", landmarks=40)
    assert model.metadata["method"] == "nystroem"
    assert model.scores(data.X + 5.0, data.y)["accuracy"] > 0.97


def test_a_kernel_that_no_step_can_solve_is_refused_with_a_cure() -> None:
    X = np.random.default_rng(0).normal(size=(120, 4))
    with pytest.raises(JobFailed, match=r"rounding allows no better solution; try standardised columns"):
        svm(Data(X + 300.0, X[:, 0] * X[:, 1] > 0), kernel="poly")


@pytest.mark.parametrize(("shape", "break_ties"), [("ovr", False), ("ovr", True), ("ovo", False)])
def test_votes_and_their_shape_are_those_of_scikit_learn(shape: str, break_ties: bool) -> None:
    data = data_set("digits", rows=300)
    given = {"decision_function_shape": shape, "break_ties": break_ties}
    model = svm(data, C=0.05, tolerance=1e-7, **given)
    twin = SVC(C=0.05, tol=1e-7, **given).fit(data.X, data.y)
    np.testing.assert_array_equal(model.predict(data.X), twin.predict(data.X))
    np.testing.assert_allclose(model.decision_function(data.X), twin.decision_function(data.X), atol=1e-5)


# --- exact over all rows, whatever the shards --------------------------------------------------------------------


def worst_violation(model: KernelMachine, data: Data, C: float) -> float:
    """How far the conditions of the two-class optimum fail over all rows: the gap that libsvm looks at."""
    K = Kernel("rbf", float(model.gamma)).gram(data.X)
    b = np.zeros(len(data.X))
    b[model.support_positions] = model.coefficients[:, 0]
    first = data.y == model.classes[0] if model.classes else None
    y = np.where(first, 1.0, -1.0)
    cost = C * (np.ones(len(y)) if data.weight is None else data.weight)
    gradient = y - K @ b
    up = b < np.where(y > 0, cost, 0.0) - 1e-12
    down = b > np.where(y > 0, 0.0, -cost) + 1e-12
    assert abs(b.sum()) < 1e-8
    return float(gradient[up].max() - gradient[down].min())


@pytest.mark.parametrize("n_shards", [1, 2, 9])
@pytest.mark.parametrize("local_rows", [30, 4096])
def test_the_conditions_hold_over_all_rows(n_shards: int, local_rows: int) -> None:
    data = data_set("breast_cancer", weighted=True)
    model = svm(data, n_shards, local_rows=local_rows, C=3.0, gamma=0.05)
    assert worst_violation(model, data, 3.0) <= 1e-3
    assert "converged: no row violates" in str(model.metadata["stopped"])


def test_rows_sorted_by_class_lie_in_shards_of_one_class() -> None:
    data = data_set("iris")
    order = np.argsort(data.y, kind="stable")
    by_class = Data(data.X[order], data.y[order])
    model, twin = svm(by_class, 9), SVC().fit(data.X, data.y)
    np.testing.assert_allclose(model.pair_decisions(data.X), decisions_of(twin, data.X), atol=2e-3)


def test_equal_rows_of_both_classes() -> None:
    data = data_set("breast_cancer", rows=200)
    twice = Data(np.repeat(data.X, 2, axis=0), np.tile([0, 1], 200))
    model = svm(twice, C=0.7)
    assert worst_violation(model, twice, 0.7) <= 1e-3
    np.testing.assert_allclose(np.abs(model.coefficients), 0.7, atol=1e-6)


def test_rows_of_weight_0_take_no_part_but_in_gamma() -> None:
    data = data_set("breast_cancer", rows=200)
    weight = np.where(np.arange(200) % 4, 1.0, 0.0)
    model = svm(Data(data.X, data.y, weight), gamma=0.05, tolerance=1e-7)
    alone = svm(Data(data.X[weight > 0], data.y[weight > 0]), gamma=0.05, tolerance=1e-7)
    assert not set(model.support_positions) & set(np.flatnonzero(weight == 0))
    np.testing.assert_allclose(model.pair_decisions(data.X), alone.pair_decisions(data.X), atol=1e-5)


def test_shards_without_rows_change_no_bit() -> None:
    data = data_set("iris")
    algorithm = build("kernel_svm", EXACT)
    schema = schema_of(data, algorithm.needs)
    shards = shards_of(data, schema, 3)
    none = Rows(np.zeros((0, 4)), np.zeros(0, np.int64), None, np.zeros(0, np.int64))
    empty = [Shard(i, none, none, none) for i in (3, 4)]
    with_empty, without = algorithm.start(schema), algorithm.start(schema)
    while algorithm.done(without) is None:
        without = algorithm.update(without, total_of(algorithm, shards, algorithm.broadcast(without)))
        with_empty = algorithm.update(
            with_empty, total_of(algorithm, [*shards, *empty], algorithm.broadcast(with_empty))
        )
    assert algorithm.finish(with_empty).parameters_sha256 == algorithm.finish(without).parameters_sha256


def test_the_dual_objective_rises_with_every_round() -> None:
    data = data_set("breast_cancer")
    algorithm = build("kernel_svm", {**EXACT, "kernel": "linear", "local_rows": 20})
    schema = schema_of(data, algorithm.needs)
    shards, state = shards_of(data, schema, 7), algorithm.start(schema)
    seen = []
    while algorithm.done(state) is None:
        state = algorithm.update(state, total_of(algorithm, shards, algorithm.broadcast(state)))
        loss = algorithm.progress(state).loss
        if loss is not None:
            seen.append(-loss)
    assert len(seen) >= 3
    assert all(later >= sooner - 1e-9 for sooner, later in pairwise(seen))
    assert algorithm.progress(state).gradient_norm <= 1e-3


# --- more rows than may be held ----------------------------------------------------------------------------------


def test_a_union_that_is_too_large_goes_through_one_more_level() -> None:
    data = data_set("breast_cancer")
    whole = svm(data, tolerance=1e-6)
    limit = 3 * len(whole.support_vectors) // 2
    assert train_state(build("kernel_svm", EXACT), data, 9, at_most=2).rows_sent > limit
    model = svm(data, 9, tolerance=1e-6, max_support_vectors=limit)
    assert model.metadata["method"] == "exact"
    np.testing.assert_allclose(model.pair_decisions(data.X), whole.pair_decisions(data.X), atol=1e-4)


def test_beyond_the_limit_exact_refuses_and_auto_takes_landmarks() -> None:
    data = data_set("breast_cancer")
    with pytest.raises(JobFailed, match=r"more than max_support_vectors = 30: .*method=nystroem"):
        svm(data, method="exact", max_support_vectors=30)
    model = svm(data, max_support_vectors=30, landmarks=80)
    assert model.metadata["method"] == "nystroem"
    assert len(model.support_vectors) == 80
    assert model.scores(data.X, data.y)["accuracy"] > 0.97


def test_what_shards_send_is_bounded() -> None:
    data = data_set("breast_cancer")
    state = train_state(build("kernel_svm", {**EXACT, "C": 0.01, "max_support_vectors": 20}), data, at_most=2)
    assert state.phase == "landmarks"
    assert state.rows_sent <= 2 * 20 + 5


@pytest.mark.parametrize(("name", "least"), [("breast_cancer", 0.97), ("digits", 0.97)])
def test_landmarks_come_near_the_exact_machine_in_few_rounds(name: str, least: float) -> None:
    data = data_set(name)
    model = svm(data, method="nystroem", landmarks=150, dtype="float32")
    exact = svm(data)
    assert (model.predict(data.X) == exact.predict(data.X)).mean() > least
    assert isinstance(model.metadata["rounds"], int)
    assert model.metadata["rounds"] < 60
    assert "converged on 150 landmarks" in str(model.metadata["stopped"])


def test_all_rows_as_landmarks_minimise_the_squared_hinge() -> None:
    """At the optimum the dual coefficient of a row is twice its cost times its slack."""
    data = data_set("iris", rows=100)
    two = Data(data.X[data.y > 0], data.y[data.y > 0])
    model = svm(two, method="nystroem", landmarks=1000, gamma=0.5)
    y = np.where(two.y == 1, 1.0, -1.0)
    slack = np.maximum(0.0, 1.0 - y * model.pair_decisions(two.X)[:, 0])
    found = np.zeros(len(y))
    found[model.support_positions] = model.coefficients[:, 0]
    np.testing.assert_allclose(found, 2.0 * y * slack, atol=0.1)


# --- the model ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("standardize", [False, True])
def test_to_sklearn_predicts_the_same(name: str, standardize: bool) -> None:
    data = data_set(name, rows=200)
    model = train(build("kernel_svm", {"standardize": standardize, "kernel": "poly", "coef0": 0.5}), data)
    twin = model.to_sklearn()
    rows = data.X.astype(object).astype(float)
    machine = twin[-1] if standardize else twin
    named = _frame(rows, model)
    np.testing.assert_array_equal(twin.predict(named), model.predict(data.X))
    np.testing.assert_allclose(twin.decision_function(named), model.decision_function(data.X), atol=1e-9)
    assert machine.n_support_.sum() == len(machine.support_) == len(model.support_vectors)
    assert machine.dual_coef_.shape == model.coefficients.T.shape


def _frame(X: NDArray[Any], model: Any) -> Any:
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(X, columns=list(model.features))


def test_landmarks_of_two_classes_fit_in_an_svc_and_those_of_three_do_not() -> None:
    data = data_set("breast_cancer", rows=200)
    model = svm(data, method="nystroem", landmarks=40)
    twin = model.to_sklearn()
    np.testing.assert_allclose(
        twin.decision_function(_frame(data.X, model)), model.decision_function(data.X), atol=1e-9
    )
    with pytest.raises(InvalidInput, match="fit in no scikit-learn SVC"):
        svm(data_set("iris"), method="nystroem", landmarks=20).to_sklearn()


def test_a_row_that_is_not_finite_is_named() -> None:
    data = data_set("iris")
    model = svm(data)
    bad = data.X[:5].copy()
    bad[3, 2] = np.nan
    with pytest.raises(InvalidInput, match="row 3 holds a value in column 'x2'"):
        model.predict(bad)


# --- what it refuses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"degree": 4}, "degree"),
        ({"kernel": "linear", "coef0": 1.0}, "coef0"),
        ({"gamma": 0.0}, "gamma"),
        ({"gamma": "wide"}, "gamma"),
        ({"C": -1.0}, "C"),
        ({"tolerance": 1e-7}, "tolerance"),
        ({"break_ties": True, "decision_function_shape": "ovo"}, "break_ties"),
        ({"class_weight": "a:x"}, "class_weight"),
        ({"kernel": "cosine"}, "kernel"),
        ({"landmarks": 1}, "landmarks"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused_by_name(settings: Mapping[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        build("kernel_svm", settings)
    assert refusal.value.field == field


def test_settings_are_read_from_text() -> None:
    settings = build("kernel_svm", {"gamma": "0.5", "C": "2", "class_weight": "none"}).settings
    assert (settings.gamma, settings.C, settings.class_weight) == (0.5, 2.0, "")


def test_one_class_can_not_be_learnt() -> None:
    data = Data(np.eye(4), np.zeros(4))
    with pytest.raises(InvalidInput, match="needs two"):
        train(build("kernel_svm"), data)


def test_too_few_steps_fail_the_job_and_name_the_classes() -> None:
    with pytest.raises(JobFailed, match=r"classes 0 and 1: after 5 steps .* smaller C"):
        svm(data_set("breast_cancer"), max_steps=5)


@pytest.mark.parametrize("method", ["exact", "nystroem"])
def test_values_that_are_too_large_fail_the_job_and_say_what_helps(method: str) -> None:
    data = data_set("iris")
    huge = Data(1e18 * (data.X + 3.0), data.y)
    with pytest.raises(JobFailed, match="too large for this kernel; try standardize=true"):
        svm(huge, dtype="float32", kernel="poly", gamma=1.0, method=method, landmarks=20)

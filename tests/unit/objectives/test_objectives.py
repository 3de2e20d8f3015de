"""Every objective against its formula written out in float64."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradloom.objectives import (
    LOGISTIC,
    MULTINOMIAL,
    OBJECTIVES,
    POISSON,
    SQUARED,
    Objective,
    huber,
    rows_per_block,
)

K = 4
DTYPES: list[np.dtype[Any]] = [np.dtype("float32"), np.dtype("float64")]


def softmax_loss(z: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    shifted = z - z.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(y)), y], np.exp(log_p) - np.eye(z.shape[1])[y]


def logistic_loss(z: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    sign = 1.0 - 2.0 * y
    return np.logaddexp(0.0, sign * z), sign * np.exp(-np.logaddexp(0.0, -sign * z))


def squared_loss(z: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    return 0.5 * (z - y) ** 2, z - y


def poisson_loss(z: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    return np.exp(z) - y * z, np.exp(z) - y


def hinge_loss(z: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    sign = 2.0 * y - 1.0 if z.ndim == 1 else 2.0 * np.eye(z.shape[1])[y] - 1.0
    short = np.maximum(0.0, 1.0 - sign * z)
    return short.sum(axis=tuple(range(1, z.ndim))), -sign * (short > 0)


def squared_hinge_loss(z: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    sign = 2.0 * y - 1.0 if z.ndim == 1 else 2.0 * np.eye(z.shape[1])[y] - 1.0
    short = np.maximum(0.0, 1.0 - sign * z)
    return (short**2).sum(axis=tuple(range(1, z.ndim))), -2.0 * sign * short


def huber_loss(z: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    r, e = z - y, 1.5
    inside = np.abs(r) <= e
    return np.where(inside, 0.5 * r**2, e * np.abs(r) - 0.5 * e**2), np.where(inside, r, e * np.sign(r))


FORMULAS = {
    "squared": squared_loss,
    "logistic": logistic_loss,
    "multinomial": softmax_loss,
    "poisson": poisson_loss,
    "hinge": hinge_loss,
    "squared_hinge": squared_hinge_loss,
    "huber": huber_loss,
}
EVERY = {
    **{name: (objective, K if objective is MULTINOMIAL else 0) for name, objective in OBJECTIVES.items()},
    "hinge, one versus rest": (OBJECTIVES["hinge"], K),
    "squared hinge, one versus rest": (OBJECTIVES["squared_hinge"], K),
    "huber": (huber(1.5, learn_scale=False), 0),
}
every_objective = pytest.mark.parametrize(("objective", "outputs"), EVERY.values(), ids=EVERY)


def targets(objective: Objective, n: int, outputs: int, rng: np.random.Generator) -> NDArray[Any]:
    if objective.name in ("squared", "huber"):
        return rng.normal(3.0, 2.0, n)
    if objective is POISSON:
        return rng.poisson(2.0, n).astype(np.float64)
    return rng.integers(0, outputs or 2, n)


class Case:
    """Random rows for one objective, with the sums that the formula gives."""

    def __init__(
        self, objective: Objective, n: int, d: int, dtype: np.dtype[Any], weighted: bool, n_outputs: int = 0
    ) -> None:
        rng = np.random.default_rng([n, d, weighted])
        outputs = (n_outputs,) if n_outputs else ()
        self.X = rng.standard_normal((n, d)).astype(dtype)
        self.y = targets(objective, n, n_outputs, rng)
        self.weight = rng.uniform(0.0, 3.0, n) if weighted else None
        self.w = rng.standard_normal((d, *outputs)).astype(dtype).astype(np.float64) / max(1, d) ** 0.5
        self.b = rng.standard_normal(outputs)
        s = np.ones(n) if self.weight is None else self.weight
        losses, slopes = FORMULAS[objective.name](self.X.astype(np.float64) @ self.w + self.b, self.y)
        slopes = (slopes.T * s).T
        self.loss, self.total_weight = float((s * losses).sum()), float(s.sum())
        self.gradient, self.intercept_gradient = self.X.astype(np.float64).T @ slopes, slopes.sum(axis=0)

    @property
    def arguments(self) -> tuple[Any, ...]:
        return self.X, self.y, self.weight, self.w, self.b


@every_objective
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("d", [1, 7, 130], ids="d={}".format)
def test_sums_equal_the_formula(
    objective: Objective, outputs: int, dtype: np.dtype[Any], weighted: bool, d: int
) -> None:
    case = Case(objective, 2 * rows_per_block(d, dtype) + 13, d, dtype, weighted, outputs)
    sums = objective.sums(*case.arguments)
    digits = 1e-6 if dtype == np.float32 else 1e-13
    assert sums.loss == pytest.approx(case.loss, rel=digits)
    assert sums.weight == pytest.approx(case.total_weight, rel=1e-14)
    scale = float(np.abs(case.gradient).max())
    np.testing.assert_allclose(sums.coefficients, case.gradient, rtol=10 * digits, atol=10 * digits * scale)
    np.testing.assert_allclose(
        sums.intercept, case.intercept_gradient, rtol=10 * digits, atol=digits * case.total_weight
    )
    assert {sums.coefficients.dtype, sums.intercept.dtype} == {np.dtype("float64")}
    assert (sums.coefficients.shape, sums.intercept.shape) == (case.w.shape, case.b.shape)


@every_objective
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 1000])
def test_few_rows_and_the_ends_of_blocks(objective: Objective, outputs: int, weighted: bool, n: int) -> None:
    case = Case(objective, n, 5, np.dtype("float64"), weighted, outputs)
    sums = objective.sums(*case.arguments)
    assert sums.loss == pytest.approx(case.loss, rel=1e-13)
    np.testing.assert_allclose(sums.coefficients, case.gradient, rtol=1e-11, atol=1e-11)


@every_objective
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_loss_alone_has_the_bits_of_the_loss_with_gradient(
    objective: Objective, outputs: int, dtype: np.dtype[Any]
) -> None:
    case = Case(objective, 5000, 60, dtype, weighted=True, n_outputs=outputs)
    sums = objective.sums(*case.arguments)
    assert objective.loss(*case.arguments) == (sums.loss, sums.weight)


@every_objective
def test_gradient_equals_finite_differences(objective: Objective, outputs: int) -> None:
    case = Case(objective, 300, 6, np.dtype("float64"), weighted=True, n_outputs=outputs)
    sums, h = objective.sums(*case.arguments), 1e-6

    def loss_at(w: NDArray[Any], b: NDArray[Any]) -> float:
        return objective.loss(case.X, case.y, case.weight, w, b)[0]

    for index in np.ndindex(case.w.shape):
        step = np.zeros_like(case.w)
        step[index] = h
        slope = (loss_at(case.w + step, case.b) - loss_at(case.w - step, case.b)) / (2 * h)
        assert sums.coefficients[index] == pytest.approx(slope, rel=1e-5, abs=1e-4)
    for index in np.ndindex(case.b.shape):
        step = np.zeros_like(case.b)
        step[index] = h
        slope = (loss_at(case.w, case.b + step) - loss_at(case.w, case.b - step)) / (2 * h)
        assert sums.intercept[index] == pytest.approx(slope, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("objective", [LOGISTIC, MULTINOMIAL], ids=lambda o: o.name)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("reach", [30.0, 120.0, 2_000.0, 1e6])
def test_logits_far_out_neither_overflow_nor_lose_their_loss(
    objective: Objective, dtype: np.dtype[Any], weighted: bool, reach: float
) -> None:
    X = np.linspace(-1.0, 1.0, 64).astype(dtype)[:, np.newaxis]
    y = np.arange(64) % 2
    weight = np.linspace(0.5, 2.0, 64) if weighted else None
    w = np.array([reach]) if objective is LOGISTIC else np.array([[0.0, reach]])
    b = np.zeros(w.shape[1:])
    losses, slopes = logistic_loss(X[:, 0].astype(np.float64) * reach, y)
    s = np.ones(64) if weight is None else weight
    sums = objective.sums(X, y, weight, w, b)
    assert sums.loss == pytest.approx(float((s * losses).sum()), rel=1e-6)
    last = sums.coefficients[0] if objective is LOGISTIC else sums.coefficients[0, 1]
    assert last == pytest.approx(float((s * slopes) @ X[:, 0]), rel=1e-5)


def test_a_tiny_loss_keeps_its_digits_in_float32() -> None:
    X = np.full((4096, 1), 20.0, dtype=np.float32)
    loss, _ = LOGISTIC.loss(X, np.zeros(4096, dtype=np.int64), None, np.array([-1.0]), np.array(0.0))
    assert loss == pytest.approx(4096 * np.log1p(np.exp(-20.0)), rel=1e-6)


def test_a_large_offset_of_y_keeps_its_digits_in_float32() -> None:
    y = 1e6 + np.linspace(-1.0, 1.0, 5000)
    X = np.zeros((5000, 2), dtype=np.float32)
    loss, _ = SQUARED.loss(X, y, None, np.zeros(2), np.array(1e6))
    assert loss == pytest.approx(0.5 * float(((y - 1e6) ** 2).sum()), rel=1e-9)


@every_objective
def test_inputs_stay_as_they_are_and_the_same_input_gives_the_same_bits(
    objective: Objective, outputs: int
) -> None:
    case = Case(objective, 3000, 90, np.dtype("float32"), weighted=True, n_outputs=outputs)
    before = [np.copy(a) for a in case.arguments]
    first, second = objective.sums(*case.arguments), objective.sums(*case.arguments)
    for given, copy in zip(case.arguments, before, strict=True):
        np.testing.assert_array_equal(given, copy)
    assert first.loss == second.loss
    np.testing.assert_array_equal(first.coefficients, second.coefficients)


def test_blocks_stay_in_the_cache_whatever_the_columns() -> None:
    for dtype in DTYPES:
        for d in (1, 20, 100, 784, 10_000):
            rows = rows_per_block(d, dtype)
            assert rows % 8 == 0
            assert 8 <= rows <= 8192
            assert rows == 8 or rows * d * dtype.itemsize <= 1024 * 1024

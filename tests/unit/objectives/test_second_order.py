"""The richer pass: Hessians and losses along a line, against differences of gradients and of points."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gradloom.objectives import (
    LOGISTIC,
    MULTINOMIAL,
    POISSON,
    SQUARED,
    SQUARED_HINGE,
    Line,
    Objective,
    Point,
    huber,
    rich_sums,
)

N, D, K = 400, 3, 4
CASES: dict[str, tuple[Objective, int]] = {
    "squared": (SQUARED, 0),
    "logistic": (LOGISTIC, 0),
    "multinomial": (MULTINOMIAL, K),
    "poisson": (POISSON, 0),
    "squared hinge": (SQUARED_HINGE, 0),
    "squared hinge, one versus rest": (SQUARED_HINGE, K),
    "huber": (huber(1.0, learn_scale=False), 0),
    "huber with scale": (huber(1.35, learn_scale=True), 0),
}
every_case = pytest.mark.parametrize("case", CASES)


class World:
    """Random rows and a point; parameters in the order of the Hessian's blocks: (d coefficients, intercept[, t])."""

    def __init__(self, case: str, dtype: str = "float64", n: int = N) -> None:
        self.objective, self.outputs = CASES[case]
        rng = np.random.default_rng(4)
        self.X = rng.standard_normal((n, D)).astype(dtype)
        self.y: NDArray[Any] = rng.integers(0, self.outputs or 2, n)
        if self.objective.name in ("squared", "huber", "poisson"):
            self.y = rng.poisson(2.0, n).astype(np.float64)
        self.weight = rng.uniform(0.0, 3.0, n)
        self.has_scale = self.objective.scaled is not None
        self.shape = (max(1, self.outputs), D + 1 + self.has_scale)
        self.parameters = 0.4 * rng.standard_normal(self.shape)
        self.direction = 0.3 * rng.standard_normal(self.shape)

    def point(self, parameters: NDArray[np.float64]) -> Point:
        w, b = parameters[:, :D].T, parameters[:, D]
        if not self.outputs:
            w, b = w[:, 0], b[0]
        scale = float(parameters[0, -1]) if self.has_scale else 0.0
        return Point(np.ascontiguousarray(w), np.asarray(b), scale)

    def loss_and_gradient(self, parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        at = self.point(parameters)
        sums = self.objective.at(at.log_scale).sums(
            self.X, self.y, self.weight, at.coefficients, at.intercept
        )
        parts = [sums.coefficients.reshape(D, -1).T, np.reshape(sums.intercept, (-1, 1))]
        if self.has_scale:
            parts.append(np.array([[sums.scale]]))
        return sums.loss, np.hstack(parts)

    def rich(self, offsets: tuple[float, ...] = (), *, hessian: bool = True) -> Any:
        line = Line(self.point(self.direction), np.array(offsets)) if offsets else None
        return rich_sums(
            self.objective,
            self.X,
            self.y,
            self.weight,
            self.point(self.parameters),
            hessian=hessian,
            line=line,
        )


@every_case
def test_the_gradient_of_the_scale_and_of_all_else_equals_finite_differences(case: str) -> None:
    world, h = World(case), 1e-6
    _, gradient = world.loss_and_gradient(world.parameters)
    for index in np.ndindex(world.shape):
        step = np.zeros(world.shape)
        step[index] = h
        up, down = (world.loss_and_gradient(world.parameters + sign * step)[0] for sign in (1, -1))
        assert gradient[index] == pytest.approx((up - down) / (2 * h), rel=1e-5, abs=1e-4)


@every_case
def test_the_hessian_is_the_change_of_the_gradient(case: str) -> None:
    world, h = World(case), 1e-6
    hessian = world.rich().hessian
    blocks, size = (1, world.shape[0] * world.shape[1]) if case == "multinomial" else world.shape
    assert hessian.shape == (blocks, size, size)
    np.testing.assert_allclose(hessian, np.swapaxes(hessian, 1, 2), rtol=0, atol=1e-10)
    _, at = world.loss_and_gradient(world.parameters)
    for j, index in enumerate(np.ndindex(world.shape)):
        step = np.zeros(world.shape)
        step[index] = h
        up, down = (world.loss_and_gradient(world.parameters + sign * step)[1] for sign in (1, -1))
        slope = (up - down) / (2 * h)
        if case == "multinomial":
            found = hessian[0, :, j].reshape(world.shape)
        else:
            found = np.zeros(world.shape)
            found[index[0]] = hessian[index[0], :, index[1]]
        if world.has_scale and index[1] == D + 1:
            slope[0, -1] -= at[0, -1]  # what is left out, and is 0 at the optimum
        np.testing.assert_allclose(found, slope, rtol=1e-4, atol=2e-2 if "h" in case else 1e-4)


@every_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_losses_along_a_line_are_those_of_its_points(case: str, dtype: str) -> None:
    world, offsets, digits = World(case, dtype), (-0.5, 0.25, 1.0, 2.0), 1e-12 if dtype == "float64" else 2e-5
    rich = world.rich(offsets)
    for offset, loss, slope in zip(offsets, rich.losses, rich.slopes, strict=True):
        expected, gradient = world.loss_and_gradient(world.parameters + offset * world.direction)
        assert loss == pytest.approx(expected, rel=digits)
        assert slope == pytest.approx(
            float(np.vdot(gradient, world.direction)), rel=digits, abs=digits * expected
        )


@every_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_loss_and_gradient_have_the_bits_of_the_plain_pass(case: str, dtype: str) -> None:
    world = World(case, dtype, n=9001)
    loss, gradient = world.loss_and_gradient(world.parameters)
    sums = world.rich((0.5,)).sums
    assert (sums.loss, sums.weight) == (loss, float(world.weight.sum()))
    np.testing.assert_array_equal(sums.coefficients.reshape(D, -1).T, gradient[:, :D])


@every_case
def test_without_rows_all_is_zero(case: str) -> None:
    rich = World(case, n=0).rich((0.5, 2.0))
    assert not any(np.any(part) for part in (rich.hessian, rich.losses, rich.slopes, *rich.sums))


def test_a_count_that_no_one_expects_costs_much_but_is_a_number() -> None:
    X, y = np.full((3, 1), 1e3), np.array([0.0, 1.0, 2.0])
    rich = rich_sums(POISSON, X, y, None, Point(np.array([1.0]), np.array(0.0)), hessian=True, line=None)
    assert np.isfinite(rich.sums.loss)
    assert rich.sums.loss > 1e21
    assert np.isfinite(rich.hessian).all()

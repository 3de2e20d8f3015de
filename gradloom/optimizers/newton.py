"""Newton's method as a pure state machine over evaluations that hold the Hessian.

    direction   p = argmin_p  g^T p + 1/2 p^T H p + sum_j l1_j |x_j + p_j|          (-H^-1 g without l1)
    step        a = 1, or the first of a few smaller ones with   F(x + a p) <= F(x) + c1 a D,
                D = g^T p + sum_j l1_j (|x_j + p_j| - |x_j|),   c1 = 1e-4

F is the loss plus sum_j l1_j |x_j|. One update consumes one evaluation, Hessian included, so a full step that does
costs one round; after one that does not, the next round also brings losses at ten smaller steps. Sources: Nocedal,
Wright, "Numerical Optimization", 2nd ed., chapter 3; with l1: Lee, Sun, Saunders, "Proximal Newton-type methods for
minimizing composite functions", SIAM J. Optim. 24, 2014.
"""

from dataclasses import dataclass, replace
from functools import partial
from math import inf

import numpy as np

from gradloom.optimizers.accepted import NO_DECREASE, Accepted, Evaluation, accepted
from gradloom.optimizers.optimizer import (
    NOTHING,
    Blocks,
    Findings,
    Vector,
    Wish,
    largest,
    longest_step,
    steepest,
)
from gradloom.optimizers.quadratics import Matrix, lasso, solve, unit_scale
from gradloom.saved import restore_value, save_value

SUFFICIENT_DECREASE = 1e-4
SMALLER_STEPS = tuple(2.0**-k for k in range(1, 11))
"""Times the step in hand, tried at once when a step was too long."""
MAX_REFUSALS = 4
FLAT_STEPS = 3
"""So many steps in a row that lower neither the loss nor the gradient end the search."""
MOST_LEFT = 0.1
"""Of the gradient, relative, after a step that a singular Hessian gave; with more it had no say where to go."""
SHRINKING = (0.1, 0.5)
"""After a refusal the next step is this much of the last one, at least and at most."""


@dataclass(frozen=True, slots=True, eq=False)
class NewtonState(Accepted):
    """Where Newton's method stands."""

    direction: Vector | None = None
    decrease: float = 0.0
    """D of the direction, below 0."""
    step: float = 1.0
    refusals: int = 0
    """Steps along this direction that were too long."""
    learning_rate: None = None


@dataclass(frozen=True, slots=True)
class Newton:
    """Newton's method, proximal where there is an ``l1``."""

    noise: float = 1e-14
    """Relative error of an evaluated loss."""
    l1: Vector | None = None
    reach: Vector | None = None
    """(n,): how much an entry may change in one step; None = any amount."""

    def init(self, parameters: Vector) -> NewtonState:
        """Before the first evaluation."""
        return NewtonState(parameters)

    def wish(self, state: NewtonState) -> Wish:
        """The Hessian; after a refusal also losses at smaller steps."""
        if not state.refusals or state.direction is None:
            return Wish(hessian=True)
        offsets = tuple(step * state.step - state.step for step in SMALLER_STEPS)
        return Wish(hessian=True, direction=state.direction, offsets=offsets)

    def update(
        self, state: NewtonState, loss: float, gradient: Vector, findings: Findings = NOTHING
    ) -> NewtonState:
        """Accept the point and take the next direction, or try a smaller step. ValueError without a Hessian."""
        if findings.hessian is None:
            raise ValueError("Newton's method needs the Hessian")
        norm = largest(steepest(state.point, gradient, self.l1))
        here = Evaluation(state.point, loss + self._absolute(state.point), gradient, norm)
        if state.current is None or state.direction is None:
            return self._launch(replace(state, current=here, best=here), findings.hessian)
        if self._decreases(state.current, state, here):
            return self._launch(accepted(state, here, self.noise), findings.hessian)
        return self._refused(state, state.current, here, findings)

    save = staticmethod(save_value)
    restore = staticmethod(partial(restore_value, NewtonState))

    def _absolute(self, point: Vector) -> float:
        return 0.0 if self.l1 is None else float(self.l1 @ np.abs(point))

    def _decreases(self, last: Evaluation, state: NewtonState, here: Evaluation) -> bool:
        if here.loss <= last.loss + SUFFICIENT_DECREASE * state.step * state.decrease:
            return True
        flat = here.loss <= last.loss + self.noise * abs(last.loss)
        return flat and here.gradient_norm < last.gradient_norm

    def _launch(self, state: NewtonState, hessian: Blocks) -> NewtonState:
        """The next direction from the current point, and a full step along it."""
        here = state.current
        assert here is not None
        if here.gradient_norm == 0.0:
            return replace(state, stalled="the gradient is zero")
        if state.flat_steps >= FLAT_STEPS:
            return replace(state, stalled=NO_DECREASE)
        direction, decrease = self._direction(here, hessian)
        if decrease >= 0:  # where the Hessian says nothing, the gradient does
            direction, decrease = self._direction(here, _damped(hessian, here.gradient_norm))
        step = min(1.0, longest_step(direction, self.reach))
        point = here.point + step * direction
        if decrease >= 0 or np.array_equal(point, here.point):
            return replace(state, stalled=NO_DECREASE)
        return replace(
            state, point=point, direction=direction, decrease=decrease, step=step, refusals=0, stalled=None
        )

    def _direction(self, here: Evaluation, hessian: Blocks) -> tuple[Vector, float]:
        """p and D."""
        direction = np.zeros_like(here.point)
        for values, index in zip(hessian.values, hessian.index, strict=True):
            x, g = here.point[index], here.gradient[index]
            if self.l1 is None or not np.any(self.l1[index]):
                direction[index] = _downhill(values, g)
            else:
                direction[index] = lasso(values, values @ x - g, self.l1[index], x).point - x
        decrease = float(here.gradient @ direction)
        return direction, decrease + self._absolute(here.point + direction) - self._absolute(here.point)

    def _refused(
        self, state: NewtonState, last: Evaluation, here: Evaluation, findings: Findings
    ) -> NewtonState:
        """Try a smaller step: of those that were looked at already the best, else where a parabola has its minimum."""
        assert state.direction is not None
        if state.refusals >= MAX_REFUSALS or -state.decrease * state.step <= self.noise * abs(last.loss):
            return replace(state, stalled=NO_DECREASE)
        step = self._best_tried(state, last, findings) or _parabola(state, last.loss, here.loss)
        point = last.point + step * state.direction
        return replace(state, point=point, step=step, refusals=state.refusals + 1)

    def _best_tried(self, state: NewtonState, last: Evaluation, findings: Findings) -> float | None:
        assert state.direction is not None
        good: list[tuple[float, float]] = []
        for offset, loss in zip(self.wish(state).offsets, findings.losses, strict=False):
            step = state.step + offset
            total = loss + self._absolute(last.point + step * state.direction)
            if total <= last.loss + SUFFICIENT_DECREASE * step * state.decrease:
                good.append((total, step))
        return min(good)[1] if good else None


def _downhill(A: Matrix, g: Vector) -> Vector:
    """-A^-1 g; and along what A says nothing of, if most of g is there, a step as of curvature 1 on A's own scale."""
    p = solve(A, -g)
    unit, left = unit_scale(A), -(g + A @ p)
    return p + np.square(unit) * left if largest(unit * left) > MOST_LEFT * largest(unit * g) else p


def _damped(hessian: Blocks, least: float) -> Blocks:
    """The Hessian with more curvature in every direction, as in Levenberg's method."""
    size = hessian.values.shape[1]
    more = max(least, float(np.trace(hessian.values, axis1=1, axis2=2).mean()) / max(size, 1))
    return Blocks(hessian.values + more * np.eye(size), hessian.index)


def _parabola(state: NewtonState, before: float, after: float) -> float:
    """The minimum of the parabola with slope D at 0 through both losses, kept within bounds."""
    rise = after - before - state.decrease * state.step
    guess = -0.5 * state.decrease * state.step / rise if 0 < rise < inf else 0.0
    smallest, greatest = SHRINKING
    return state.step * min(max(guess, smallest), greatest)

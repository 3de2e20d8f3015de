"""The minimisation behind one linear model on one data set: what a round asks for, and what its sums mean. Pure.

All numbers are per unit of weight, W = sum of the weights of the rows in the sums.
"""

from dataclasses import dataclass
from math import exp, isfinite, log

import numpy as np

from gradloom.algorithms.algorithm import Dtype
from gradloom.algorithms.linear_layout import Layout, Penalty
from gradloom.algorithms.linear_partials import message_of
from gradloom.algorithms.linear_settings import LinearSettings
from gradloom.algorithms.linear_solvers import Choice, choose, optimizer_of, schedule_of, step_length
from gradloom.algorithms.local_steps import averaged
from gradloom.objectives import Objective
from gradloom.optimizers import (
    AnyOptimizer,
    AnySearcher,
    Blocks,
    Findings,
    Gram,
    Lbfgs,
    Lbfgsb,
    Newton,
    OptimizerState,
    Wish,
)
from gradloom.optimizers.first_order import FirstOrderState
from gradloom.optimizers.optimizer import Vector
from gradloom.tensors import Tensors

SEARCHERS = (Lbfgs, Lbfgsb, Newton)
SMALLEST_SCALE = 1e-9
"""Of a target that never varies."""


class NotFinite(ArithmeticError):
    """A loss or a gradient is no finite number."""


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """Objective, settings, layout and penalty of one job."""

    objective: Objective
    settings: LinearSettings
    layout: Layout
    penalty: Penalty

    @classmethod
    def of(
        cls, objective: Objective, settings: LinearSettings, layout: Layout, train_weight: float
    ) -> "Problem":
        """The problem, its penalty worked out."""
        return cls(objective, settings, layout, Penalty.of(settings, layout, train_weight))

    @property
    def choice(self) -> Choice:
        """The solver for it, and why. Raises InvalidInput for one that would need too large a matrix."""
        return choose(self.settings, self.objective, self.layout)

    def optimizer(self, solver: str, dtype: Dtype) -> AnyOptimizer:
        """The solver, for rows of this dtype."""
        return optimizer_of(solver, self.settings, self.objective, self.layout, self.penalty, dtype)

    # ---- what a round asks for

    @property
    def looks_first(self) -> bool:
        """Whether the first round looks at the target, so that the next one starts at its mean and scale."""
        far_off = self.objective.name == "poisson" and self.settings.fit_intercept
        return (far_off or self.objective.scaled is not None) and not self.settings.stepper

    def start_from(self, target_sums: Vector, weight: float) -> Vector:
        """No coefficients, the best intercept without them, and the scale of the target. ``target_sums`` s y, s y^2."""
        mean, squares = (target_sums / weight).tolist()
        b = mean if self.settings.fit_intercept else 0.0
        scale = max(squares - b * b, 0.0) ** 0.5
        t = log(max(scale, SMALLEST_SCALE))
        if self.objective.name == "poisson":
            b = log(max(mean, SMALLEST_SCALE))
        shape = self.layout.outputs
        return self.layout.flat(np.zeros((self.layout.n_features, *shape)), np.full(shape, b), t)

    def wanted(self, optimizer: AnyOptimizer, state: OptimizerState) -> Tensors:
        """What the optimizer would like to know beside the gradient, as it stands in a message."""
        wish = _wish(optimizer, state)
        hessian = {"hessian": np.asarray(1, dtype=np.int64)} if wish.hessian else {}
        if wish.direction is None:
            return hessian
        direction = message_of(self.layout.point(wish.direction), "direction_")
        return {**hessian, **direction, "offsets": np.asarray(wish.offsets)}

    # ---- what its sums mean

    def loss(self, total: Tensors, point: Vector) -> float:
        """The mean loss with both penalties. Raises NotFinite."""
        mean = float(total["loss"]) / float(total["weight"])
        return _finite(mean + self.penalty.smooth(point) + self.penalty.absolute(point))

    def stepped(
        self, optimizer: AnyOptimizer, state: OptimizerState, total: Tensors, loss: float
    ) -> OptimizerState:
        """The optimizer's next state. Raises NotFinite."""
        weight = float(total["weight"])
        if isinstance(optimizer, Gram) and "gram" in total:
            return optimizer.solve(_all_finite(total["gram"]))
        smooth = loss - self.penalty.absolute(state.point)
        gradient = self._gradient(total, weight, state.point)
        if isinstance(optimizer, SEARCHERS):
            searcher: AnySearcher = optimizer
            findings = self._findings(total, weight, state.point, searcher.wish(state))
            found: OptimizerState = searcher.update(state, smooth, gradient, findings)
        else:
            found = optimizer.update(state, smooth, gradient)
        return found

    def averaged(self, solver: str, before: FirstOrderState, total: Tensors, loss: float) -> FirstOrderState:
        """The state after the shards' own steps. Raises NotFinite."""
        s = self.settings
        rate = step_length(solver, s, self.objective, self.layout, self.penalty)
        schedule = schedule_of(rate, s)
        rate = rate if schedule is None else schedule.rate(before.updates)
        stepped = averaged(before, total, loss, max(rate, float(np.finfo(float).tiny)), s.local_steps)
        _all_finite(stepped.point)
        return stepped

    def _gradient(self, total: Tensors, weight: float, point: Vector) -> Vector:
        sums = self.layout.flat(
            total["gradient"], total["intercept_gradient"], float(total["scale_gradient"])
        )
        return _all_finite(sums / weight + self.penalty.l2 * point)

    def _findings(self, total: Tensors, weight: float, point: Vector, wish: Wish) -> Findings:
        interact, hessian = self.objective.outputs_interact, None
        if "hessian" in total:
            blocks = self.layout.hessian(_all_finite(total["hessian"] / weight), interact=interact)
            blocks = self._with_scale(blocks, float(total["scale_gradient"]) / weight)
            hessian = self.penalty.on_hessian(blocks, self.layout, interact=interact)
        if wish.direction is None or "trial_losses" not in total:
            return Findings(hessian)
        losses, slopes = ((total[name] / weight).tolist() for name in ("trial_losses", "trial_slopes"))
        points = [point + offset * wish.direction for offset in wish.offsets]
        return Findings(
            hessian,
            tuple(a + self.penalty.smooth(x) for a, x in zip(losses, points, strict=True)),
            tuple(
                a + float(self.penalty.l2 * x @ wish.direction) for a, x in zip(slopes, points, strict=True)
            ),
        )

    def _with_scale(self, hessian: Blocks, slope: float) -> Blocks:
        """With what the objective leaves out in the corner of t, dloss/dt, where it is positive.

        There the scale is too large for the errors, and without it the curvature along t is next to nothing.
        """
        if not self.layout.learns_scale or slope <= 0:
            return hessian
        values = hessian.values.copy()
        values[:, -1, -1] += slope
        return Blocks(values, hessian.index)

    def scale(self, flat: Vector) -> float:
        """The scale of the errors that was learnt."""
        return exp(self.layout.point(flat).log_scale)


def _wish(optimizer: AnyOptimizer, state: OptimizerState) -> Wish:
    if not isinstance(optimizer, SEARCHERS):
        return Wish()
    searcher: AnySearcher = optimizer
    return searcher.wish(state)


def _finite(value: float) -> float:
    if not isfinite(value):
        raise NotFinite
    return value


def _all_finite(values: Vector) -> Vector:
    if not np.isfinite(values).all():
        raise NotFinite
    return values

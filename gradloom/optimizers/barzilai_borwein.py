"""Gradient steps whose length is read off the last one, with a safeguard that allows the loss to rise for a while.

    x+   = x - a g, shrunk by a l1                  a = s.s / s.y,   s and y the last changes of x and of g
    kept   if F(x+) <= max of the last 10 F  -  c1 / (2 a) |x+ - x|^2,   c1 = 1e-4;   else a is halved

F is the loss plus sum_j l1_j |x_j|. Sources: Barzilai, Borwein, "Two-point step size gradient methods", IMA J. Numer.
Anal. 8, 1988; Grippo, Lampariello, Lucidi, SIAM J. Numer. Anal. 23, 1986 (non-monotone); Wright, Nowak, Figueiredo,
"Sparse reconstruction by separable approximation", IEEE Trans. Signal Process. 57, 2009 (with l1).
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from gradloom.optimizers.accepted import NO_DECREASE, Accepted, Evaluation, accepted
from gradloom.optimizers.optimizer import Vector, largest, shrunk, steepest
from gradloom.saved import restore_value, save_value

SUFFICIENT_DECREASE = 1e-4
MEMORY = 10
CHANGE = (1e-3, 1e6)
"""How much of the step before the next one may be, at least and at most."""
MAX_HALVINGS = 60
FLAT_STEPS = 60
"""So many steps in a row that lower neither the loss nor the gradient end the search: it is not monotone."""


@dataclass(frozen=True, slots=True, eq=False)
class BarzilaiBorweinState(Accepted):
    """Where the method stands."""

    losses: tuple[float, ...] = ()
    """The last F, the newest last."""
    learning_rate: float | None = None
    """The length of the step in hand."""
    halvings: int = 0


@dataclass(frozen=True, slots=True)
class BarzilaiBorwein:
    """The spectral gradient method, proximal where there is an ``l1``."""

    noise: float = 1e-14
    """Relative error of an evaluated loss."""
    l1: Vector | None = None

    def init(self, parameters: Vector) -> BarzilaiBorweinState:
        """Before the first evaluation."""
        return BarzilaiBorweinState(parameters)

    def update(self, state: BarzilaiBorweinState, loss: float, gradient: Vector) -> BarzilaiBorweinState:
        """Keep the point and step on, or halve the step."""
        total = loss + (0.0 if self.l1 is None else float(self.l1 @ np.abs(state.point)))
        here = Evaluation(state.point, total, gradient, largest(steepest(state.point, gradient, self.l1)))
        last, length = state.current, state.learning_rate
        if last is None or length is None:
            first = min(1.0, 1.0 / max(float(np.abs(gradient).sum()), np.finfo(float).tiny))
            return self._step(replace(state, current=here, best=here, losses=(total,)), here, first)
        moved = here.point - last.point
        due = SUFFICIENT_DECREASE / (2.0 * length) * float(moved @ moved)
        if total <= max(state.losses) - due + self.noise * abs(last.loss):
            return self._step(self._kept(state, here), here, _length(last, here, length))
        if state.halvings >= MAX_HALVINGS:
            return replace(state, stalled=NO_DECREASE)
        return self._step(replace(state, halvings=state.halvings + 1), last, 0.5 * length)

    save = staticmethod(save_value)
    restore = staticmethod(partial(restore_value, BarzilaiBorweinState))

    def _kept(self, state: BarzilaiBorweinState, here: Evaluation) -> BarzilaiBorweinState:
        losses = (*state.losses, here.loss)[-MEMORY:]
        return replace(accepted(state, here, self.noise), losses=losses, halvings=0)

    def _step(self, state: BarzilaiBorweinState, here: Evaluation, length: float) -> BarzilaiBorweinState:
        if here.gradient_norm == 0.0:
            return replace(state, stalled="the gradient is zero")
        threshold = None if self.l1 is None else length * self.l1
        point = shrunk(here.point - length * here.gradient, threshold)
        if state.flat_steps >= FLAT_STEPS or np.array_equal(point, here.point):
            return replace(state, stalled=NO_DECREASE)
        return replace(state, point=point, learning_rate=length)


def _length(last: Evaluation, here: Evaluation, length: float) -> float:
    """s.s / s.y, within bounds of the step before; the longest where no curvature was seen."""
    s, y = here.point - last.point, here.gradient - last.gradient
    curvature = float(s @ y)
    shortest, longest = (factor * length for factor in CHANGE)
    return min(max(float(s @ s) / curvature, shortest), longest) if curvature > 0 else longest

"""L-BFGS as a pure state machine over evaluations.

One update consumes one evaluation and yields the next trial point, whether that belongs to a running line search
or starts the next one: so a cluster can evaluate, and a checkpoint can be taken, between any two of them.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from gradloom.optimizers.accepted import NO_DECREASE, Accepted, Evaluation, accepted
from gradloom.optimizers.line_search import LineSearch, Sample, Verdict, advance, begin, probes
from gradloom.optimizers.optimizer import NOTHING, Findings, Vector, Wish, largest, longest_step
from gradloom.saved import restore_value, save_value

MIN_CURVATURE = 1e-14
"""A pair with s.y <= this * |s| |y| has lost its curvature to rounding and is left out."""
FLAT_STEPS = 5
"""So many accepted steps in a row that lower neither the loss nor the gradient end the search."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """One step and how the gradient changed along it."""

    step: Vector
    change: Vector
    curvature: float
    """step . change, above 0."""


@dataclass(frozen=True, slots=True, eq=False)
class LbfgsState(Accepted):
    """Where L-BFGS stands."""

    direction: Vector | None = None
    search: LineSearch | None = None
    pairs: tuple[Pair, ...] = ()
    learning_rate: None = None


@dataclass(frozen=True, slots=True)
class Lbfgs:
    """Limited-memory BFGS: direction by the two-loop recursion, length by a Wolfe line search.

    The first step is min(1, 1/|g|_1) long, every later trial starts at 1. Source: Nocedal, Wright, "Numerical
    Optimization", 2nd ed., algorithm 7.4 and 7.5.
    """

    memory: int = 20
    noise: float = 1e-14
    """Relative error of an evaluated loss: about 1e-14 in float64, 1e-7 in float32."""
    reach: Vector | None = None
    """(n,): how much an entry may change in one step; None = any amount."""

    def init(self, parameters: Vector) -> LbfgsState:
        """Before the first evaluation."""
        return LbfgsState(parameters)

    def wish(self, state: LbfgsState) -> Wish:
        """Losses and slopes at other steps of a search that is not likely to end with this one."""
        return line_wish(state.search, state.direction)

    def update(
        self, state: LbfgsState, loss: float, gradient: Vector, findings: Findings = NOTHING
    ) -> LbfgsState:
        """Go on with the line search, or accept the point and start the next one."""
        here = Evaluation(state.point, loss, gradient, largest(gradient))
        if state.current is None or state.search is None or state.direction is None:
            return self._launch(replace(state, current=here, best=here))
        others = samples(state.search, findings)
        verdict, search = advance(state.search, loss, float(gradient @ state.direction), others)
        match verdict:
            case Verdict.ACCEPT:
                return self._launch(self._accepted(state, state.current, here))
            case Verdict.FAILED:
                return self._recovered(state, state.current)
            case Verdict.CONTINUE:
                point = state.current.point + search.step * state.direction
                return replace(state, point=point, search=search)

    save = staticmethod(save_value)
    restore = staticmethod(partial(restore_value, LbfgsState))

    def _accepted(self, state: LbfgsState, last: Evaluation, here: Evaluation) -> LbfgsState:
        pairs = with_pair(state.pairs, here.point - last.point, here.gradient - last.gradient)[-self.memory :]
        return replace(accepted(state, here, self.noise), pairs=pairs)

    def _launch(self, state: LbfgsState) -> LbfgsState:
        """Start a line search from the current point."""
        here = state.current
        assert here is not None
        if here.gradient_norm == 0.0:
            return replace(state, stalled="the gradient is zero")
        if state.flat_steps >= FLAT_STEPS:
            return replace(state, stalled=NO_DECREASE)
        direction = _direction(state.pairs, here.gradient)
        slope = float(here.gradient @ direction)
        if slope >= 0 and state.pairs:
            return self._launch(replace(state, pairs=()))
        step = 1.0 if state.pairs else min(1.0, 1.0 / float(np.abs(here.gradient).sum()))
        longest = longest_step(direction, self.reach)
        step = min(step, longest)
        point = here.point + step * direction
        if slope >= 0 or np.array_equal(point, here.point):
            return replace(state, stalled=NO_DECREASE)
        search = begin(here.loss, slope, step, self._error(here), longest, blind=not state.pairs)
        return replace(state, point=point, direction=direction, search=search)

    def _recovered(self, state: LbfgsState, here: Evaluation) -> LbfgsState:
        """After a failed search: try the gradient itself once, unless what it could gain is below rounding."""
        assert state.search is not None
        gain = -state.search.start.slope * state.search.step
        if not state.pairs or gain <= self._error(here):
            return replace(state, stalled=NO_DECREASE)
        return self._launch(replace(state, pairs=()))

    def _error(self, here: Evaluation) -> float:
        return self.noise * abs(here.loss)


def line_wish(search: LineSearch | None, direction: Vector | None) -> Wish:
    """The other steps that a search would like to see."""
    if search is None or direction is None:
        return Wish()
    offsets = tuple(step - search.step for step in probes(search))
    return Wish(direction=direction, offsets=offsets) if offsets else Wish()


def samples(search: LineSearch, findings: Findings) -> tuple[Sample, ...]:
    """What was found at those steps; () if nothing was."""
    if not findings.losses:
        return ()
    tried = zip(probes(search), findings.losses, findings.slopes, strict=True)
    return tuple(Sample(*one) for one in tried)


def with_pair(pairs: tuple[Pair, ...], step: Vector, change: Vector) -> tuple[Pair, ...]:
    """The pairs and one more, unless rounding is all that its curvature is made of."""
    curvature = float(step @ change)
    smallest = MIN_CURVATURE * float(np.linalg.norm(step) * np.linalg.norm(change))
    return (*pairs, Pair(step, change, curvature)) if curvature > smallest else pairs


def _direction(pairs: tuple[Pair, ...], gradient: Vector) -> Vector:
    """-H g by the two-loop recursion, H_0 = (s.y / y.y) I of the latest pair."""
    q = -gradient
    weights: list[float] = []
    for pair in reversed(pairs):
        weight = float(pair.step @ q) / pair.curvature
        weights.append(weight)
        q = q - weight * pair.change
    if pairs:
        q = q * (pairs[-1].curvature / float(pairs[-1].change @ pairs[-1].change))
    for pair, weight in zip(pairs, reversed(weights), strict=True):
        q = q + (weight - float(pair.change @ q) / pair.curvature) * pair.step
    return q

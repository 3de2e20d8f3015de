"""L-BFGS-B for a smooth loss plus a sum of absolute values, as a pure state machine over evaluations.

    f(w) + sum_j l1_j |w_j|    is smooth in u, v >= 0 where   w = u - v,  |w| = u + v:

    gradient [g + l1, -g + l1],  entries without l1 free as they are.

Each iteration goes to the minimum of a limited-memory BFGS model in the box, then searches along the way there. Entries
that end at a bound are zero exactly. Source: Byrd, Lu, Nocedal, Zhu, "A limited memory algorithm for bound constrained
optimization", SIAM J. Sci. Comput. 16, 1995; the split: Schmidt, Fung, Rosales, "Fast optimization methods for L1
regularization", ECML 2007.
"""

from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from gradloom.optimizers.accepted import NO_DECREASE, Accepted, Evaluation, accepted
from gradloom.optimizers.bounded import box_minimum, compact
from gradloom.optimizers.lbfgs import (
    FLAT_STEPS,
    Pair,
    line_wish,
    samples,
    with_pair,
)
from gradloom.optimizers.line_search import LineSearch, Verdict, advance, begin
from gradloom.optimizers.optimizer import NOTHING, Findings, Vector, Wish, largest, longest_step, steepest
from gradloom.saved import restore_value, save_value


@dataclass(frozen=True, slots=True, eq=False)
class LbfgsbState(Accepted):
    """Where L-BFGS-B stands. ``split`` vectors are [u, v, free entries]."""

    split: Vector = field(default_factory=lambda: np.zeros(0))
    """The last accepted point."""
    gradient: Vector = field(default_factory=lambda: np.zeros(0))
    """There, split."""
    end: Vector = field(default_factory=lambda: np.zeros(0))
    """Where a step of 1 leads, split."""
    search: LineSearch | None = None
    pairs: tuple[Pair, ...] = ()
    learning_rate: None = None


@dataclass(frozen=True, slots=True)
class Lbfgsb:
    """L-BFGS-B; entries of ``l1`` (n,) that are above 0 come first."""

    l1: Vector
    memory: int = 20
    noise: float = 1e-14
    """Relative error of an evaluated loss."""
    reach: Vector | None = None
    """(n,): how much an entry may change in one step; None = any amount."""

    def init(self, parameters: Vector) -> LbfgsbState:
        """Before the first evaluation."""
        return LbfgsbState(parameters)

    def wish(self, state: LbfgsbState) -> Wish:
        """Losses and slopes at other steps of a search that is not likely to end with this one."""
        if state.search is None:
            return Wish()
        return line_wish(state.search, self._joined(state.end - state.split))

    def update(
        self, state: LbfgsbState, loss: float, gradient: Vector, findings: Findings = NOTHING
    ) -> LbfgsbState:
        """Go on with the line search, or accept the point and start the next one."""
        split = self._split(state.point) if state.search is None else _along(state, state.search.step)
        norm = largest(steepest(state.point, gradient, self.l1))
        here = Evaluation(state.point, loss + self._absolute(split), gradient, norm)
        slopes = self._split_gradient(gradient)
        if state.search is None:
            return self._launch(replace(state, current=here, best=here, split=split, gradient=slopes))
        way = state.end - state.split
        others = samples(state.search, self._with_absolute(state, state.search, way, findings))
        verdict, search = advance(state.search, here.loss, float(slopes @ way), others)
        match verdict:
            case Verdict.ACCEPT:
                return self._launch(self._accepted(state, here, split, slopes))
            case Verdict.FAILED:
                return self._recovered(state)
            case Verdict.CONTINUE:
                point = self._joined(_along(state, search.step))
                return replace(state, point=point, search=search)

    save = staticmethod(save_value)
    restore = staticmethod(partial(restore_value, LbfgsbState))

    # ---- u, v and w

    @property
    def _n_split(self) -> int:
        return int(np.count_nonzero(self.l1))

    def _split(self, w: Vector) -> Vector:
        part = w[: self._n_split]
        return np.concatenate([np.maximum(part, 0.0), np.maximum(-part, 0.0), w[self._n_split :]])

    def _joined(self, split: Vector) -> Vector:
        n = self._n_split
        return np.concatenate([split[:n] - split[n : 2 * n], split[2 * n :]])

    def _split_gradient(self, gradient: Vector) -> Vector:
        n = self._n_split
        part, l1 = gradient[:n], self.l1[:n]
        return np.concatenate([part + l1, l1 - part, gradient[n:]])

    def _absolute(self, split: Vector) -> float:
        n = self._n_split
        return float(self.l1[:n] @ (split[:n] + split[n : 2 * n]))

    def _with_absolute(
        self, state: LbfgsbState, search: LineSearch, way: Vector, findings: Findings
    ) -> Findings:
        """The absolute values are linear along the way: u and v stay above 0."""
        if not findings.losses:
            return NOTHING
        start, slope = self._absolute(state.split), self._absolute(way)
        offsets = self.wish(state).offsets
        losses = (
            loss + start + (search.step + offset) * slope
            for loss, offset in zip(findings.losses, offsets, strict=True)
        )
        return replace(findings, losses=tuple(losses), slopes=tuple(s + slope for s in findings.slopes))

    # ---- iterations

    def _accepted(self, state: LbfgsbState, here: Evaluation, split: Vector, slopes: Vector) -> LbfgsbState:
        pairs = with_pair(state.pairs, split - state.split, slopes - state.gradient)[-self.memory :]
        return replace(accepted(state, here, self.noise), split=split, gradient=slopes, pairs=pairs)

    def _launch(self, state: LbfgsbState) -> LbfgsbState:
        """Start a line search from the current point towards the minimum of the model in the box."""
        here = state.current
        assert here is not None
        if here.gradient_norm == 0.0:
            return replace(state, stalled="the gradient is zero")
        if state.flat_steps >= FLAT_STEPS:
            return replace(state, stalled=NO_DECREASE)
        x, g = state.split, state.gradient
        end = box_minimum(x, g, compact(state.pairs, len(x)), 2 * self._n_split)
        way = end - x
        slope = float(g @ way)
        if not (np.isfinite(end).all() and slope < 0) and state.pairs:
            return self._launch(replace(state, pairs=()))
        if slope >= 0 or np.array_equal(self._joined(end), here.point):
            return replace(state, stalled=NO_DECREASE)
        longest = min(1.0, longest_step(self._joined(way), self.reach))
        step = min(longest, 1.0 if state.pairs else 1.0 / float(np.abs(way).sum()))
        search = begin(here.loss, slope, step, self._error(here), longest, blind=not state.pairs)
        launched = replace(state, end=end, search=search)
        return replace(launched, point=self._joined(_along(launched, step)))

    def _recovered(self, state: LbfgsbState) -> LbfgsbState:
        """After a failed search: forget the pairs once, unless what could be gained is below rounding."""
        assert state.search is not None
        assert state.current is not None
        gain = -state.search.start.slope * state.search.step
        if not state.pairs or gain <= self._error(state.current):
            return replace(state, stalled=NO_DECREASE)
        return self._launch(replace(state, pairs=()))

    def _error(self, here: Evaluation) -> float:
        return self.noise * abs(here.loss)


def _along(state: LbfgsbState, step: float) -> Vector:
    """The split point so far along the way; at its end exactly, so that zeros are zeros."""
    return state.end if step == 1.0 else state.split + step * (state.end - state.split)

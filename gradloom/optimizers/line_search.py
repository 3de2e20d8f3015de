"""A line search as a state machine: one evaluation in, a verdict or the next step length out.

It looks for a step a along a descent direction with phi(a) = f(x + a p) that meets the strong Wolfe conditions

    phi(a) <= phi(0) + c1 a phi'(0)   and   |phi'(a)| <= c2 |phi'(0)|,        c1 = 1e-4, c2 = 0.9

(Nocedal, Wright, "Numerical Optimization", 2nd ed., section 3.5). Near the minimum the first one compares two
numbers that differ only by rounding; there it gives way to the approximate Wolfe condition of Hager and Zhang
(SIAM J. Optim. 16, 2005), which looks at slopes alone. A bracket is kept by slopes: the left end goes down and
is no higher than the start, the right end goes up or is too high. Pure: no arrays, only numbers along the line.

A search whose first two steps were refused, or that has no idea yet how far to go, also names other steps worth
trying: whoever can evaluate many of them at once ends the search in the round after next. The second step is a cubic's
minimum and nearly always does, so nothing is spent beside it.
"""

from dataclasses import dataclass, replace
from enum import Enum
from math import inf, sqrt

SUFFICIENT_DECREASE = 1e-4
CURVATURE = 0.9
MAX_TRIALS = 20
EXPANSION = (2.0, 10.0)
"""Without a right end, the next step is this many times the last one, at least and at most."""
PROBES = 10
"""Steps that are tried beside the one in hand."""
FIRST_PROBES = tuple(4.0**k for k in (-2, -1, 1, 2, 3, 4, 5, 6, 7, 8))
"""Times the first step of a search that knows nothing of the curvature."""
MARGIN = 0.1
"""Inside a bracket, the next step keeps this part of its width from either end."""


class Verdict(Enum):
    """What one more evaluation led to."""

    CONTINUE = "continue"
    ACCEPT = "accept"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Sample:
    """phi and phi' at one step length."""

    step: float
    loss: float
    slope: float


@dataclass(frozen=True, slots=True)
class LineSearch:
    """Where a search stands: the bracket so far and the step to try next."""

    start: Sample
    """At step 0; its slope is negative."""
    step: float
    noise: float
    """Absolute error of a loss: smaller differences mean nothing."""
    left: Sample
    right: Sample | None = None
    trials: int = 0
    longest: float = inf
    """No step may be longer: there the way ends."""
    blind: bool = False
    """Whether the first step was a guess that no curvature stood behind."""


def begin(
    loss: float, slope: float, step: float, noise: float, longest: float = inf, *, blind: bool = False
) -> LineSearch:
    """Start a search whose first trial is ``step``; the slope at 0 must be negative."""
    assert slope < 0 < step <= longest
    start = Sample(0.0, loss, slope)
    return LineSearch(start, step, noise, left=start, longest=longest, blind=blind)


def probes(search: LineSearch) -> tuple[float, ...]:
    """Other steps worth trying with ``search.step``; () where that one is very likely to do."""
    if search.trials == 1 or (search.trials == 0 and not search.blind):
        return ()
    if search.trials == 0:
        steps = [search.step * factor for factor in FIRST_PROBES]
    elif search.right is None:
        steps = [search.step * 2.0 ** (k + 1) for k in range(PROBES)]
    else:
        left, width = search.left.step, search.right.step - search.left.step
        steps = [left + width * (k + 1) / (PROBES + 1) for k in range(PROBES)]
        if left == 0.0:  # the right step may be smaller by orders of magnitude
            steps = [width * 2.0 ** (-k - 1) for k in range(PROBES)]
    return tuple(step for step in steps if step <= search.longest and step != search.step)


def advance(
    search: LineSearch, loss: float, slope: float, others: tuple[Sample, ...] = ()
) -> tuple[Verdict, LineSearch]:
    """Take in the evaluation at ``search.step``, and those at other steps."""
    here = Sample(search.step, loss, slope)
    if _good(search, here):
        return Verdict.ACCEPT, search
    for sample in sorted((here, *others), key=lambda sample: sample.step):
        search = _narrowed(search, sample)
    search = replace(search, trials=search.trials + 1)
    good = [sample for sample in others if _good(search, sample)]
    step = min(good, key=lambda sample: sample.loss).step if good else _next_step(search)
    search = replace(search, step=min(step, search.longest))
    return (Verdict.FAILED if _exhausted(search) else Verdict.CONTINUE), search


def _good(search: LineSearch, here: Sample) -> bool:
    """Wolfe's conditions; at the end of the way a loss that still falls is good enough."""
    flat_enough = abs(here.slope) <= CURVATURE * -search.start.slope
    at_the_end = here.step >= search.longest and here.slope < 0
    return _decreases(search, here) and (flat_enough or at_the_end)


def _decreases(search: LineSearch, here: Sample) -> bool:
    start = search.start
    if here.loss <= start.loss + SUFFICIENT_DECREASE * here.step * start.slope:
        return True
    flat = here.loss <= start.loss + search.noise
    return flat and here.slope <= (2 * SUFFICIENT_DECREASE - 1) * start.slope


def _narrowed(search: LineSearch, here: Sample) -> LineSearch:
    """The bracket with one more sample; what lies outside of it says nothing new."""
    if here.step <= search.left.step or (search.right is not None and here.step >= search.right.step):
        return search
    descends = here.slope < 0 and here.loss <= search.start.loss + search.noise
    return replace(search, left=here) if descends else replace(search, right=here)


def _next_step(search: LineSearch) -> float:
    left, right = search.left, search.right
    if right is None:
        guess = _secant(search.start, left) if left.step > 0 else None
        low, high = (factor * left.step for factor in EXPANSION)
        return high if guess is None else min(max(guess, low), high)
    guess = _minimum(left, right, search.noise)
    margin = MARGIN * (right.step - left.step)
    if guess is None:
        return 0.5 * (left.step + right.step)
    return min(max(guess, left.step + margin), right.step - margin)


def _minimum(left: Sample, right: Sample, noise: float) -> float | None:
    """Minimum of the cubic through both samples; by slopes alone where their losses differ by rounding."""
    if right.slope > 0 and abs(right.loss - left.loss) <= noise:
        return _secant(left, right)
    width = right.step - left.step
    d1 = left.slope + right.slope - 3 * (right.loss - left.loss) / width
    square = d1 * d1 - left.slope * right.slope
    if not 0 <= square < inf:
        return None
    d2 = sqrt(square)
    denominator = right.slope - left.slope + 2 * d2
    return right.step - width * (right.slope + d2 - d1) / denominator if denominator > 0 else None


def _secant(a: Sample, b: Sample) -> float | None:
    """Where the slope would reach 0 if it changed linearly; None if it does not rise."""
    rise = b.slope - a.slope
    return a.step - a.slope * (b.step - a.step) / rise if rise > 0 else None


def _exhausted(search: LineSearch) -> bool:
    left, right = search.left, search.right
    too_narrow = right is not None and right.step - left.step <= 1e-12 * right.step
    return too_narrow or search.trials >= MAX_TRIALS

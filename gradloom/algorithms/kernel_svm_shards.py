"""What a shard answers in each phase of a kernel SVM. Pure; a partial depends on the shard and the message alone.

::

    statistics   count, mean and sum of squares of each column            (for gamma="scale" and the centre)
    local        the support vectors of the shard by itself               (a problem of bounded size at a time)
    check        the rows that violate the KKT conditions, worst first    (a bounded number of them)
"""

from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from sys import float_info
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.algorithms.kernel_svm_rows import (
    FIELDS,
    Candidates,
    Space,
    refuse_not_finite,
    solve_pairs,
    unsolved,
)
from gradloom.data.shard import Rows
from gradloom.one_vs_one import Expansion, Floats, Indices
from gradloom.rng import shuffled_rows
from gradloom.tensors import Tensors, sum_tensors

ROWS_AT_ONCE = 8192
"""Rows that are copied at once, to be centred or turned to float64."""
STEPS_PER_ROW = 50
"""Of a local problem, at most: its solution only proposes rows, and need not be one."""
LONELY_ROWS = 64
"""Rows that a local problem of one class sends: they are no support vectors, but others have to meet that class."""


@dataclass(frozen=True, slots=True)
class LocalProblem:
    """How shards are solved by themselves."""

    n_classes: int
    C: float
    tolerance: float
    most_rows: int
    max_steps: int
    seed: int
    share: float
    """Rows that a shard may send, per row that it has."""


def statistics(rows: Rows) -> Tensors:
    """count (), mean (d,) and squares (d,) = sum_i (x_i - mean)^2, float64; see ``merge``."""
    n = len(rows)
    mean = rows.X.sum(axis=0, dtype=np.float64) / max(1, n)
    squares = np.zeros_like(mean)
    for start in range(0, n, ROWS_AT_ONCE):
        deviation = rows.X[start : start + ROWS_AT_ONCE] - mean
        with np.errstate(over="ignore", invalid="ignore"):  # the coordinator refuses what comes of it
            squares += np.einsum("ij,ij->j", deviation, deviation)
    return {"count": np.asarray(float(n)), "mean": mean, "squares": squares}


def merge(left: Tensors, right: Tensors) -> Tensors:
    """Two partials of one phase into one: statistics, rows one after the other, or sums.

    Statistics: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances",
    1979. Associative up to rounding; a part without rows changes nothing.
    """
    if "mean" in left:
        return _merged_statistics(left, right)
    if "positions" in left:
        rows = {name: np.concatenate([left[name], right[name]]) for name in FIELDS}
        found, slack = left["found"] + right["found"], np.maximum(left["slack"], right["slack"])
        return {**rows, "found": np.asarray(found), "slack": slack}
    return sum_tensors(left, right)


def _merged_statistics(left: Tensors, right: Tensors) -> Tensors:
    n, m = float(left["count"]), float(right["count"])
    if not (n and m):
        return right if m else left
    apart, share = right["mean"] - left["mean"], m / (n + m)
    with np.errstate(over="ignore", invalid="ignore"):  # the coordinator refuses what comes of it
        squares = left["squares"] + right["squares"] + apart * apart * (n * share)
    return {"count": np.asarray(n + m), "mean": left["mean"] + apart * share, "squares": squares}


def local_support(space: Space, rows: Rows, shard: int, problem: LocalProblem) -> Tensors:
    """The rows that are support vectors of the shard, with the coefficients that they have there.

    The shard is cut into problems of at most ``most_rows`` rows. A problem that has one class alone sends a seeded
    sample of it. ``found`` () says how many rows there were; where they are more than the shard's share, the
    largest coefficients go, as zeros: a part of a solution is none.
    """
    counted = with_weight(rows)
    sent = [
        _support_of(space, block, shard, index, problem)
        for index, block in enumerate(_blocks(counted, problem.most_rows, problem))
    ]
    parts = sent or [candidates_of(counted, problem.n_classes, problem.C)]
    together = parts[0]
    for part in parts[1:]:
        together = together.with_(part)
    most = ceil(problem.share * len(rows))
    if len(together) <= most:
        return answer(together, found=len(together))
    size = np.abs(together.coefficients).sum(axis=1)
    largest = together.take(np.lexsort((together.positions, -size))[:most])
    return answer(without_coefficients(largest), found=len(together))


def answer(candidates: Candidates, found: int) -> Tensors:
    """A partial of rows: what travels of them in the order of their positions, found () and no slack."""
    ordered = candidates.take(np.argsort(candidates.positions))
    slack = no_slack(candidates.coefficients.shape[1] + 1)
    return {**ordered.tensors(), "found": np.asarray(float(found)), "slack": slack}


def no_slack(n_classes: int) -> Floats:
    """What no row has: less than any row's; (K, K - 1)."""
    return np.full((n_classes, n_classes - 1), -float_info.max)


def candidates_of(rows: Rows, n_classes: int, C: float) -> Candidates:
    """Prepared rows as candidates of no coefficients, sorted."""
    n = len(rows)
    weight = np.ones(n) if rows.weight is None else rows.weight
    coefficients = np.zeros((n, n_classes - 1))
    idle = np.zeros(n, dtype=np.int64)
    return Candidates(rows.X, rows.y, C * weight, rows.positions, coefficients, idle).sorted()


def without_coefficients(candidates: Candidates) -> Candidates:
    """The same rows, as if nobody had solved anything."""
    empty = np.zeros_like(candidates.coefficients)
    c = candidates
    return Candidates(c.X, c.labels, c.cost, c.positions, empty, c.idle)


def with_weight(rows: Rows) -> Rows:
    """The rows that weigh more than 0: the others take no part."""
    if rows.weight is None or rows.weight.all():
        return rows
    return taken(rows, np.flatnonzero(rows.weight))


def taken(rows: Rows, chosen: Any) -> Rows:
    """Some of the rows."""
    weight = None if rows.weight is None else rows.weight[chosen]
    return Rows(rows.X[chosen], rows.y[chosen], weight, rows.positions[chosen])


def _blocks(rows: Rows, most: int, problem: LocalProblem) -> list[Candidates]:
    """As few problems of about equal size as may be, one after the other."""
    n, n_blocks = len(rows), -(-len(rows) // most)
    ends = [n * i // max(1, n_blocks) for i in range(n_blocks + 1)]
    parts = [taken(rows, slice(a, b)) for a, b in pairwise(ends)]
    return [candidates_of(part, problem.n_classes, problem.C) for part in parts]


def _support_of(space: Space, rows: Candidates, shard: int, block: int, problem: LocalProblem) -> Candidates:
    if len(np.unique(rows.labels)) == 1:
        order = shuffled_rows(problem.seed, shard, block, len(rows))
        return rows.take(np.sort(order[:LONELY_ROWS]))
    fresh = unsolved(rows, problem.n_classes)
    most = min(problem.max_steps, STEPS_PER_ROW * len(rows))
    solved = solve_pairs(space, fresh, problem.tolerance, most).candidates
    return solved.take(solved.support)


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """What rows are checked against."""

    n_classes: int
    C: float
    tolerance: float
    share: float
    """Rows that a shard may send, per row that it has."""
    active: Indices
    """Positions of the rows that the coordinator has: it sees to those."""


def violators(space: Space, machines: Expansion, rows: Rows, check: Check) -> Tensors:
    """The rows without coefficients that lie inside a margin: y f(x) < 1 - tolerance in a machine of their class.

    Worst first, ties by position, as many as the shard may send; ``found`` () counts them all, and
    ``slack`` (K, K - 1) is the largest 1 - y f(x) of each class in each machine: together they say how far the
    solution is from the optimum over all rows.
    """
    counted = with_weight(rows)
    others = ~np.isin(counted.positions, check.active)
    violation, slack = _violations(space, machines, counted, others, check.n_classes)
    inside = np.flatnonzero(violation > check.tolerance)
    worst_first = inside[np.lexsort((counted.positions[inside], -violation[inside]))]
    sent = taken(counted, worst_first[: ceil(check.share * len(rows))])
    return {**answer(candidates_of(sent, check.n_classes, check.C), len(inside)), "slack": slack}


def _violations(
    space: Space, machines: Expansion, rows: Rows, among: NDArray[np.bool_], n_classes: int
) -> tuple[Floats, Floats]:
    """1 - y f(x) at its largest: of each row over the machines of its class (n,), of each class (K, K - 1).

    Rows that are not ``among`` those that count violate nothing.
    """
    support = machines.with_rows(space.rows(machines.rows))
    violation, slack = np.zeros(len(rows)), no_slack(n_classes)
    for class_ in range(n_classes):
        own = np.flatnonzero(among & (rows.y == class_))
        for start in range(0, len(own), ROWS_AT_ONCE):
            part = own[start : start + ROWS_AT_ONCE]
            short = 1.0 - support.margins(space.kernel, space.rows(rows.X[part]), class_, n_classes)
            violation[part] = short.max(axis=1)
            slack[class_] = np.maximum(slack[class_], short.max(axis=0))
    refuse_not_finite(violation, "there is a row with a decision")
    return violation, slack

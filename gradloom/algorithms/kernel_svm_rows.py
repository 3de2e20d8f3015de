"""Rows of a kernel SVM that travel with their dual coefficients, and the solution of all pairs of classes on them.

Pure, the same on coordinator and workers. Rows are kept as they were prepared; ``Space`` centres them on the way
into the kernel.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.errors import JobFailed
from gradloom.kernels import Kernel, Matrix
from gradloom.one_vs_one import (
    Expansion,
    Floats,
    Indices,
    class_slices,
    column_of,
    n_pairs,
    pairs_of,
    pairs_with,
)  # fmt: skip
from gradloom.optimizers.smo import DualProblem, DualSolution, solve
from gradloom.tensors import Tensors

FIELDS = ("X", "labels", "cost", "positions", "coefficients")
"""The tensors of candidates on the wire."""


def refuse_not_finite(values: NDArray[Any], what: str) -> None:
    """Raise JobFailed where one of the numbers is none; ``what`` begins the sentence."""
    if not np.isfinite(values).all():
        raise JobFailed(
            f"{what} that is not a finite number: the values of the data are too large for this kernel; try"
            " standardize=true, dtype=float64, or a smaller gamma, degree or coef0"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """A kernel, and the point that becomes the origin before it, where that changes no machine but keeps digits.

    Distances stay as they are; linear machines change their intercept alone, since dual coefficients sum to 0.
    """

    kernel: Kernel
    center: Floats  # (d,)

    def at_origin(self, machines: Expansion, n_classes: int) -> Floats:
        """The decisions (P,) of the row that is 0 before it is moved: the intercepts of linear machines on raw rows."""
        origin = np.zeros((1, machines.rows.shape[1]), dtype=machines.rows.dtype)
        support, row = self.rows(machines.rows).astype(np.float64), self.rows(origin).astype(np.float64)
        decisions: Floats = machines.with_rows(support).decisions(self.kernel, row, n_classes)[0]
        return decisions

    def rows(self, X: Matrix) -> Matrix:
        """X (n, d) as the kernel wants it; a new array, or X itself."""
        if self.kernel.name not in ("rbf", "linear"):
            return np.ascontiguousarray(X)
        return np.ascontiguousarray(X - self.center.astype(X.dtype))


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Rows that are or may become support vectors, sorted by class and then by position."""

    X: Matrix  # (m, d)
    labels: Indices  # (m,)
    cost: Floats  # (m,) C times the row's weight, above 0
    positions: Indices  # (m,) in the whole data set, each once
    coefficients: Floats  # (m, K - 1) signed dual coefficients b = y alpha; see gradloom.one_vs_one
    idle: Indices  # (m,) solutions in a row in which all coefficients were 0

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, chosen: NDArray[Any]) -> "Candidates":
        """Some of the rows, in this order."""
        parts = {name: np.ascontiguousarray(getattr(self, name)[chosen]) for name in (*FIELDS, "idle")}
        return Candidates(**parts)

    def with_(self, others: "Candidates") -> "Candidates":
        """These rows and others, sorted."""
        parts = {
            name: np.concatenate([getattr(self, name), getattr(others, name)]) for name in (*FIELDS, "idle")
        }
        return Candidates(**parts).sorted()

    def sorted(self) -> "Candidates":
        """By class, then by position."""
        return self.take(np.lexsort((self.positions, self.labels)))

    @property
    def support(self) -> NDArray[np.bool_]:
        """Which rows have a coefficient that is not 0."""
        return np.asarray(self.coefficients.any(axis=1))

    def counts(self, n_classes: int) -> Indices:
        """Rows of each class."""
        return np.bincount(self.labels, minlength=n_classes).astype(np.int64)

    def expansion(self, intercept: Floats) -> Expansion:
        """The machines that the support vectors make; rows stand where they were, not centred."""
        chosen = self.take(self.support)
        counts = chosen.counts(self.coefficients.shape[1] + 1)
        return Expansion(chosen.X, chosen.coefficients, counts, intercept)

    def tensors(self) -> Tensors:
        """What travels."""
        return {name: getattr(self, name) for name in FIELDS}


def from_tensors(tensors: Tensors) -> Candidates:
    """Candidates that have travelled, sorted."""
    idle = np.zeros(len(tensors["positions"]), dtype=np.int64)
    return Candidates(**{name: tensors[name] for name in FIELDS}, idle=idle).sorted()


@dataclass(frozen=True, slots=True, eq=False)
class PairsSolution:
    """Rows, and the machines of all pairs of classes on them."""

    candidates: Candidates
    intercept: Floats  # (P,)
    objectives: Floats  # (P,) of the dual
    lowest: Floats  # (P,) intercepts that the rows allow, where all coefficients are at their bounds
    highest: Floats  # (P,) both are the intercept where they allow one alone
    unfinished: tuple[int, int, DualSolution] | None = None
    """The first pair of classes whose solution ran out of steps."""


def unsolved(candidates: Candidates, n_classes: int) -> PairsSolution:
    """Before any pair is solved."""
    none = np.zeros(n_pairs(n_classes))
    return PairsSolution(candidates, none, none, none, none)


def settled_intercepts(before: PairsSolution, slack: Floats) -> Floats:
    """The intercepts (P,) once no other row violates anything: in the middle of what all rows allow, as in libsvm.

    ``slack`` (K, K - 1) is the largest 1 - y f over the other rows of a class, in the machine against each class.
    """
    intercept, n_classes = before.intercept.copy(), len(slack)
    for p, (i, j) in enumerate(pairs_of(n_classes)):
        low, high = float(before.lowest[p]), float(before.highest[p])
        if low < high:
            low = max(low, float(intercept[p] + slack[i, column_of(i, j)]))
            high = min(high, float(intercept[p] - slack[j, column_of(j, i)]))
            intercept[p] = 0.5 * (low + high)
    return intercept


def touched_pairs(
    space: Space, machines: Expansion, more: Candidates, n_classes: int, tolerance: float
) -> NDArray[np.bool_]:
    """The pairs that one of the rows violates by more than ``tolerance``; (P,). The others stay solved."""
    centred = machines.with_rows(space.rows(machines.rows))
    touched = np.zeros(n_pairs(n_classes), dtype=np.bool_)
    for class_ in np.unique(more.labels).tolist():
        X = space.rows(more.X[more.labels == class_])
        margins = centred.margins(space.kernel, X, class_, n_classes)
        touched[pairs_with(class_, n_classes)] |= (margins < 1.0 - tolerance).any(axis=0)
    return touched


def solve_pairs(
    space: Space,
    before: PairsSolution,
    tolerance: float,
    max_steps: int,
    only: NDArray[np.bool_] | None = None,
) -> PairsSolution:
    """One SMO for each pair of classes on all rows of the two, from the coefficients that the rows have.

    ``only`` (P,) says which pairs; the others stay as they are. A pair with rows of one class alone decides for
    that class: intercept +1 or -1; without rows, 0.
    """
    candidates, intercept, objectives = before.candidates, before.intercept.copy(), before.objectives.copy()
    lowest, highest = before.lowest.copy(), before.highest.copy()
    coefficients, n_classes = candidates.coefficients.copy(), candidates.coefficients.shape[1] + 1
    rows = class_slices(candidates.counts(n_classes))
    grams = _Grams(space, candidates.X, rows)
    unfinished = None
    for p, (i, j) in enumerate(pairs_of(n_classes)):
        if only is not None and not only[p]:
            continue
        has_i, has_j = rows[i].stop > rows[i].start, rows[j].stop > rows[j].start
        if not (has_i and has_j):
            intercept[p] = lowest[p] = highest[p] = float(has_i) - float(has_j)
            continue
        at_i, at_j = (rows[i], column_of(i, j)), (rows[j], column_of(j, i))
        n_i = rows[i].stop - rows[i].start
        cost = np.concatenate([candidates.cost[rows[i]], candidates.cost[rows[j]]])
        y = np.where(np.arange(len(cost)) < n_i, 1.0, -1.0)
        start = np.concatenate([coefficients[at_i], coefficients[at_j]])
        K = grams.of(i, j)
        refuse_not_finite(K.sum(axis=1, dtype=np.float64), "there is a kernel value")
        found = solve(DualProblem(K, y, cost), tolerance, start=start, max_steps=max_steps)
        coefficients[at_i], coefficients[at_j] = found.b[:n_i], found.b[n_i:]
        intercept[p], objectives[p] = found.intercept, found.objective
        lowest[p], highest[p] = found.intercepts
        if unfinished is None and not found.converged:
            unfinished = (i, j, found)
    idle = np.where(coefficients.any(axis=1), 0, candidates.idle + 1)
    solved = replace(candidates, coefficients=coefficients, idle=idle)
    return PairsSolution(solved, intercept, objectives, lowest, highest, unfinished)


def filtered(space: Space, union: Candidates, most_rows: int, tolerance: float, max_steps: int) -> Candidates:
    """One more level of the cascade: the support vectors of the parts of a union, each of at most so many rows."""
    n_classes, by_position = union.coefficients.shape[1] + 1, np.argsort(union.positions)
    kept = []
    for chosen in np.array_split(by_position, -(-len(union) // most_rows)):
        part = union.take(chosen).sorted()
        part = replace(part, coefficients=np.zeros_like(part.coefficients))
        solved = solve_pairs(space, unsolved(part, n_classes), tolerance, max_steps).candidates
        kept.append(solved.take(solved.support))
    together = kept[0]
    for more in kept[1:]:
        together = together.with_(more)
    return together


class _Grams:
    """Kernel matrices of pairs of classes; what is within a class is computed once for all its pairs."""

    def __init__(self, space: Space, X: Matrix, rows: list[slice]) -> None:
        self._kernel = space.kernel
        self._parts = [space.rows(X[part]) for part in rows]
        self._within: dict[int, Matrix] = {}

    def of(self, i: int, j: int) -> Matrix:
        """Rows of class i, then rows of class j; symmetric to the bit."""
        a, b = self._parts[i], self._parts[j]
        if len(self._parts) == 2:
            return self._kernel.gram(np.concatenate([a, b]))
        n = len(a)
        K = np.empty((n + len(b), n + len(b)), dtype=a.dtype)
        K[:n, :n], K[n:, n:] = self._gram(i), self._gram(j)
        K[:n, n:] = self._kernel.matrix(a, b)
        K[n:, :n] = K[:n, n:].T
        return K

    def _gram(self, class_: int) -> Matrix:
        if class_ not in self._within:
            self._within[class_] = self._kernel.gram(self._parts[class_])
        return self._within[class_]

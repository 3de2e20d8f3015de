"""One richer pass over the rows of a shard: loss, gradient, and if asked for the Hessian and losses along a line.

Margins are linear in a step, z(w + o p) = X w + o X p: two products serve any number of trial steps, so a line
search costs one round. Work is in the same cache blocks as ``passes``; block results add up in float64.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradloom.data.preparation import aligned_empty
from gradloom.objectives.passes import (
    BlockLoss,
    Floats,
    Objective,
    Products,
    ScaledBlockLoss,
    Sums,
    Totals,
    blocks,
    total_weight,
)

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """Where a linear model stands, or a direction in which it moves."""

    coefficients: Vector  # (d,) or (d, K)
    intercept: Vector  # () or (K,)
    log_scale: float = 0.0
    """t of a loss with a scale exp(t) to learn."""


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """Trial steps: from the point of the evaluation along a direction, by each of the offsets."""

    direction: Point
    offsets: Vector  # (S,), none of them 0


class RichSums(NamedTuple):
    """What the pass gives; what was not asked for is empty."""

    sums: Sums
    hessian: Vector
    """(B, D, D): the Hessian in B independent blocks, or (0,). A block's parameters are the d coefficients, the
    intercept and, where there is one, t: one block for one output, one for each output of a sum over outputs. For a
    softmax one block of all outputs, class by class."""
    losses: Vector  # (S,): sum of weight * loss at each trial step
    slopes: Vector  # (S,): its derivative along the direction


def rich_sums(
    objective: Objective,
    X: Floats,
    y: NDArray[Any],
    weight: Vector | None,
    at: Point,
    *,
    hessian: bool,
    line: Line | None,
) -> RichSums:
    """Sums over rows at a point; X (n, d) float32 or float64, y (n,), weight (n,) or None = 1 each."""
    here = objective.at(at.log_scale)
    products, totals = Products(X, at.coefficients), Totals(X.shape[1], np.shape(at.intercept))
    second = _Hessian(objective, X, np.shape(at.intercept)) if hessian else None
    trials = _Trials(objective, X, at, line) if line is not None else None
    with np.errstate(over="ignore", invalid="ignore"):  # as in Objective.sums
        for rows, block in blocks(here, X, at.intercept):
            X_block, y_block, s = X[rows], y[rows], None if weight is None else weight[rows]
            z = products.forward(X_block)
            if trials is not None:
                trials.add(X_block, y_block, s, z)
            totals.loss += block.loss(z, y_block, s)
            scaled = block if here.scaled is not None and isinstance(block, ScaledBlockLoss) else None
            if scaled is not None:
                totals.scale += scaled.scale_gradient()
            if second is not None:
                second.add(X_block, block.curvature(), None if scaled is None else scaled.scale_column())
            residual = block.residual()
            totals.gradient += products.backward(residual, X_block)
            totals.intercept += products.sum_rows(residual)
    nothing = np.zeros(0)
    return RichSums(
        totals.sums(total_weight(X, weight)),
        nothing if second is None else second.total,
        nothing if trials is None else trials.losses,
        nothing if trials is None else trials.slopes,
    )


class _Hessian:
    """Sums of A^T diag(h) A over blocks, A = [X, 1] or [X, 1, dz/dt]; each is one product S^T S, S = sqrt(h) A."""

    def __init__(self, objective: Objective, X: Floats, outputs: tuple[int, ...]) -> None:
        self._softmax = objective.outputs_interact
        self._size = X.shape[1] + 1 + (objective.scaled is not None)
        n_outputs = outputs[0] if outputs else 1
        n_blocks, size = (1, n_outputs * self._size) if self._softmax else (n_outputs, self._size)
        self.total = np.zeros((n_blocks, size, size))

    def add(self, X: Floats, curvature: Floats, scale_column: Floats | None) -> None:
        """Add a block of rows; ``curvature`` (m,) or (K, m) as the block's loss gives it."""
        design = aligned_empty((X.shape[0], self._size), X.dtype)
        design[:, : X.shape[1]] = X
        design[:, X.shape[1]] = 1.0
        if scale_column is not None:
            design[:, -1] = scale_column
        if self._softmax:
            self._add_softmax(design, curvature)
            return
        for k, h in enumerate(np.atleast_2d(curvature)):
            self.total[k] += _gram(design, h)

    def _add_softmax(self, design: Floats, weighted: Floats) -> None:
        """sum_i s_i (diag(p_i) - p_i p_i^T) (x) a_i a_i^T, class by class; ``weighted`` (K, m) is s p."""
        total, size = self.total[0], self._size
        for k, h in enumerate(weighted):
            own = slice(k * size, (k + 1) * size)
            total[own, own] += _gram(design, h)
        s = weighted.sum(axis=0)
        roots = np.divide(weighted, np.sqrt(s), out=np.zeros_like(weighted), where=s > 0)  # sqrt(s) p
        wide = np.einsum("km,mj->mkj", roots, design).reshape(len(design), -1)
        total -= np.dot(wide.T, wide)


def _gram(design: Floats, h: Floats) -> Floats:
    """A^T diag(h) A; BLAS computes half of it, since both factors are one array."""
    scaled = design * np.sqrt(h)[:, np.newaxis]
    product: Floats = np.dot(scaled.T, scaled)
    return product


class _Trials:
    """Losses and slopes at trial steps along a line."""

    def __init__(self, objective: Objective, X: Floats, at: Point, line: Line) -> None:
        self._at, self._line, self._objective = at, line, objective
        self._along = Products(X, line.direction.coefficients)
        self._made: dict[tuple[int, int], BlockLoss] = {}
        self.losses, self.slopes = np.zeros(len(line.offsets)), np.zeros(len(line.offsets))

    def add(self, X: Floats, y: NDArray[Any], weight: Vector | None, z: Floats) -> None:
        """Add a block of rows, whose X w is ``z``; it is left as it is."""
        u = self._along.forward(X)
        drift = float(self._line.direction.log_scale)
        move = u + self._line.direction.intercept[..., np.newaxis].astype(u.dtype)
        for j, offset in enumerate(self._line.offsets.tolist()):
            block = self._block(j, offset, X)
            self.losses[j] += block.loss(z + offset * u, y, weight)
            if drift and isinstance(block, ScaledBlockLoss):
                self.slopes[j] += drift * block.scale_gradient()
            self.slopes[j] += float(np.vdot(block.residual(), move))

    def _block(self, trial: int, offset: float, X: Floats) -> BlockLoss:
        key = trial, X.shape[0]
        if key not in self._made:
            at, direction = self._at, self._line.direction
            here = self._objective.at(at.log_scale + offset * direction.log_scale)
            intercept = np.asarray(at.intercept + offset * direction.intercept)
            self._made[key] = here.block(X.shape[0], X.dtype, intercept)
        return self._made[key]

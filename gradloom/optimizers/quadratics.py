"""Minima of quadratic functions, with or without a sum of absolute values: what Newton and the Gram solver stand on.

    minimise over x:   1/2 x^T A x - b^T x + sum_j l1_j |x_j|,        A symmetric, positive semidefinite

Small dense problems, solved to rounding. Pure: arrays in, arrays out.
"""

import numpy as np
from numpy.typing import NDArray

from gradloom.optimizers.optimizer import Vector, largest, shrunk, steepest

Matrix = NDArray[np.float64]

FLAT = 1e-13
"""An eigenvalue of at most this times the largest is none: nothing is known along its direction."""
MAX_SWEEPS = 10_000
SWEEPS_BETWEEN_SOLVES = 4
TOLERANCE = 1e-14
"""Of the optimality conditions, relative to the largest entry of b."""


def solve(A: Matrix, b: Vector) -> Vector:
    """x with A x = b, shape (n,); the shortest of all least-squares solutions where A is singular.

    A positive definite matrix is scaled to a diagonal of ones first: columns in very different units then cost no
    digits. One step of iterative refinement follows.
    """
    diagonal = np.diagonal(A)
    if len(b) == 0:
        return np.zeros(0)
    if diagonal.min() > 0:
        scale = 1.0 / np.sqrt(diagonal)
        scaled = A * scale * scale[:, np.newaxis]
        if _is_definite(scaled):
            x = scale * np.linalg.solve(scaled, scale * b)
            return np.asarray(x + scale * np.linalg.solve(scaled, scale * (b - A @ x)))
    return _shortest(A, b)


def _is_definite(A: Matrix) -> bool:
    try:
        factor = np.linalg.cholesky(A)
    except np.linalg.LinAlgError:
        return False
    return bool(np.diagonal(factor).min() ** 2 > len(A) * FLAT)


def _shortest(A: Matrix, b: Vector) -> Vector:
    values, vectors = np.linalg.eigh(A)
    known = values > FLAT * len(values) * max(values[-1], 0.0)
    along = vectors[:, known].T @ b
    return np.asarray(vectors[:, known] @ (along / values[known]))


def lasso(A: Matrix, b: Vector, l1: Vector, start: Vector) -> Vector:
    """The minimum with absolute values; entries that are zero there are zero exactly. Shape (n,).

    Coordinate descent on the residual b - A x finds out which entries are zero, and a linear system over the others
    then gives them to rounding. Source: Friedman, Hastie, Tibshirani, "Regularization paths for generalized linear
    models via coordinate descent", J. Stat. Softw. 33, 2010 ("covariance updates").
    """
    x, smallest = start.copy(), TOLERANCE * max(largest(b), float(l1.max(initial=0.0)), np.finfo(float).tiny)
    diagonal = np.diagonal(A).tolist()
    limits = l1.tolist()
    for sweep in range(MAX_SWEEPS):
        residual = b - A @ x  # anew: what rounding has added up is gone
        if largest(steepest(x, -residual, l1)) <= smallest:
            break
        if sweep % SWEEPS_BETWEEN_SOLVES == SWEEPS_BETWEEN_SOLVES - 1:
            better = _with_these_signs(A, b, l1, x)
            if better is not None:
                return better
        _sweep(A, diagonal, limits, x, residual)
    better = _with_these_signs(A, b, l1, x)
    return x if better is None else better


def _sweep(A: Matrix, diagonal: list[float], l1: list[float], x: Vector, residual: Vector) -> None:
    """Each coordinate to its minimum with the others held, in turn; changes x and residual."""
    for j, curvature in enumerate(diagonal):
        if curvature <= 0.0:  # a column of zeros
            continue
        old = float(x[j])
        wish = float(residual[j]) + curvature * old
        new = (wish - l1[j] if wish > l1[j] else wish + l1[j] if wish < -l1[j] else 0.0) / curvature
        if new != old:
            x[j] = new
            residual -= (new - old) * A[:, j]


def _with_these_signs(A: Matrix, b: Vector, l1: Vector, x: Vector) -> Vector | None:
    """The minimum among points with the signs of ``x``; None unless that is the minimum of all."""
    support = (x != 0) | (l1 == 0)
    signs = np.sign(x[support])
    found = np.zeros_like(x)
    found[support] = solve(A[np.ix_(support, support)], b[support] - l1[support] * signs)
    kept = (np.sign(found[support]) == signs) | (l1[support] == 0)
    residual = b - A @ found
    size = max(largest(b), float(l1.max(initial=0.0)))
    outside = largest(shrunk(residual[~support], l1[~support]))
    inside = largest(residual[support] - l1[support] * signs)
    return found if kept.all() and outside <= 1e-12 * size and inside <= 1e-9 * size else None

"""The Nystroem path of the kernel SVM: a linear machine on the features that landmarks make. Pure.

With landmarks L (m rows), K_mm = k(L, L) = V diag(e) V' and z(x) = diag(e)^-1/2 V' k(L, x), each pair of classes
minimises over v, b

    1/2 |v|^2 + sum_i c_i max(0, 1 - y_i (z(x_i).v + b))^2,        c_i = C times the row's weight.

The rows know nothing of z: f(x) = k(x, L) W + b with W = V diag(e)^-1/2 v, so workers return the gradient with
respect to W, and the coordinator turns it. It minimises over u, v = q u and b = q_b beta, with q_j the inverse root of
an estimate of the Hessian's diagonal, 1 + 2 (share of rows inside the margin) C n/m e_j. That makes the problem
nearly round, and every pair has an L-BFGS of its own, all of which are served by the same rounds: tens of them, where
one L-BFGS over all pairs without this needs hundreds.

Sources: Williams, Seeger, "Using the Nystroem method to speed up kernel machines", NIPS 2000; Rudi, Carratino,
Rosasco, "FALKON", NIPS 2017, for the preconditioner.
"""

from dataclasses import dataclass, replace
from math import ceil, inf
from sys import float_info

import numpy as np

from gradloom.algorithms.kernel_svm_rows import Space, refuse_not_finite
from gradloom.algorithms.kernel_svm_shards import answer, candidates_of, taken, with_weight
from gradloom.data.shard import Rows
from gradloom.kernels import Matrix
from gradloom.one_vs_one import Expansion, Floats, Indices, n_pairs, pairs_with, signs_of
from gradloom.optimizers import Lbfgs
from gradloom.optimizers.lbfgs import LbfgsState
from gradloom.rng import shuffled_rows
from gradloom.tensors import Tensors

SMALLEST_EIGENVALUE = {"float32": 1e-6, "float64": 1e-12}
"""Of K_mm, relative to the largest: what is smaller is rounding of rows of this dtype."""
NOISE = {"float32": 1e-6, "float64": 1e-13}
"""Relative error of the loss."""
GRADIENT_TOLERANCE = 1e-3
"""The optimum of an approximation is not worth more digits."""
ACTIVE_SHARE = 0.05
"""Guess at how many rows end inside the margin; it shapes the preconditioner alone."""
ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks:
    """The landmarks, and where the minimisation stands."""

    X: Matrix  # (m, d)
    positions: Indices  # (m,)
    turn: Floats  # (m, r), W = turn u
    penalty: Floats  # (r,), q^2
    intercept_scale: float
    """q_b."""
    searches: tuple[LbfgsState, ...]
    """One for each pair, over u and beta: (r + 1,)."""
    first_gradient_norms: Floats  # (P,)

    @property
    def loss(self) -> float:
        """Sum over the pairs, each at its last accepted point."""
        return sum(search.loss for search in self.searches)

    @property
    def gradient_norm(self) -> float:
        """The largest of the pairs', relative to what it was at first; inf before the first evaluation."""
        norms = np.array([search.gradient_norm for search in self.searches])
        if np.isinf(norms).any():
            return inf
        return float((norms / np.maximum(self.first_gradient_norms, float_info.min)).max())

    @property
    def finished(self) -> tuple[bool, ...]:
        """Which pairs have converged."""
        limits = (GRADIENT_TOLERANCE * self.first_gradient_norms).tolist()
        return tuple(
            search.stalled is not None or search.gradient_norm <= limit < inf
            for search, limit in zip(self.searches, limits, strict=True)
        )

    def machines(self, *, trial: bool) -> Expansion:
        """The best machines so far, or those to evaluate next."""
        points = np.stack([s.point if trial else s.solution for s in self.searches], axis=1)
        none = np.zeros(0, dtype=np.int64)
        return Expansion(self.X, self.turn @ points[:-1], none, self.intercept_scale * points[-1])


def landmark_rows(rows: Rows, shard: int, seed: int, share: float, n_classes: int) -> Tensors:
    """This shard's share of the landmarks: a seeded sample of its rows."""
    counted = with_weight(rows)
    order = shuffled_rows(seed, shard, 0, len(counted))
    chosen = taken(counted, np.sort(order[: ceil(share * len(counted))]))
    return answer(candidates_of(chosen, n_classes, 1.0), found=len(chosen))


def chosen(total: Tensors, most: int) -> tuple[Matrix, Indices]:
    """Rows and positions of at most so many landmarks, evenly from those that came."""
    m = len(total["positions"])
    kept = np.arange(m) if m <= most else np.arange(most) * m // most
    return np.ascontiguousarray(total["X"][kept]), total["positions"][kept]


def begin(space: Space, X: Matrix, positions: Indices, n_classes: int, row_cost: float) -> Landmarks:
    """Before the first evaluation; ``row_cost`` is the sum of c_i over all rows of a typical pair."""
    rows = space.rows(X).astype(np.float64)
    K = space.kernel.gram(rows)
    refuse_not_finite(K, "there is a kernel value")
    values, vectors = np.linalg.eigh(K)
    kept = values > max(values.max(initial=0.0), 0.0) * SMALLEST_EIGENVALUE[str(X.dtype)]
    e, V = values[kept], vectors[:, kept]
    penalty = 1.0 / (1.0 + 2.0 * ACTIVE_SHARE * row_cost / max(1, len(X)) * e)
    pairs = n_pairs(n_classes)
    return Landmarks(
        X=X,
        positions=positions,
        turn=np.ascontiguousarray(V * np.sqrt(penalty / e)),  # a checkpoint keeps this order
        penalty=penalty,
        intercept_scale=(1.0 + 2.0 * ACTIVE_SHARE * row_cost) ** -0.5,
        searches=(Lbfgs().init(np.zeros(len(e) + 1)),) * pairs,
        first_gradient_norms=np.full(pairs, inf),
    )


def gradient_sums(space: Space, machines: Expansion, rows: Rows, C: float, n_classes: int) -> Tensors:
    """loss (P,), gradient (m, P) with respect to W and intercept_gradient (P,), float64 sums over the rows.

    loss_p = sum_i c_i max(0, 1 - y_i f_p(x_i))^2 over the rows of the two classes of p.
    """
    landmarks = machines.with_rows(space.rows(machines.rows))
    counted = with_weight(rows)
    gradient = np.zeros_like(machines.coefficients)
    loss, slope = np.zeros_like(machines.intercept), np.zeros_like(machines.intercept)
    for class_ in range(n_classes):
        own = np.flatnonzero(counted.y == class_)
        pairs, signs = pairs_with(class_, n_classes), signs_of(class_, n_classes)
        for start in range(0, len(own), ROWS_AT_ONCE):
            part = taken(counted, own[start : start + ROWS_AT_ONCE])
            K = space.kernel.matrix(space.rows(part.X), landmarks.rows).astype(np.float64, copy=False)
            with np.errstate(over="ignore", invalid="ignore"):  # ``step`` refuses what comes of it
                f = K @ landmarks.coefficients[:, pairs] + landmarks.intercept[pairs]
            slack = np.maximum(0.0, 1.0 - signs * f)
            cost = C if part.weight is None else C * part.weight[:, np.newaxis]
            weighed = cost * slack
            loss[pairs] += np.einsum("ij,ij->j", weighed, slack)
            weighed *= -2.0 * signs
            with np.errstate(over="ignore", invalid="ignore"):
                gradient[:, pairs] += K.T @ weighed
            slope[pairs] += weighed.sum(axis=0)
    return {"loss": loss, "gradient": gradient, "intercept_gradient": slope}


def step(landmarks: Landmarks, total: Tensors) -> Landmarks:
    """One evaluation goes into the L-BFGS of every pair that has not converged."""
    refuse_not_finite(total["loss"], "there is a loss")
    optimizer = Lbfgs(noise=NOISE[str(landmarks.X.dtype)])
    turned = landmarks.turn.T @ total["gradient"]
    slopes = landmarks.intercept_scale * total["intercept_gradient"]
    searches, first = list(landmarks.searches), landmarks.first_gradient_norms.copy()
    for p, finished in enumerate(landmarks.finished):
        if finished:
            continue
        u = searches[p].point[:-1]
        pull = landmarks.penalty * u
        loss = float(total["loss"][p]) + 0.5 * float(u @ pull)
        searches[p] = optimizer.update(searches[p], loss, np.append(turned[:, p] + pull, slopes[p]))
        if np.isinf(first[p]):
            first[p] = searches[p].gradient_norm
    return replace(landmarks, searches=tuple(searches), first_gradient_norms=first)


def done(landmarks: Landmarks) -> str | None:
    """Why the minimisation is over; None while it is not."""
    if not all(landmarks.finished):
        return None
    return (
        f"converged on {len(landmarks.X)} landmarks: every gradient is at most {GRADIENT_TOLERANCE:g} of what it"
        " was at first, or rounding keeps it from falling"
    )

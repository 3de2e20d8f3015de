"""How the parameters of a linear model lie in the one flat vector that optimizers see, and how they are penalised."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradloom.algorithms.linear_settings import ClassifierSettings, LinearSettings
from gradloom.objectives import Point
from gradloom.optimizers import Blocks
from gradloom.optimizers.optimizer import Vector


@dataclass(frozen=True, slots=True)
class Layout:
    """[coefficients (d,) or (d, K) row by row, intercept () or (K,) if it is learnt, t if a scale exp(t) is]."""

    n_features: int
    n_outputs: int
    """0 = one output, without an axis for it."""
    fit_intercept: bool
    learns_scale: bool = False

    @property
    def outputs(self) -> tuple[int, ...]:
        """The shape of the intercept."""
        return (self.n_outputs,) if self.n_outputs else ()

    @property
    def n_coefficients(self) -> int:
        """Entries of the vector that are coefficients; they come first."""
        return self.n_features * max(1, self.n_outputs)

    @property
    def size(self) -> int:
        """Entries of the vector."""
        return self.n_coefficients + max(1, self.n_outputs) * self.fit_intercept + self.learns_scale

    def point(self, flat: Vector) -> Point:
        """The vector as coefficients, intercept (0 if it is not learnt) and t (0 if there is none)."""
        end = self.size - self.learns_scale
        intercept = (
            flat[self.n_coefficients : end] if self.fit_intercept else np.zeros(max(1, self.n_outputs))
        )
        return Point(
            flat[: self.n_coefficients].reshape(self.n_features, *self.outputs),
            intercept.reshape(self.outputs),
            float(flat[end]) if self.learns_scale else 0.0,
        )

    def flat(self, coefficients: Vector, intercept: Vector, scale: float = 0.0) -> Vector:
        """The vector again; what belongs to parameters that are not learnt is left out."""
        parts = [coefficients.ravel()]
        if self.fit_intercept:
            parts.append(np.ravel(intercept))
        if self.learns_scale:
            parts.append(np.array([scale]))
        return np.concatenate(parts)

    def block_size(self, *, interact: bool) -> int:
        """Side of the largest block of the Hessian."""
        one = self.n_features + self.fit_intercept + self.learns_scale
        return one * max(1, self.n_outputs) if interact else one

    @property
    def reach(self) -> Vector | None:
        """How much each entry may change in a step: exp(t) by a factor of e, the others by any amount."""
        if not self.learns_scale:
            return None
        reach = np.full(self.size, np.inf)
        reach[-1] = 1.0
        return reach

    def hessian(self, sums: Vector, *, interact: bool) -> Blocks:
        """The Hessian of ``objectives.rich_sums`` (B, D, D), without the parameters that are not learnt."""
        index = self._hessian_index(interact=interact)
        kept = index[0] >= 0
        return Blocks(sums[:, kept][:, :, kept], index[:, kept])

    def _hessian_index(self, *, interact: bool) -> NDArray[np.int64]:
        """Where each parameter of a block lies in the vector, -1 = nowhere; (B, D)."""
        n = max(1, self.n_outputs)
        index = np.full((n, self.n_features + 1 + self.learns_scale), -1, dtype=np.int64)
        index[:, : self.n_features] = np.arange(self.n_coefficients).reshape(self.n_features, n).T
        if self.fit_intercept:
            index[:, self.n_features] = self.n_coefficients + np.arange(n)
        if self.learns_scale:
            index[:, -1] = self.size - 1
        return index.reshape(1, -1) if interact else index


@dataclass(frozen=True, slots=True, eq=False)
class Penalty:
    """sum_j l1_j |x_j| + 1/2 sum_j l2_j x_j^2 over the flat vector."""

    l1: Vector
    l2: Vector

    @classmethod
    def of(cls, settings: LinearSettings, layout: Layout, train_weight: float) -> "Penalty":
        """What the settings say, per unit of weight; an intercept b = c v penalises v = b / c."""
        per = train_weight if settings.penalty_per == "sum" else 1.0
        part = np.zeros(layout.size)
        part[: layout.n_coefficients] = 1.0
        if isinstance(settings, ClassifierSettings) and settings.penalize_intercept:
            part[layout.n_coefficients :] = 1.0 / settings.intercept_scaling
        return cls(settings.l1 / per * part, settings.l2 / per * np.square(part))

    @property
    def l1_or_none(self) -> Vector | None:
        """``l1``, or None where it is all zero."""
        return self.l1 if self.l1.any() else None

    def smooth(self, x: Vector) -> float:
        """The squares."""
        return 0.5 * float(np.vdot(self.l2 * x, x))

    def absolute(self, x: Vector) -> float:
        """The absolute values."""
        return float(np.vdot(self.l1, np.abs(x)))

    def on_hessian(self, hessian: Blocks, layout: Layout, *, interact: bool) -> Blocks:
        """The Hessian with the squares.

        Adding one number to a softmax's coefficients of all classes changes no probability. Along these directions
        the Hessian gets a curvature of its own wherever the penalty gives them none; it does not move the minimum.
        """
        values = hessian.values.copy()
        diagonal = np.arange(values.shape[1])
        for block, index in zip(values, hessian.index, strict=True):
            block[diagonal, diagonal] += self.l2[index]
        if interact:
            self._hold_shifts(values[0], hessian.index[0], layout)
        return Blocks(values, hessian.index)

    def _hold_shifts(self, block: Vector, index: NDArray[np.int64], layout: Layout) -> None:
        by_class = np.arange(len(index)).reshape(layout.n_outputs, -1)
        for positions in by_class.T:
            if not (self.l1[index[positions[0]]] or self.l2[index[positions[0]]]):
                block[np.ix_(positions, positions)] += float(np.diagonal(block)[positions].mean())

"""The one shape of every optimizer: a frozen value with ``init`` and ``update`` over one flat vector.

::

    state = optimizer.init(parameters)
    while ...:
        loss, gradient = evaluate(state.point)
        state = optimizer.update(state, loss, gradient)
    answer = state.solution

Each update consumes exactly one evaluation and says where the next one is to be. What was chosen (a learning rate)
lives in the optimizer, what was learnt in the state: so an optimizer with another learning rate can take over a
state at any round. No optimizer evaluates anything itself, draws random numbers or changes an array of a state.
"""

from dataclasses import dataclass
from math import inf
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from gradloom.saved import Saved

Vector = NDArray[np.float64]
S = TypeVar("S")


class OptimizerState(Protocol):
    """What every state shows. Arrays are (n,) float64 and are never written to."""

    @property
    def point(self) -> Vector:
        """Where to evaluate next."""
        ...

    @property
    def solution(self) -> Vector:
        """Best answer so far."""
        ...

    @property
    def loss(self) -> float:
        """Loss at the last accepted point; inf before the first."""
        ...

    @property
    def gradient_norm(self) -> float:
        """Largest absolute entry of the gradient at the last accepted point; inf before the first."""
        ...

    @property
    def learning_rate(self) -> float | None:
        """The one that the last update used; None where steps have no fixed length."""
        ...

    @property
    def stalled(self) -> str | None:
        """Why no further progress is possible, in words; None while it is."""
        ...


class Optimizer(Protocol[S]):
    """One optimizer with its settings; ``S`` is its state."""

    def init(self, parameters: Vector) -> S:
        """The state before the first evaluation, at ``parameters``."""
        ...

    def update(self, state: S, loss: float, gradient: Vector) -> S:
        """The state after ``loss`` and ``gradient`` were evaluated at ``state.point``; both finite."""
        ...

    def save(self, state: S) -> Saved:
        """The state taken apart for a checkpoint."""
        ...

    def restore(self, saved: Saved) -> S:
        """The state that was saved, to the same bits. Raises ValueError if it is none of this optimizer's."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Wish:
    """What the next evaluation should hold beside the loss and the gradient at ``point``."""

    hessian: bool = False
    direction: Vector | None = None
    offsets: tuple[float, ...] = ()
    """Trial steps: losses and slopes at ``point + offset * direction``, all in the same round."""


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """A Hessian in independent blocks: entry (i, j) of block b belongs to the parameters index[b, i], index[b, j]."""

    values: NDArray[np.float64]  # (B, D, D), symmetric
    index: NDArray[np.int64]  # (B, D): each parameter once


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """What was evaluated beside the loss and the gradient."""

    hessian: Blocks | None = None
    losses: tuple[float, ...] = ()
    """At the trial steps of the wish, in their order; () if they were not tried."""
    slopes: tuple[float, ...] = ()
    """Derivatives of the loss along the direction, there."""


NOTHING = Findings()


class Searcher(Optimizer[S], Protocol[S]):
    """An optimizer that can make use of more than a loss and a gradient. It goes on without, but in more rounds."""

    def wish(self, state: S) -> Wish:
        """What would help the next update."""
        ...

    def update(self, state: S, loss: float, gradient: Vector, findings: Findings = NOTHING) -> S:
        """As in ``Optimizer``; ``findings`` answer the wish of this very state."""
        ...


AnyOptimizer = Optimizer[Any]
AnySearcher = Searcher[Any]


def largest(gradient: Vector) -> float:
    """The infinity norm of a gradient; 0 if it is empty."""
    return float(np.abs(gradient).max(initial=0.0))


def shrunk(point: Vector, threshold: Vector | None) -> Vector:
    """sign(x) max(0, |x| - threshold), entry by entry: the proximal step of sum_j threshold_j |x_j|."""
    if threshold is None:
        return point
    return np.asarray(np.sign(point) * np.maximum(np.abs(point) - threshold, 0.0) + 0.0)  # no -0.0


def steepest(point: Vector, gradient: Vector, l1: Vector | None) -> Vector:
    """The subgradient of smallest norm of a loss plus sum_j l1_j |x_j|: zero exactly at an optimum.

    ``gradient`` is that of the loss alone. Source: Andrew, Gao, "Scalable training of L1-regularized log-linear
    models", ICML 2007.
    """
    if l1 is None:
        return gradient
    return np.where(point != 0, gradient + np.sign(point) * l1, shrunk(gradient, l1))


def longest_step(direction: Vector, reach: Vector | None) -> float:
    """How far one may go along a direction if no entry is to change by more than its ``reach``; inf without any."""
    if reach is None:
        return inf
    moving = direction != 0
    return float((reach[moving] / np.abs(direction[moving])).min(initial=inf))

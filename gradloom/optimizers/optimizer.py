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


AnyOptimizer = Optimizer[Any]


def largest(gradient: Vector) -> float:
    """The infinity norm of a gradient; 0 if it is empty."""
    return float(np.abs(gradient).max(initial=0.0))

"""The points that a search has accepted: the last one, from which it goes on, and the best one, which is its answer."""

from dataclasses import dataclass, replace
from math import inf
from typing import TypeVar

from gradloom.optimizers.optimizer import Vector

NO_DECREASE = "the loss can't be lowered any further in floating point"


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Loss and gradient at a point; with a penalty the loss includes it, and the norm is that of the subgradient."""

    point: Vector
    loss: float
    gradient: Vector
    gradient_norm: float


@dataclass(frozen=True, slots=True, eq=False)
class Accepted:
    """What the state of every search has."""

    point: Vector
    """Where to evaluate next."""
    current: Evaluation | None = None
    """The last accepted point."""
    best: Evaluation | None = None
    """Of the accepted points, the one with the lowest loss; among equals, with the smallest gradient."""
    flat_steps: int = 0
    """Accepted steps in a row that have lowered neither the loss nor the gradient."""
    stalled: str | None = None

    @property
    def solution(self) -> Vector:
        """The best accepted point, or the start before there is one."""
        return self.point if self.best is None else self.best.point

    @property
    def loss(self) -> float:
        """At the last accepted point."""
        return inf if self.current is None else self.current.loss

    @property
    def gradient_norm(self) -> float:
        """Largest absolute entry of the gradient, or the subgradient, at the last accepted point."""
        return inf if self.current is None else self.current.gradient_norm


S = TypeVar("S", bound=Accepted)


def accepted(state: S, here: Evaluation, noise: float) -> S:
    """The state after one more accepted point; ``noise`` is the relative error of a loss."""
    best = here if state.best is None else state.best
    error = noise * abs(best.loss)
    lower = here.loss < best.loss - error
    improved = lower or (here.loss <= best.loss + error and here.gradient_norm < best.gradient_norm)
    return replace(
        state,
        current=here,
        best=here if improved else best,
        flat_steps=0 if improved else state.flat_steps + 1,
    )

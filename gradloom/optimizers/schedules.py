"""Learning rates that change while training goes on: a pure function of the updates done.

With u updates done, a warm-up of w updates, a length of n updates, and p = min(1, max(0, u - w) / max(1, n - w)):

    u < w               learning_rate (u + 1) / (w + 1)                       linear warm-up
    constant            learning_rate
    cosine              final + (learning_rate - final) (1 + cos(pi p)) / 2   from learning_rate at w to final at n
    inverse_scaling     learning_rate / (1 + u - w)^power
    step                learning_rate factor^floor((u - w) / every)

Nothing is remembered between updates: a job that is restored, or whose settings are changed, goes on at the rate that
its number of updates says. Sources: cosine: Loshchilov, Hutter, "SGDR: Stochastic gradient descent with warm restarts",
ICLR 2017; warm-up: Goyal et al., "Accurate, large minibatch SGD", 2017.
"""

from dataclasses import dataclass, replace
from math import cos, pi
from typing import Literal

from gradloom.errors import InvalidInput
from gradloom.optimizers.first_order import Adam, FirstOrderState, GradientDescent, Momentum
from gradloom.optimizers.first_order_decoupled import AdamW
from gradloom.optimizers.optimizer import Vector
from gradloom.saved import Saved

ScheduleName = Literal["constant", "cosine", "inverse_scaling", "step"]
Stepper = GradientDescent | Momentum | Adam | AdamW
"""The optimizers whose steps are as long as their learning rate says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The learning rate of each update; see the formulas above.

    Raises InvalidInput where the numbers make no sense together.
    """

    learning_rate: float
    """Of the first update after the warm-up, above 0."""
    name: ScheduleName = "constant"
    warmup: int = 0
    """Updates with a rate that grows linearly, at least 0."""
    length: int = 0
    """Updates of the whole run, warm-up included; ``cosine`` needs it, and stays at ``final`` after it."""
    final: float = 0.0
    """Where ``cosine`` ends, at least 0."""
    power: float = 0.5
    """Of ``inverse_scaling``, at least 0."""
    factor: float = 0.1
    """Of ``step``, in (0, 1]."""
    every: int = 0
    """Updates between two steps of ``step``, at least 1."""

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise InvalidInput("learning_rate", f"{self.learning_rate} is not allowed; it must be above 0")
        if self.name == "cosine" and self.length < 1:
            raise InvalidInput("schedule", "cosine needs to know how many updates there will be")
        if self.name == "step" and self.every < 1:
            raise InvalidInput("schedule", "step needs to know after how many updates the rate falls")

    def rate(self, update: int) -> float:
        """The learning rate of the update that comes after ``update`` others."""
        if update < self.warmup:
            return self.learning_rate * (update + 1) / (self.warmup + 1)
        after = update - self.warmup
        match self.name:
            case "constant":
                return self.learning_rate
            case "cosine":
                part = min(1.0, after / max(1, self.length - self.warmup))
                return self.final + (self.learning_rate - self.final) * (1.0 + cos(pi * part)) / 2.0
            case "inverse_scaling":
                return self.learning_rate * float((1.0 + after) ** -self.power)
            case "step":
                return self.learning_rate * float(self.factor ** (after // self.every))


@dataclass(frozen=True, slots=True)
class Scheduled:
    """An optimizer whose learning rate follows a schedule: an optimizer like any other."""

    optimizer: Stepper
    """Its own learning rate is not used."""
    schedule: Schedule

    def init(self, parameters: Vector) -> FirstOrderState:
        """Before the first evaluation."""
        return self.optimizer.init(parameters)

    def update(self, state: FirstOrderState, loss: float, gradient: Vector) -> FirstOrderState:
        """One step at the rate of ``state.updates``."""
        rate = self.schedule.rate(state.updates)
        return replace(self.optimizer, learning_rate=rate).update(state, loss, gradient)

    def shortened(self, factor: float) -> "Scheduled":
        """The same with all steps so many times as long: for gradients that are partly stale."""
        if factor == 1.0:
            return self
        schedule = self.schedule
        return replace(
            self,
            schedule=replace(
                schedule, learning_rate=schedule.learning_rate * factor, final=schedule.final * factor
            ),
        )

    def save(self, state: FirstOrderState) -> Saved:
        """The state taken apart for a checkpoint."""
        return self.optimizer.save(state)

    def restore(self, saved: Saved) -> FirstOrderState:
        """The state that was saved. Raises ValueError if it is none of this optimizer's."""
        return self.optimizer.restore(saved)

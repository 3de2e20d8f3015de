"""Steps along the gradient: plain, with momentum, and Adam. They take any learning rate, and never stall.

Each takes an optional ``l1`` (n,): sum_j l1_j |x_j| is then minimised with the loss, by a proximal step that shrinks x
after each step along the gradient of the loss alone. How much it shrinks is chosen so that the method stands still
exactly where the optimum is. Source: Parikh, Boyd, "Proximal algorithms", 2014, section 4.2.
"""

from dataclasses import dataclass
from functools import partial
from math import inf

import numpy as np

from gradloom.optimizers.optimizer import Vector, largest, shrunk, steepest
from gradloom.saved import restore_value, save_value


@dataclass(frozen=True, slots=True, eq=False)
class FirstOrderState:
    """Where a first-order method stands. The solution is the point itself."""

    point: Vector
    updates: int = 0
    loss: float = inf
    gradient_norm: float = inf
    learning_rate: float | None = None
    stalled: None = None
    first_moment: Vector | None = None
    """Velocity (momentum) or running mean of the gradient (Adam)."""
    second_moment: Vector | None = None
    """Running mean of the squared gradient (Adam)."""

    @property
    def solution(self) -> Vector:
        """The latest point: under noise, an earlier point with a smaller loss is no better."""
        return self.point


_restore = partial(restore_value, FirstOrderState)


@dataclass(frozen=True, slots=True)
class GradientDescent:
    """x <- x - learning_rate g, then shrunk by learning_rate l1."""

    learning_rate: float
    l1: Vector | None = None

    def init(self, parameters: Vector) -> FirstOrderState:
        """Before the first evaluation."""
        return FirstOrderState(parameters)

    def update(self, state: FirstOrderState, loss: float, gradient: Vector) -> FirstOrderState:
        """One step."""
        threshold = None if self.l1 is None else self.learning_rate * self.l1
        point = shrunk(state.point - self.learning_rate * gradient, threshold)
        norm = largest(steepest(state.point, gradient, self.l1))
        return FirstOrderState(point, state.updates + 1, loss, norm, self.learning_rate)

    save = staticmethod(save_value)
    restore = staticmethod(_restore)


@dataclass(frozen=True, slots=True)
class Momentum:
    """v <- momentum v + g;  x <- x - learning_rate v, or x - learning_rate (g + momentum v) with ``nesterov``.

    x is then shrunk by learning_rate l1 / (1 - momentum): at rest v = g / (1 - momentum).
    Source: Sutskever, Martens, Dahl, Hinton, "On the importance of initialization and momentum in deep learning",
    ICML 2013.
    """

    learning_rate: float
    momentum: float = 0.9
    nesterov: bool = False
    l1: Vector | None = None

    def init(self, parameters: Vector) -> FirstOrderState:
        """Before the first evaluation, at rest."""
        return FirstOrderState(parameters, first_moment=np.zeros_like(parameters))

    def update(self, state: FirstOrderState, loss: float, gradient: Vector) -> FirstOrderState:
        """One step."""
        velocity = self.momentum * _moment(state.first_moment, gradient) + gradient
        step = gradient + self.momentum * velocity if self.nesterov else velocity
        threshold = None if self.l1 is None else self.learning_rate / (1.0 - self.momentum) * self.l1
        point = shrunk(state.point - self.learning_rate * step, threshold)
        norm = largest(steepest(state.point, gradient, self.l1))
        return FirstOrderState(
            point, state.updates + 1, loss, norm, self.learning_rate, first_moment=velocity
        )

    save = staticmethod(save_value)
    restore = staticmethod(_restore)


@dataclass(frozen=True, slots=True)
class Adam:
    """m <- b1 m + (1-b1) g;  v <- b2 v + (1-b2) g^2;  x <- x - learning_rate m^ / (sqrt(v^) + epsilon).

    m^ = m / (1 - b1^t) and v^ = v / (1 - b2^t) undo the start from zero. x is then shrunk by
    learning_rate l1 / (sqrt(v^) + epsilon), entry by entry. Source: Kingma, Ba, "Adam: a method for
    stochastic optimization", ICLR 2015.
    """

    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    l1: Vector | None = None

    def init(self, parameters: Vector) -> FirstOrderState:
        """Before the first evaluation, both moments zero."""
        zeros = np.zeros_like(parameters)
        return FirstOrderState(parameters, first_moment=zeros, second_moment=zeros)

    def update(self, state: FirstOrderState, loss: float, gradient: Vector) -> FirstOrderState:
        """One step."""
        t = state.updates + 1
        m = self.beta1 * _moment(state.first_moment, gradient) + (1 - self.beta1) * gradient
        v = self.beta2 * _moment(state.second_moment, gradient) + (1 - self.beta2) * gradient**2
        corrected = np.sqrt(v / (1 - self.beta2**t)) + self.epsilon
        threshold = None if self.l1 is None else self.learning_rate * self.l1 / corrected
        point = shrunk(state.point - self.learning_rate * (m / (1 - self.beta1**t)) / corrected, threshold)
        norm = largest(steepest(state.point, gradient, self.l1))
        return FirstOrderState(point, t, loss, norm, self.learning_rate, first_moment=m, second_moment=v)

    save = staticmethod(save_value)
    restore = staticmethod(_restore)


def _moment(held: Vector | None, gradient: Vector) -> Vector:
    """A state that another method left behind has no such moment yet: start it from zero."""
    return np.zeros_like(gradient) if held is None else held

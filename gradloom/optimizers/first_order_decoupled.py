"""Adam with a weight decay that is no part of the gradient."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from gradloom.optimizers.first_order import Adam, FirstOrderState
from gradloom.optimizers.optimizer import Vector
from gradloom.saved import restore_value, save_value


@dataclass(frozen=True, slots=True)
class AdamW:
    """x <- x - learning_rate (m^ / (sqrt(v^) + epsilon) + weight_decay x),  m^ and v^ as in ``Adam``.

    A penalty in the gradient is divided by sqrt(v^) like the rest of it, so that weights with large gradients are
    hardly decayed; here all shrink alike. Source: Loshchilov, Hutter, "Decoupled weight decay regularization", ICLR
    2019.
    """

    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 1e-4

    def init(self, parameters: Vector) -> FirstOrderState:
        """Before the first evaluation, both moments zero."""
        return self._adam.init(parameters)

    def update(self, state: FirstOrderState, loss: float, gradient: Vector) -> FirstOrderState:
        """One step."""
        stepped = self._adam.update(state, loss, gradient)
        decayed = np.multiply(state.point, self.learning_rate * self.weight_decay)
        np.subtract(stepped.point, decayed, out=decayed)
        return FirstOrderState(
            decayed,
            stepped.updates,
            loss,
            stepped.gradient_norm,
            self.learning_rate,
            first_moment=stepped.first_moment,
            second_moment=stepped.second_moment,
        )

    save = staticmethod(save_value)
    restore = staticmethod(partial(restore_value, FirstOrderState))

    @property
    def _adam(self) -> Adam:
        return Adam(self.learning_rate, self.beta1, self.beta2, self.epsilon)

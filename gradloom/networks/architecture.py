"""All that a pass needs to know of a network besides its parameters."""

from dataclasses import dataclass

from gradloom.networks.activations import ActivationName
from gradloom.networks.layout import Layout
from gradloom.networks.losses import LossName


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network: a_0 = x;  a_l = f(a_(l-1) W_l + b_l) in hidden layers;  z = a_L W_(L+1) + b_(L+1)."""

    layout: Layout
    activation: ActivationName
    loss: LossName
    dropout: float = 0.0
    """Share of hidden units that are left out of each row of a training pass, in [0, 1)."""

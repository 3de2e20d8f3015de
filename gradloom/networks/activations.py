"""What a hidden layer makes of its sums: f(z) in place, and f'(z) where a gradient is wanted. Elementwise."""

from collections.abc import Callable
from dataclasses import dataclass
from math import pi
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
ActivationName = Literal["relu", "tanh", "gelu", "logistic", "identity"]

TAIL_SCALE = 0.2
TAIL = (
    -9.718226223753845e-12, 0.07978846045346383, 0.07978812955742867, 0.07660653728845604, 0.07006555193321726,
    0.06239657606090969, 0.04149922824582586, 0.07168427344692359, -0.07263745138780023, 0.21550102369389326,
    -0.2803606921833612, 0.28279457234311856, -0.17707826072971028, 0.057435864458481485, -0.007483813166618347,
)  # fmt: skip
"""Coefficients of t^0, t^1, ... in the tail of the normal distribution, interpolated at Chebyshev points in t:

    1 - Phi(x) = exp(-x^2 / 2) sum_i TAIL_i t^i,   t = 1 / (1 + TAIL_SCALE x),   x >= 0,   off by at most 5e-12
"""


@dataclass(frozen=True, slots=True)
class Activation:
    """An activation and the variance gain that suits it; see ``Layout.initial``."""

    apply: Callable[[Floats, Floats | None], None]
    """(z, slope): replaces z by f(z), and fills ``slope``, if there is one, with f'(z). Same shape and dtype."""
    gain: float


def relu(z: Floats, slope: Floats | None) -> None:
    """max(0, z); its slope at 0 is 0."""
    np.maximum(z, 0, out=z)
    if slope is not None:
        np.greater(z, 0, out=slope)


def tanh(z: Floats, slope: Floats | None) -> None:
    """tanh(z), slope 1 - tanh(z)^2."""
    np.tanh(z, out=z)
    if slope is not None:
        np.multiply(z, z, out=slope)
        np.subtract(1, slope, out=slope)


def logistic(z: Floats, slope: Floats | None) -> None:
    """s = 1 / (1 + exp(-z)) = (1 + tanh(z/2)) / 2, which never overflows; slope s (1 - s)."""
    np.multiply(z, 0.5, out=z)
    np.tanh(z, out=z)
    np.multiply(z, 0.5, out=z)
    np.add(z, 0.5, out=z)
    if slope is not None:
        np.subtract(1, z, out=slope)
        np.multiply(z, slope, out=slope)


def gelu(z: Floats, slope: Floats | None) -> None:
    """z Phi(z) with the distribution function of the normal distribution; slope Phi(z) + z phi(z).

    Source: Hendrycks, Gimpel, "Gaussian error linear units", 2016; the exact form, not the one with tanh.
    """
    t = np.abs(z)
    np.multiply(t, TAIL_SCALE, out=t)
    np.add(t, 1, out=t)
    np.divide(1, t, out=t)
    below = np.full_like(z, TAIL[-1])
    for coefficient in TAIL[-2::-1]:
        np.multiply(below, t, out=below)
        np.add(below, coefficient, out=below)
    bell = np.multiply(z, z, out=t)
    np.multiply(bell, -0.5, out=bell)
    np.exp(bell, out=bell)
    np.multiply(below, bell, out=below)
    np.subtract(1, below, out=below, where=z > 0)  # Phi(z) now, on both sides of 0
    if slope is not None:
        np.multiply(bell, (2 * pi) ** -0.5, out=bell)
        np.multiply(bell, z, out=bell)
        np.add(below, bell, out=slope)
    np.multiply(z, below, out=z)


def identity(z: Floats, slope: Floats | None) -> None:  # noqa: ARG001 - z stays what it is
    """z, slope 1."""
    if slope is not None:
        slope[...] = 1


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(relu, 2.0),
    "gelu": Activation(gelu, 2.0),
    "tanh": Activation(tanh, 1.0),
    "logistic": Activation(logistic, 1.0),
    "identity": Activation(identity, 1.0),
}

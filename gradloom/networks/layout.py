"""Where the weights and biases of each layer lie in the one vector that holds them all."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradloom.rng import normals


class Layer(NamedTuple):
    """Views into the vector: z = a W + b."""

    weights: NDArray[Any]  # (fan_in, fan_out), C-contiguous
    bias: NDArray[Any]  # (fan_out,)


@dataclass(frozen=True, slots=True)
class Layout:
    """A fully connected network: its sizes say all. Layer by layer, first its weights row by row, then its bias."""

    sizes: tuple[int, ...]
    """Columns of X, units of each hidden layer, outputs; at least two."""

    @property
    def n_parameters(self) -> int:
        """Length of the vector."""
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in self._fans())

    def split(self, vector: NDArray[Any]) -> tuple[Layer, ...]:
        """The layers as views into ``vector`` (n_parameters,)."""
        layers, at = [], 0
        for fan_in, fan_out in self._fans():
            middle, end = at + fan_in * fan_out, at + (fan_in + 1) * fan_out
            layers.append(Layer(vector[at:middle].reshape(fan_in, fan_out), vector[middle:end]))
            at = end
        return tuple(layers)

    def initial(self, seed: int, gain: float) -> NDArray[np.float64]:
        """Random weights N(0, gain / fan_in), in the last layer N(0, 1 / fan_in), and biases of 0.

        A gain of 2 keeps the variance of what goes through ReLU. Source: He, Zhang, Ren, Sun, "Delving deep into
        rectifiers", ICCV 2015.
        """
        vector = np.zeros(self.n_parameters)
        layers = self.split(vector)
        for i, layer in enumerate(layers):
            fan_in = layer.weights.shape[0]
            variance = (1.0 if i == len(layers) - 1 else gain) / fan_in
            drawn = normals(seed, i, layer.weights.size).reshape(layer.weights.shape)
            np.multiply(drawn, variance**0.5, out=layer.weights)
        return vector

    def _fans(self) -> Iterator[tuple[int, int]]:
        return zip(self.sizes[:-1], self.sizes[1:], strict=True)

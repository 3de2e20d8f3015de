"""Forward and backward passes over blocks of rows, with arrays that are made once.

For a block, with f the activation and L hidden layers:

    z_l = a_(l-1) W_l + b_l,   a_l = f(z_l) m_l,   m_l = dropout mask / (1 - dropout), 1 outside of training
    delta_out = s dloss/dz_out,   delta_l = (delta_(l+1) W_(l+1)^T) f'(z_l) m_l
    dW_l = a_(l-1)^T delta_l,   db_l = sum over rows of delta_l

Products run in the dtype of X; losses, and the sums over blocks, are float64. The blocks depend on nothing but the
rows, so that the bits are the same wherever they are computed. Sources: Rumelhart, Hinton, Williams, "Learning
representations by back-propagating errors", Nature 1986; Srivastava et al., "Dropout", JMLR 2014.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradloom.data.preparation import aligned_empty
from gradloom.data.shard import Rows
from gradloom.networks.activations import ACTIVATIONS, Floats
from gradloom.networks.architecture import Architecture
from gradloom.networks.losses import LOSSES
from gradloom.rng import row_bits

BLOCK_ROWS = 512
"""The activations of a block stay in the L2 cache; a larger one multiplies no faster."""


class NetworkSums(NamedTuple):
    """Sums over rows, in float64."""

    loss: float
    weight: float
    gradient: NDArray[np.float64]  # (n_parameters,): sum of weight * dloss/dparameter


@dataclass(frozen=True, slots=True)
class DropoutKey:
    """What the dropout masks of a pass depend on besides each row's position."""

    seed: int
    epoch: int


class Passes:
    """Passes of one network over blocks of rows of one dtype. Not thread-safe: it owns its arrays."""

    def __init__(self, architecture: Architecture, dtype: np.dtype[Any], n_rows: int) -> None:
        """``n_rows``: how many rows the calls will have at most; more memory than a block needs is never taken."""
        self._architecture = architecture
        self._activate = ACTIVATIONS[architecture.activation].apply
        self._loss = LOSSES[architecture.loss]
        layout, rows = architecture.layout, min(n_rows, BLOCK_ROWS)
        self._parameters = aligned_empty((layout.n_parameters,), dtype)
        self._layers = layout.split(self._parameters)
        self._outputs = [aligned_empty((rows, size), dtype) for size in layout.sizes[1:]]
        self._slopes: list[Floats] = []
        self._gradient = aligned_empty((0,), dtype)

    def sums(self, rows: Rows, parameters: NDArray[Any], dropout: DropoutKey | None = None) -> NetworkSums:
        """Loss and gradient at ``parameters`` (n_parameters,), which are cast to the dtype of the rows.

        ``dropout`` None = no unit is left out.
        """
        np.copyto(self._parameters, parameters, casting="same_kind")
        self._make_room_for_gradients()
        loss, gradient = 0.0, None
        with np.errstate(over="ignore", invalid="ignore"):  # what diverges is told by its sums
            for block in _blocks(rows):
                z = self._forward(block, dropout, training=True)
                loss += self._loss(z, block.y, block.weight, True)
                self._backward(block.X)
                if gradient is None:  # most batches are one block: cast, rather than add to zeros
                    gradient = self._gradient.astype(np.float64)
                else:
                    gradient += self._gradient
        if gradient is None:
            gradient = np.zeros(self._architecture.layout.n_parameters)
        return NetworkSums(loss, _total_weight(rows), gradient)

    def loss(self, rows: Rows, parameters: NDArray[Any]) -> tuple[float, float]:
        """Loss and weight, as sums over rows."""
        np.copyto(self._parameters, parameters, casting="same_kind")
        total = 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            for block in _blocks(rows):
                total += self._loss(self._forward(block, None, training=False), block.y, block.weight, False)
        return total, _total_weight(rows)

    def outputs(self, X: Floats, parameters: NDArray[Any]) -> Floats:
        """The last layer's sums z of each row, shape (n, outputs), in the dtype of X."""
        np.copyto(self._parameters, parameters, casting="same_kind")
        z = np.empty((len(X), self._architecture.layout.sizes[-1]), X.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(X), BLOCK_ROWS):
                part = slice(start, start + BLOCK_ROWS)
                block = Rows(X[part], np.empty(0), None, np.empty(0, np.int64))
                z[part] = self._forward(block, None, training=False)
        return z

    # --- parts ---------------------------------------------------------------------------------------------------

    def _make_room_for_gradients(self) -> None:
        if self._gradient.size:
            return
        layout, dtype = self._architecture.layout, self._parameters.dtype
        self._gradient = aligned_empty((layout.n_parameters,), dtype)
        self._slopes = [aligned_empty(output.shape, dtype) for output in self._outputs[:-1]]

    def _forward(self, block: Rows, dropout: DropoutKey | None, *, training: bool) -> Floats:
        """The outputs of a block; in training the hidden layers' slopes f'(z) m are kept as well."""
        a, m = block.X, len(block)
        for i, (layer, output) in enumerate(zip(self._layers, self._outputs, strict=True)):
            z = output[:m]
            np.matmul(a, layer.weights, out=z)
            np.add(z, layer.bias, out=z)
            if i < len(self._layers) - 1:
                slope = self._slopes[i][:m] if training else None
                self._activate(z, slope)
                if slope is not None and dropout is not None and self._architecture.dropout:
                    self._drop(z, slope, dropout, i, block.positions)
            a = z
        return a

    def _drop(
        self, a: Floats, slope: Floats, key: DropoutKey, layer: int, positions: NDArray[np.int64]
    ) -> None:
        """Leave units out, and scale up the others so that their sum stays what it was on average."""
        threshold = max(1, round(self._architecture.dropout * 2**16))
        bits = row_bits(key.seed, layer, key.epoch, positions, a.shape[1])
        mask = np.greater_equal(bits, threshold).astype(a.dtype)
        np.multiply(mask, 2**16 / (2**16 - threshold), out=mask)
        np.multiply(a, mask, out=a)
        np.multiply(slope, mask, out=slope)

    def _backward(self, X: Floats) -> None:
        """The gradient of the block whose derivative the loss has left in the last outputs."""
        m = len(X)
        delta = self._outputs[-1][:m]
        gradients = self._architecture.layout.split(self._gradient)
        for i in range(len(self._layers) - 1, -1, -1):
            below = self._outputs[i - 1][:m] if i else X
            np.matmul(below.T, delta, out=gradients[i].weights)
            np.add.reduce(delta, axis=0, out=gradients[i].bias)
            if i:  # what the layer below put out is no longer needed: its delta takes the place
                np.matmul(delta, self._layers[i].weights.T, out=below)
                np.multiply(below, self._slopes[i - 1][:m], out=below)
                delta = below


def _blocks(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        weight = None if rows.weight is None else rows.weight[part]
        yield Rows(rows.X[part], rows.y[part], weight, rows.positions[part])


def _total_weight(rows: Rows) -> float:
    return float(len(rows)) if rows.weight is None else float(rows.weight.sum())

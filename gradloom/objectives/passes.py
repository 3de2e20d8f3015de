"""One pass over the rows of a shard, in blocks that stay in the L2 cache: X comes from memory once.

Both products of a gradient, z = X w and g = X^T r, run on a block before the next one is touched, and all
vector work between them is on one block as well. Products run in X's dtype; block results add up in float64.

The size of a block and the way it is multiplied depend on the columns and the dtype alone, never on the machine
or on what was measured on it: they fix the order of additions, and so the bits of every model.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gradloom.data.preparation import aligned_empty

Floats = NDArray[np.floating[Any]]

BLOCK_BYTES = 640 * 1024
"""Five eighths of a 1 MiB L2 cache: the rest is for the vectors of the block. Smaller blocks pay more for calls."""
ROW_MULTIPLE = 8
MAX_ROWS = 8192
"""With few columns it is the vectors, of 8 bytes a row each, that would outgrow the cache."""
SEQUENTIAL_ROW_BYTES = 320
"""From here on a dot product per row, which reads X in one stream, beats BLAS gemv, which reads several rows at
once; on shorter rows the cost per call is more than it saves."""


class Sums(NamedTuple):
    """What one pass gives: sums over rows, in float64."""

    loss: float
    coefficients: NDArray[np.float64]  # (d,) or (d, K): sum of weight * dloss/dw
    intercept: NDArray[np.float64]  # () or (K,): sum of weight * dloss/db
    weight: float
    scale: float = 0.0
    """Sum of weight * dloss/dt, t = log of the scale; 0 for a loss that has none to learn."""


class BlockLoss(Protocol):
    """The loss of one block of m rows, with scratch arrays made once for all blocks of that size."""

    def loss(self, z: Floats, y: NDArray[Any], weight: NDArray[np.float64] | None) -> float:
        """Sum of weight * loss. ``z`` is X w without the intercept, (m,) or (K, m), and may be overwritten."""
        ...

    def residual(self) -> Floats:
        """weight * dloss/dz of the block that ``loss`` saw last; shape and dtype of its ``z``."""
        ...

    def curvature(self) -> Floats:
        """weight * d2loss/dz2 of that block, at least 0; asked for before ``residual``, which overwrites ``z``.

        Shape and dtype of ``z``. Of a softmax: weight * probability of each class, from which all second
        derivatives follow.
        """
        ...


@runtime_checkable
class ScaledBlockLoss(BlockLoss, Protocol):
    """The loss of a block that also depends on a scale = exp(t) of the residuals."""

    def scale_gradient(self) -> float:
        """Sum of weight * dloss/dt of the block that ``loss`` saw last; asked for before ``residual``."""
        ...

    def scale_column(self) -> Floats:
        """dz/dt where z moves with the scale in a second derivative, (m,); see ``second_order``."""
        ...


Blocks = Callable[[int, np.dtype[Any], NDArray[np.float64]], BlockLoss]
"""Makes the loss of a block from (rows, dtype of X, intercept)."""


@dataclass(frozen=True, slots=True)
class Objective:
    """A loss over rows, sum_i weight_i * loss(y_i, x_i w + b)."""

    name: str
    block: Blocks
    curvature: float | None
    """Upper bound of the second derivative of the loss in z: 1/L of a step that can't diverge; None = there is none."""
    smooth: bool = True
    """Whether it has a gradient everywhere: what a line search and a Hessian stand on."""
    outputs_interact: bool = False
    """Whether the loss of a row mixes its outputs, as a softmax does, or is a sum over them."""
    scaled: Callable[[float], Blocks] | None = None
    """The blocks for t = log of the scale, where there is one to learn."""

    def at(self, log_scale: float) -> "Objective":
        """The same loss with its scale set to exp(log_scale); itself if it has none."""
        return self if self.scaled is None else replace(self, block=self.scaled(log_scale))

    def sums(
        self,
        X: Floats,
        y: NDArray[Any],
        weight: NDArray[np.float64] | None,
        coefficients: NDArray[Any],
        intercept: NDArray[Any],
    ) -> Sums:
        """Loss and gradient as sums over rows.

        X (n, d) float32 or float64, C-contiguous; y (n,) class index or value; weight (n,) or None = 1 each;
        coefficients (d,) or (d, K), cast to X's dtype; intercept () or (K,).
        """
        products = Products(X, coefficients)
        totals = Totals(X.shape[1], np.shape(intercept))
        with np.errstate(over="ignore", invalid="ignore"):  # a block that overflows takes its stable path
            for rows, block in blocks(self, X, intercept):
                X_block = X[rows]
                z = products.forward(X_block)
                totals.loss += block.loss(z, y[rows], None if weight is None else weight[rows])
                if self.scaled is not None and isinstance(block, ScaledBlockLoss):
                    totals.scale += block.scale_gradient()
                residual = block.residual()
                totals.gradient += products.backward(residual, X_block)
                totals.intercept += products.sum_rows(residual)
        return totals.sums(total_weight(X, weight))

    def loss(
        self,
        X: Floats,
        y: NDArray[Any],
        weight: NDArray[np.float64] | None,
        coefficients: NDArray[Any],
        intercept: NDArray[Any],
    ) -> tuple[float, float]:
        """Loss and weight as sums over rows, without the gradient; arguments as in ``sums``."""
        products = Products(X, coefficients)
        total = 0.0
        with np.errstate(over="ignore", invalid="ignore"):
            for rows, block in blocks(self, X, intercept):
                z = products.forward(X[rows])
                total += block.loss(z, y[rows], None if weight is None else weight[rows])
        return total, total_weight(X, weight)


def rows_per_block(n_columns: int, dtype: np.dtype[Any]) -> int:
    """Rows of a full block: a multiple of 8, at least 8."""
    fitting = BLOCK_BYTES // max(1, n_columns * dtype.itemsize)
    return max(ROW_MULTIPLE, min(fitting, MAX_ROWS) // ROW_MULTIPLE * ROW_MULTIPLE)


def blocks(objective: Objective, X: Floats, intercept: NDArray[Any]) -> "list[tuple[slice, BlockLoss]]":
    """The row ranges of the blocks, each with the loss for its size: full blocks share one, the rest has its own."""
    n_rows, size = X.shape[0], rows_per_block(X.shape[1], X.dtype)
    n_full, rest = divmod(n_rows, size)
    b = np.asarray(intercept, dtype=np.float64)
    full = objective.block(size, X.dtype, b) if n_full else None
    made = [(slice(i * size, (i + 1) * size), full) for i in range(n_full) if full is not None]
    if rest:
        made.append((slice(n_full * size, n_rows), objective.block(rest, X.dtype, b)))
    return made


def total_weight(X: Floats, weight: NDArray[np.float64] | None) -> float:
    """Sum of the weights; the number of rows where each weighs 1."""
    return float(X.shape[0]) if weight is None else float(weight.sum())


class Products:
    """z = X w of a block, and g = r X of the same block while it is still in the cache."""

    def __init__(self, X: Floats, coefficients: NDArray[Any]) -> None:
        rows = min(rows_per_block(X.shape[1], X.dtype), X.shape[0])
        self._w = aligned_empty(coefficients.shape, X.dtype)
        self._w[...] = coefficients
        self._z = aligned_empty((rows * self._n_outputs,), X.dtype)
        self._by_row = aligned_empty((rows * self._n_outputs,), X.dtype)
        self._gradient = aligned_empty(coefficients.shape[::-1], X.dtype)
        self._ones = aligned_empty((rows,), X.dtype)
        self._ones[...] = 1.0
        sequential = X.shape[1] * X.dtype.itemsize >= SEQUENTIAL_ROW_BYTES
        self._multiply = np.vecdot if sequential else np.dot

    @property
    def _n_outputs(self) -> int:
        return int(self._w.shape[1]) if self._w.ndim == 2 else 1

    def forward(self, X: Floats) -> Floats:
        """X w of a block, shape (m,), or (K, m): one output a row, so that work over rows is in long vectors."""
        m = X.shape[0]
        if self._w.ndim == 1:
            z = self._z[:m]
            self._multiply(X, self._w, out=z)
            return z
        by_row = self._by_row[: m * self._n_outputs].reshape(m, self._n_outputs)
        z = self._z[: m * self._n_outputs].reshape(self._n_outputs, m)
        np.dot(X, self._w, out=by_row)
        np.copyto(z, by_row.T)
        return z

    def backward(self, residual: Floats, X: Floats) -> Floats:
        """R X of a block, shape (d,) or (K, d); overwritten by the next call."""
        return np.dot(residual, X, out=self._gradient)

    def sum_rows(self, residual: Floats) -> Any:
        """Sum of the residual over the block, shape () or (K,)."""
        return np.dot(residual, self._ones[: residual.shape[-1]])


class Totals:
    """The float64 sums that blocks are added to."""

    def __init__(self, n_columns: int, outputs: tuple[int, ...]) -> None:
        self.loss = 0.0
        self.scale = 0.0
        self.gradient = np.zeros((*outputs, n_columns))
        self.intercept: Any = np.zeros(outputs)[()]  # a scalar for (): its sums cost a tenth of an array's

    def sums(self, weight: float) -> Sums:
        """The totals as they leave."""
        gradient = np.ascontiguousarray(self.gradient.T)
        return Sums(self.loss, gradient, np.asarray(self.intercept), weight, self.scale)

"""What a network is judged by: the loss of a block of outputs, and its derivative in place of them.

z (m, K) float32 or float64 outputs, y (m,) class index or value, s (m,) float64 weights or None = 1 each. Each
function returns sum_i s_i loss_i as a float; with ``derivative`` it leaves s_i dloss_i/dz_ik in ``z``.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Weights = NDArray[np.float64] | None
LossName = Literal["softmax", "logistic", "squared"]
Loss = Callable[[Floats, NDArray[Any], Weights, bool], float]


def softmax_loss(z: Floats, y: NDArray[Any], weight: Weights, derivative: bool) -> float:
    """log sum_k exp(z_ik) - z_i,y_i in nats, derivative softmax(z_i)_k - [k = y_i]; y in 0..K-1.

    The largest z of each row is subtracted first, so that no exp overflows. Source: Bishop, "Pattern Recognition and
    Machine Learning", section 4.3.4.
    """
    rows = np.arange(len(y))
    np.subtract(z, z.max(axis=1, keepdims=True), out=z)
    at_label = z[rows, y].astype(np.float64)
    np.exp(z, out=z)
    total = z.sum(axis=1, keepdims=True)
    losses: NDArray[np.float64] = np.log(total[:, 0].astype(np.float64)) - at_label
    if derivative:
        np.divide(z, total, out=z)
        z[rows, y] -= 1
        _weigh(z, weight)
    return _total(losses, weight)


def logistic_loss(z: Floats, y: NDArray[Any], weight: Weights, derivative: bool) -> float:
    """log(1 + exp(z_i)) - y_i z_i in nats, derivative sigma(z_i) - y_i; one output, y in {0, 1}."""
    odds = np.exp(-np.abs(z[:, 0].astype(np.float64)))
    losses: NDArray[np.float64] = np.log1p(odds) + np.maximum(z[:, 0], 0) - y * z[:, 0]
    if derivative:
        z[:, 0] = np.where(z[:, 0] > 0, 1.0, odds) / (1.0 + odds) - y
        _weigh(z, weight)
    return _total(losses, weight)


def squared_loss(z: Floats, y: NDArray[Any], weight: Weights, derivative: bool) -> float:
    """(z_i - y_i)^2 / 2, derivative z_i - y_i; one output."""
    errors = z[:, 0].astype(np.float64) - y
    if derivative:
        z[:, 0] = errors
        _weigh(z, weight)
    return _total(0.5 * errors * errors, weight)


def _weigh(z: Floats, weight: Weights) -> None:
    if weight is not None:
        np.multiply(z, weight[:, np.newaxis].astype(z.dtype), out=z)


def _total(losses: NDArray[np.float64], weight: Weights) -> float:
    return float(losses.sum() if weight is None else np.dot(weight, losses))


LOSSES: dict[str, Loss] = {"softmax": softmax_loss, "logistic": logistic_loss, "squared": squared_loss}

"""What coordinator and workers say to each other about a network, and the network as it stands on raw columns."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from gradloom.algorithms.algorithm import Task
from gradloom.algorithms.mlp_settings import MlpSettings
from gradloom.data.preparation import Preparation
from gradloom.networks import Architecture, Layout, LossName
from gradloom.networks.passes import DropoutKey
from gradloom.tensors import Array, Tensors


class Plan(NamedTuple):
    """What a round is for; travels as one int64 array."""

    epoch: int
    step: int
    """Batches of the epoch that were taken before."""
    steps: int
    """Batches of the epoch."""
    seed: int
    trains: int
    """Whether there is a batch to step on; 0 or 1."""
    validates: int
    """Whether the loss of the validation rows is due."""
    measures: int
    """Whether the mean and the deviation of the target are."""

    def to_array(self) -> NDArray[np.int64]:
        """For a broadcast."""
        return np.array(self, dtype=np.int64)

    @classmethod
    def from_array(cls, array: Array) -> Self:
        """Out of a broadcast."""
        return cls(*array.tolist())

    def dropout_key(self, step: int) -> DropoutKey:
        """Every epoch leaves out other units of a row."""
        return DropoutKey(self.seed, self.epoch + step // self.steps)


def network_of(layout: Layout, target_center: float, target_scale: float) -> Tensors:
    """sizes (L,) int64, target (2,) float64."""
    return {
        "sizes": np.asarray(layout.sizes, dtype=np.int64),
        "target": np.array([target_center, target_scale]),
    }


def architecture_of(message: Tensors, settings: MlpSettings, task: Task) -> Architecture:
    """The network that a message is about."""
    layout = Layout(tuple(message["sizes"].tolist()))
    loss = loss_of(task, layout.sizes[-1])
    return Architecture(layout, settings.activation, loss, settings.dropout)


def loss_of(task: Task, outputs: int) -> LossName:
    """Two classes need one output: the log-odds of the second."""
    if task == "regression":
        return "squared"
    return "logistic" if outputs == 1 else "softmax"


def rescaled(
    layout: Layout, parameters: NDArray[np.float64], preparation: Preparation, target: tuple[float, float]
) -> NDArray[np.float64]:
    """The parameters (P,) of the same network on raw columns and, for a target (center, scale), of the raw target.

    x' = (x - c) / s goes into the first layer as W' = W / s, b' = b - c W', and y = center + scale y' into the last.
    """
    vector = parameters.copy()
    layers = layout.split(vector)
    first, last = layers[0], layers[-1]
    if preparation.scale:
        first.weights[...] /= np.asarray(preparation.scale)[:, np.newaxis]
    if preparation.center:
        first.bias[...] -= np.asarray(preparation.center) @ first.weights
    center, scale = target
    last.weights[...] *= scale
    last.bias[...] = last.bias * scale + center
    return vector

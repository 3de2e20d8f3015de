"""Feed-forward networks as pure kernels: layers in one vector, forward and backward passes over blocks of rows."""

from gradloom.networks.activations import ACTIVATIONS, ActivationName
from gradloom.networks.architecture import Architecture
from gradloom.networks.layout import Layer, Layout
from gradloom.networks.losses import LOSSES, LossName
from gradloom.networks.passes import NetworkSums, Passes

__all__ = [
    "ACTIVATIONS", "LOSSES", "ActivationName", "Architecture", "Layer", "Layout", "LossName", "NetworkSums", "Passes",
]  # fmt: skip

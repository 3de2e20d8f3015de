"""Trained models by family, and the files they live in."""

import os
from pathlib import Path

from gradloom import model_file
from gradloom.errors import ModelFileError
from gradloom.keys import Keyring
from gradloom.models.clusters import Clusters
from gradloom.models.components import Components
from gradloom.models.kernel_machine import KernelMachine
from gradloom.models.linear import Linear
from gradloom.models.model import Model, label_array, probabilities
from gradloom.models.naive_bayes import NaiveBayes
from gradloom.models.neighbors import Neighbors
from gradloom.models.network import Network
from gradloom.models.statistics import Statistics
from gradloom.settings import keys_from_environment

__all__ = [
    "KINDS",
    "Clusters",
    "Components",
    "KernelMachine",
    "Linear",
    "Model",
    "NaiveBayes",
    "Neighbors",
    "Network",
    "Statistics",
    "label_array",
    "load_model",
    "model_from_bytes",
    "probabilities",
]

KINDS: dict[str, type[Model]] = {
    family.kind: family
    for family in (Clusters, Components, KernelMachine, Linear, NaiveBayes, Neighbors, Network, Statistics)
}
"""What a model file may hold: one line a family."""


def model_from_bytes(data: bytes) -> Model:
    """The model in the bytes of a model file. Raises ModelFileError for what is cut short, foreign or too new."""
    file = model_file.decode(data)
    if file.kind not in KINDS:
        known = ", ".join(sorted(KINDS))
        raise ModelFileError(f"the file holds a model of kind {file.kind!r}; this release reads: {known}")
    try:
        return KINDS[file.kind].from_file(file)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError) as error:
        raise ModelFileError(f"the header of the model file is not complete: {error!r}") from error


def load_model(path: str | os.PathLike[str], keys: Keyring | None = None) -> Model:
    """Read a model file, encrypted or not. Without ``keys`` they are those that the environment names.

    Raises NotFound, ModelFileError for one that is cut short, foreign or too new, and WrongKey.
    """
    keys = keys_from_environment() if keys is None else keys
    return model_from_bytes(model_file.read(Path(path), keys))

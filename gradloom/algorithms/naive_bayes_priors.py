"""Probabilities of classes before a row is looked at: given, or the shares of the train weight."""

import numpy as np
from numpy.typing import NDArray

from gradloom.algorithms.naive_bayes_settings import NaiveBayesSettings
from gradloom.errors import InvalidInput
from gradloom.schema import Schema

Vector = NDArray[np.float64]


def check_priors(settings: NaiveBayesSettings, schema: Schema) -> None:
    """Raise InvalidInput if the priors that are given are not one a class."""
    given = settings.prior
    if given is not None and len(given) != schema.n_classes:
        raise InvalidInput(
            "priors",
            f"holds {len(given)} numbers, where column {schema.target!r} has {schema.n_classes} classes",
        )


def log_priors(settings: NaiveBayesSettings, weight: Vector | None, n_classes: int) -> Vector:
    """Logarithms of the priors, (K,), -inf for 0; ``weight`` (K,) of the classes, None while it is unknown."""
    given = settings.prior
    if given is None:
        given = np.full(n_classes, 1.0 / n_classes) if weight is None else weight / weight.sum()
    with np.errstate(divide="ignore"):
        return np.log(given)

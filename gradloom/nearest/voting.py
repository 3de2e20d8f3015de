"""What the neighbours of a query say of it: a class by votes, or a mean; as scikit-learn counts them."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradloom.nearest.distances import Floats

Weights = Literal["uniform", "distance"]


def weights_of(distances: Floats, weights: Weights) -> Floats:
    """The weight of each neighbour: 1, or 1 / distance; distances (q, k).

    Where a neighbour is at distance 0, those at 0 weigh 1 and the others nothing.
    """
    if weights == "uniform":
        return np.ones_like(distances)
    with np.errstate(divide="ignore"):
        inverse = 1.0 / distances
    on_the_spot = np.isinf(inverse)
    some = on_the_spot.any(axis=1)
    inverse[some] = on_the_spot[some]
    return inverse


def class_shares(classes: NDArray[np.int64], weight: Floats, n_classes: int) -> Floats:
    """Share of the weight of each class, (q, K): classes (q, k) of the neighbours, weight (q, k).

    Added from the nearest to the farthest, so that ties are as scikit-learn has them; argmax takes the first class.
    """
    votes = np.zeros((len(classes), n_classes))
    lines = np.arange(len(classes))
    for j in range(classes.shape[1]):
        votes[lines, classes[:, j]] += weight[:, j]
    total = votes.sum(axis=1, keepdims=True)
    return np.asarray(votes / np.where(total == 0.0, 1.0, total))


def means(targets: Floats, weight: Floats) -> Floats:
    """The weighted mean of the neighbours' targets, (q,): targets and weight (q, k)."""
    return np.asarray(np.sum(targets * weight, axis=1) / np.sum(weight, axis=1))

"""What is asked of neighbours, and the answers; and lists of neighbours turned into these."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.errors import InvalidInput
from gradloom.nearest.distances import Floats, Metric, distances_of
from gradloom.nearest.lists import NO_ID
from gradloom.nearest.voting import Weights, class_shares, means, weights_of
from gradloom.tensors import Tensors

MAX_WITHIN = 10_000
"""Rows within the radius of one query that are listed; more are refused."""
MAX_NEIGHBORS = 10_000
"""Of one query; more are refused."""
MAX_LISTED = 1 << 22
"""Rows that the lists of one answer name together, whoever gives it to a client: about 64 MiB of an answer."""


class Ask(StrEnum):
    """What is wanted of each row that is asked about."""

    PREDICTIONS = "predictions"
    """A value, a class, a cluster; the id of the nearest row where there is no target."""
    PROBABILITIES = "probabilities"
    """One a class."""
    NEIGHBORS = "neighbors"
    """The nearest rows."""
    WITHIN = "within"
    """All rows within a radius."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a model or a job, the rows left out."""

    ask: Ask = Ask.PREDICTIONS
    neighbors: int = 0
    """Of NEIGHBORS; 0 = as many as the job was trained with."""
    radius: float | None = None
    """Of WITHIN; None = the job's."""


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """One a row: a number, or a class as it is written in the data."""

    values: NDArray[Any]  # (n,)


@dataclass(frozen=True, slots=True, eq=False)
class Probabilities:
    """Of each class, in the order of the model's classes."""

    values: Floats  # (n, K)


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The nearest rows of each query, the nearest first; of rows equally far the one with the lower id first."""

    distances: Floats  # (n, k)
    ids: NDArray[np.int64]  # (n, k) positions of the rows in the data set


@dataclass(frozen=True, slots=True, eq=False)
class NeighboursWithin:
    """All rows within a radius of each query, the nearest first, one query after the other."""

    counts: NDArray[np.int64]  # (n,)
    distances: Floats  # (sum of counts,)
    ids: NDArray[np.int64]  # (sum of counts,)

    def of(self, query: int) -> tuple[Floats, NDArray[np.int64]]:
        """Distances and ids of one query."""
        start = int(self.counts[:query].sum())
        part = slice(start, start + int(self.counts[query]))
        return self.distances[part], self.ids[part]


Answer = Predictions | Probabilities | Neighbours | NeighboursWithin


def neighbours_of(metric: Metric, lists: Tensors) -> Neighbours:
    """The lists of ``lists_of_nearest`` as people read them; id -1 where an approximate search has found too few."""
    found = lists["ids"] != NO_ID
    distances = np.where(found, distances_of(metric, lists["keys"]), np.inf)
    return Neighbours(distances, np.where(found, lists["ids"], -1))


def neighbours_within(metric: Metric, lists: Tensors) -> NeighboursWithin:
    """The lists of ``lists_within``. Raises InvalidInput where a query has more neighbours than are listed."""
    counts, kept = lists["counts"], lists["kept"]
    if (counts > kept).any():
        worst = int(np.argmax(counts))
        raise InvalidInput(
            "radius",
            f"{int(counts[worst])} rows lie within it of row {worst} of the query; at most {MAX_WITHIN} may:"
            " a smaller radius, or neighbors, is needed",
        )
    return NeighboursWithin(counts, distances_of(metric, lists["keys"]), lists["ids"])


@dataclass(frozen=True, slots=True, eq=False)
class Voting:
    """What the neighbours of a query are made to say."""

    metric: Metric
    weights: Weights
    predicts: bool = True
    """Whether there is a target at all; if not, the nearest row itself is the prediction."""
    labels: NDArray[Any] | None = None  # (K,)
    """The classes as they are written in the data; None where the target is no class."""

    def answer(self, ask: Ask, lists: Tensors) -> Answer:
        """What the lists say. Raises InvalidInput where they can't."""
        match ask:
            case Ask.NEIGHBORS:
                return neighbours_of(self.metric, lists)
            case Ask.WITHIN:
                return neighbours_within(self.metric, lists)
            case Ask.PROBABILITIES:
                return Probabilities(self.shares(lists))
            case Ask.PREDICTIONS if not self.predicts:
                return Predictions(neighbours_of(self.metric, lists).ids[:, 0])
            case Ask.PREDICTIONS if self.labels is not None:
                return Predictions(self.labels[self.shares(lists).argmax(axis=1)])
            case Ask.PREDICTIONS:
                return Predictions(self.means(lists))

    def check(self, ask: Ask) -> None:
        """Refuse what is no question here. Raises InvalidInput."""
        if ask is Ask.PROBABILITIES and self.labels is None:
            raise InvalidInput("ask", "there are no classes: ask for predictions or neighbors")

    def shares(self, lists: Tensors) -> Floats:
        """Probabilities (q, K) by the votes of the neighbours; the first of equal classes is the predicted one."""
        assert self.labels is not None
        return class_shares(lists["targets"].astype(np.int64), self._weight(lists), len(self.labels))

    def means(self, lists: Tensors) -> Floats:
        """The mean target (q,) of the neighbours."""
        return means(lists["targets"], self._weight(lists))

    def _weight(self, lists: Tensors) -> Floats:
        weight = weights_of(distances_of(self.metric, lists["keys"]), self.weights)
        weight[lists["ids"] == NO_ID] = 0.0
        return weight


def joined_answers(parts: Sequence[Answer]) -> Answer:
    """The answers to parts of one query, which are all of one kind, as one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    match first:
        case Predictions() | Probabilities():
            return type(first)(_joined(parts, "values"))
        case Neighbours():
            return Neighbours(_joined(parts, "distances"), _joined(parts, "ids"))
        case NeighboursWithin():
            return NeighboursWithin(*(_joined(parts, name) for name in ("counts", "distances", "ids")))


def _joined(parts: Sequence[Answer], field: str) -> NDArray[Any]:
    return np.concatenate([getattr(part, field) for part in parts])

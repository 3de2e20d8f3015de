"""What an algorithm can do whose jobs answer queries from the rows that workers hold.

A tile of queries is a round like any other: ``ask`` is broadcast, ``search`` runs on every shard, ``join`` puts two
partial answers together, ``answers`` makes of the total what each asker gets. The rules of
``gradloom.algorithms.algorithm`` hold: pure, ``search`` works on a shard of no rows, ``join`` is associative.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from gradloom.data.shard import Shard
from gradloom.errors import InvalidInput
from gradloom.nearest.answers import Answer, Question
from gradloom.schema import Schema
from gradloom.tensors import Tensors


@dataclass(frozen=True, slots=True, eq=False)
class Posed:
    """A question about some rows, on raw columns as they are in the files."""

    question: Question
    X: NDArray[np.float64]  # (n, d), finite

    def __len__(self) -> int:
        return int(self.X.shape[0])


class ServesQueries(Protocol):
    """The part of an algorithm that answers queries; ``state`` is the one that its training has ended with."""

    def serves(self, state: Any) -> bool:
        """Whether workers answer; if not, the model knows all that is needed."""
        ...

    @property
    def idle_limit_s(self) -> float | None:
        """How long nobody may ask before the job has served its purpose; None = for ever."""
        ...

    def tile_rows(self, question: Question) -> int:
        """Rows of queries that one round takes on."""
        ...

    def share_a_round(self, one: Question, other: Question) -> bool:
        """Whether two questions can be answered in the same round."""
        ...

    def check_question(self, schema: Schema, question: Question, n_queries: int) -> None:
        """Refuse what can't be answered, or not about so many rows at once. Raises InvalidInput."""
        ...

    def ask(self, state: Any, posed: Sequence[Posed]) -> Tensors:
        """The broadcast of a round that answers all of these, which can share one."""
        ...

    def search(self, shard: Shard, message: Tensors) -> Tensors:
        """What one shard knows."""
        ...

    def join(self, left: Tensors, right: Tensors) -> Tensors:
        """What two sets of shards know, from what each does."""
        ...

    def answers(self, state: Any, posed: Sequence[Posed], total: Tensors) -> list[Answer | InvalidInput]:
        """The answer to each, or why there is none."""
        ...


def serves_queries(algorithm: object) -> TypeGuard[ServesQueries]:
    """Whether an algorithm is of this kind."""
    return hasattr(algorithm, "serves") and hasattr(algorithm, "search")


def serving_part(algorithm: object) -> ServesQueries:
    """An algorithm that is of this kind; anything else is our own mistake."""
    assert serves_queries(algorithm), f"{algorithm!r} serves no queries"
    return algorithm


def check_rows(X: NDArray[np.float64], features: Sequence[str]) -> None:
    """Refuse rows of another number of columns, or with a cell that is not finite. Raises InvalidInput."""
    if X.ndim != 2 or X.shape[1] != len(features):
        raise InvalidInput(
            "X", f"has the shape {X.shape}; needed are rows of {len(features)} columns: {_some(features)}"
        )
    bad = ~np.isfinite(X)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise InvalidInput("X", f"row {row} holds a value in column {features[column]!r} that is not finite")


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown}, ... {names[-1]}"

"""What the contract suite runs: an algorithm with settings on data. Each file in ``cases`` lists its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.algorithms import build
from gradloom.algorithms.algorithm import Algorithm
from gradloom.data.shard import Rows, Shard
from gradloom.schema import Schema
from gradloom.tensors import Tensors
from tests.unit.algorithms.training import Data, schema_of, shards_of, shuffled, total_of


@dataclass(frozen=True, eq=False)
class Case:
    """One algorithm with settings, and what its partials promise."""

    algorithm: str
    variant: str
    data: Data
    settings: Mapping[str, Any] = field(default_factory=dict)
    full_pass: bool = True
    """Whether a round's sum is over all train rows alike: it does not depend on how rows lie in shards."""
    sums: bool = True
    """Whether the partial is sums of float64, merged by ``sum_tensors``: nothing of no rows, and order only rounds."""
    float32_digits: float = 1e-5
    """How near the sums of float32 rows are to those of float64 rows, relative to the largest entry; 0 = not alike."""
    assess_digits: float = 2e-3
    """How near the scores by shards are to those of the model."""
    weighted: bool = True
    """Whether rows may have weights."""
    rounds: int = 3
    """Rounds after which partials are looked at; the algorithm must not be done before."""

    def __str__(self) -> str:
        return f"{self.algorithm}-{self.variant}"

    def build(self) -> Algorithm[Any]:
        """The algorithm with its settings."""
        return build(self.algorithm, self.settings)


class World:
    """One algorithm in the middle of its training, with its shards. Rows are shuffled: some sets come sorted."""

    def __init__(
        self, case: Case, n_shards: int = 6, rounds: int | None = None, weighted: bool = False
    ) -> None:
        self.algorithm = case.build()
        self.data, self.schema, shards = _prepared(case, n_shards, weighted)
        self.shards = list(shards)
        self.state = _state_after(case, n_shards, case.rounds if rounds is None else rounds, weighted)

    @property
    def message(self) -> Tensors:
        return self.algorithm.broadcast(self.state)

    def total(self, shards: list[Shard]) -> Tensors:
        """The canonical sum of one round."""
        return total_of(self.algorithm, shards, self.message)

    def step(self) -> None:
        """One round."""
        self.state = self.algorithm.update(self.state, self.total(self.shards))

    def run(self, at_most: int = 1000) -> None:
        """Rounds until it is done, or so many."""
        for _ in range(at_most):
            if self.algorithm.done(self.state) is not None:
                return
            self.step()


@lru_cache(maxsize=256)
def _prepared(case: Case, n_shards: int, weighted: bool) -> tuple[Data, Schema, tuple[Shard, ...]]:
    """The data in shards, which the tests of a case share: nobody can write to them."""
    data = shuffled(case.data)
    if weighted:
        data = replace(data, weight=np.random.default_rng(1).uniform(0.5, 2.0, len(data.X)))
    schema = schema_of(data, case.build().needs)
    shards = tuple(shards_of(data, schema, n_shards))
    for rows in (rows for shard in shards for rows in (shard.train, shard.validation, shard.test)):
        for array in (rows.X, rows.y, rows.weight, rows.positions):
            if array is not None:
                array.flags.writeable = False
    return data, schema, shards


@lru_cache(maxsize=1024)
def _state_after(case: Case, n_shards: int, rounds: int, weighted: bool) -> Any:
    """A state is a value: tests may share it."""
    _, schema, shards = _prepared(case, n_shards, weighted)
    algorithm = case.build()
    if not rounds:
        return algorithm.start(schema)
    state = _state_after(case, n_shards, rounds - 1, weighted)
    assert algorithm.done(state) is None, f"{case} has no round left to look at"
    return algorithm.update(state, total_of(algorithm, shards, algorithm.broadcast(state)))


def part(rows: Rows, chosen: NDArray[np.intp] | slice) -> Rows:
    """Some of the rows."""
    X = np.ascontiguousarray(rows.X[chosen])
    weight = None if rows.weight is None else rows.weight[chosen]
    return Rows(X, rows.y[chosen], weight, rows.positions[chosen])


def whole_of(shards: list[Shard]) -> Shard:
    """All rows in one shard."""

    def joined(parts: list[Rows]) -> Rows:
        weights = [p.weight for p in parts if p.weight is not None]
        X, y = np.concatenate([p.X for p in parts]), np.concatenate([p.y for p in parts])
        positions = np.concatenate([p.positions for p in parts])
        return Rows(X, y, np.concatenate(weights) if weights else None, positions)

    return Shard(
        0,
        joined([s.train for s in shards]),
        joined([s.validation for s in shards]),
        joined([s.test for s in shards]),
    )


def cast(shard: Shard, dtype: str) -> Shard:
    """The shard with rows of another dtype."""

    def rows(r: Rows) -> Rows:
        return Rows(r.X.astype(dtype), r.y, r.weight, r.positions)

    return Shard(shard.index, rows(shard.train), rows(shard.validation), rows(shard.test))


def assert_close(left: Tensors, right: Tensors, digits: float) -> None:
    """The same names, and values alike up to ``digits`` of the largest entry."""
    assert left.keys() == right.keys()
    for tensor in left:
        size = max(1.0, float(np.abs(right[tensor]).max(initial=0.0)))
        np.testing.assert_allclose(
            left[tensor], right[tensor], rtol=digits, atol=digits * size, err_msg=tensor
        )

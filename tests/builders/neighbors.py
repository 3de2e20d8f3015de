"""Nearest neighbours the slow way, and jobs of them without a cluster."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.algorithms import build
from gradloom.algorithms.serving import Posed, serving_part
from gradloom.canonical import CanonicalSum, cover, fold
from gradloom.data.preparation import Preparation, Split, prepare, row_parts
from gradloom.data.shard import RawShard, Shard
from gradloom.errors import InvalidInput
from gradloom.nearest.answers import Answer, Question
from gradloom.nearest.distances import Metric, distances_of, keys_of
from gradloom.schema import Schema
from gradloom.tensors import Tensors, sum_tensors

Floats = NDArray[np.float64]


def all_keys(metric: Metric, X: NDArray[Any], queries: Floats) -> Floats:
    """The keys of every query and every row, (q, n)."""
    return np.stack([keys_of(metric, X, np.broadcast_to(query, X.shape)) for query in queries])


def brute_force(metric: Metric, X: NDArray[Any], queries: Floats, k: int) -> tuple[Floats, NDArray[np.int64]]:
    """Distances and places of the k nearest of all rows; of rows equally far the first ones."""
    keys = all_keys(metric, X, queries)
    places = np.lexsort((np.broadcast_to(np.arange(len(X)), keys.shape), keys), axis=-1)[:, :k]
    return distances_of(metric, np.take_along_axis(keys, places, axis=1)), places


def cut(X: Floats, y: NDArray[Any], n_shards: int, seed: int = 0) -> list[RawShard]:
    """Shards of any sizes, some of them empty."""
    ends = np.sort(np.random.default_rng(seed).integers(0, len(X) + 1, n_shards - 1)).tolist()
    starts, ends = [0, *ends], [*ends, len(X)]
    return [
        RawShard(i, a, np.ascontiguousarray(X[a:b]), y[a:b], None)
        for i, (a, b) in enumerate(zip(starts, ends, strict=True))
    ]


@dataclass
class Served:
    """A job of neighbours whose shards lie on workers, trained and ready for questions."""

    algorithm: Any
    shards: list[Shard]
    holdings: Sequence[Sequence[int]]
    state: Any
    rounds: int = 0

    @classmethod
    def trained(
        cls,
        name: str,
        X: Floats,
        y: NDArray[Any],
        settings: dict[str, Any],
        *,
        n_shards: int = 5,
        holdings: Sequence[Sequence[int]] | None = None,
        test_fraction: float = 0.0,
        cut_seed: int = 0,
    ) -> "Served":
        """Rounds until it is done; by default all shards lie on one worker."""
        algorithm = build(name, settings)
        schema = schema_of(X, y, algorithm.needs, test_fraction)
        shards = [prepare(raw, schema.preparation) for raw in cut(X, y, n_shards, cut_seed)]
        job = cls(algorithm, shards, holdings or [range(n_shards)], algorithm.start(schema))
        while algorithm.done(job.state) is None:
            total = job.total(algorithm.map, algorithm.merge, algorithm.broadcast(job.state))
            job.state = algorithm.update(job.state, total)
            job.rounds += 1
        return job

    def total(self, map_: Any, merge: Any, message: Tensors) -> Tensors:
        """What all workers know; the last worker's answers come first."""
        collected = CanonicalSum[Tensors](len(self.shards), merge)
        for held in reversed(self.holdings):
            for node in cover(held, len(self.shards)):
                assert collected.add(node, fold(node, lambda i: map_(self.shards[i], message), merge))
        return collected.total()

    def ask(self, *posed: Posed) -> list[Answer | InvalidInput]:
        """One round of answers."""
        serving = serving_part(self.algorithm)
        total = self.total(serving.search, serving.join, serving.ask(self.state, posed))
        return serving.answers(self.state, posed, total)

    def answer(self, question: Question, X: Floats) -> Any:
        """The answer to one question."""
        return self.ask(Posed(question, X))[0]

    def scores(self) -> dict[str, float]:
        """Of the held-out rows."""
        solution = self.algorithm.solution(self.state)
        total: Tensors = {}
        for shard in self.shards:
            sums = self.algorithm.assess(shard.test, solution)
            total = sums if not total else sum_tensors(total, sums)
        found: dict[str, float] = self.algorithm.scores(total)
        return found


def schema_of(X: Floats, y: NDArray[Any], needs: Any, test_fraction: float = 0.0, seed: int = 0) -> Schema:
    """What profiling would find."""
    split = Split(seed, 0.0, test_fraction)
    train = row_parts(split, 0, len(X)) == 0
    classes = tuple(float(c) for c in np.unique(y)) if needs.task == "multiclass" else None
    scale = X[train].std(axis=0)
    scale[scale == 0] = 1.0
    preparation = Preparation(
        split,
        needs.dtype,
        classes,
        tuple(X[train].mean(axis=0)) if needs.standardize else (),
        tuple(scale) if needs.standardize else (),
        (),
    )
    names = tuple(f"x{j}" for j in range(X.shape[1]))
    target = "" if needs.task == "unsupervised" else "y"
    n_train = int(train.sum())
    return Schema(names, target, classes, n_train, 0, len(X) - n_train, float(n_train), preparation)


def weighted(schema: Schema, weight: float) -> Schema:
    """The same data with other weights."""
    return replace(schema, train_weight=weight)

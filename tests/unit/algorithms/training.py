"""A cluster without a cluster: shards in memory, one canonical sum a round. What tests train with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.algorithms.algorithm import Algorithm, Needs, dtype_of
from gradloom.canonical import CanonicalSum, Range, cover, fold
from gradloom.data.preparation import Preparation, Split, prepare, row_parts
from gradloom.data.shard import RawShard, Shard
from gradloom.models import Model
from gradloom.schema import Schema
from gradloom.tensors import Tensors

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Data:
    """A data set in memory."""

    X: Floats
    y: NDArray[Any]
    weight: Floats | None = None

    def cut(self, n_shards: int) -> list[RawShard]:
        """Shards of very unequal size: each about half as large again as the one before."""
        sizes = np.cumsum(1.5 ** np.arange(n_shards))
        ends = [round(len(self.X) * size / sizes[-1]) for size in sizes]
        starts = [0, *ends[:-1]]
        return [self._rows(i, a, b) for i, (a, b) in enumerate(zip(starts, ends, strict=True))]

    def _rows(self, index: int, start: int, stop: int) -> RawShard:
        weight = None if self.weight is None else self.weight[start:stop]
        return RawShard(index, start, np.ascontiguousarray(self.X[start:stop]), self.y[start:stop], weight)


def shuffled(data: Data, seed: int = 0) -> Data:
    """Its rows in another order: some sets come sorted."""
    order = np.random.default_rng(seed).permutation(len(data.X))
    return Data(np.asarray(data.X[order], np.float64), data.y[order])


def schema_of(data: Data, needs: Needs, seed: int = 0) -> Schema:
    """What profiling would find, computed in one place."""
    split = Split(seed, needs.validation_fraction)
    train = row_parts(split, 0, len(data.X)) == 0
    classes = None
    if needs.task in ("binary", "multiclass"):
        classes = tuple(float(c) for c in np.unique(data.y))
    weight = np.ones(len(data.X)) if data.weight is None else data.weight
    class_weights: tuple[float, ...] = ()
    if needs.class_weight == "balanced" and classes is not None:
        counted = np.ones(len(data.X)) if needs.balance_rows else weight
        per_class = [counted[train & (data.y == c)].sum() for c in classes]
        class_weights = tuple(counted[train].sum() / (len(classes) * w) for w in per_class)
        weight = weight * np.asarray(class_weights)[np.searchsorted(classes, data.y)]
    scale = data.X[train].std(axis=0)
    scale[scale == 0] = 1.0
    preparation = Preparation(
        split=split,
        dtype=needs.dtype,
        classes=classes,
        center=tuple(data.X[train].mean(axis=0)) if needs.standardize or needs.center else (),
        scale=tuple(scale) if needs.standardize else (),
        class_weights=class_weights,
    )
    names = tuple(f"x{j}" for j in range(data.X.shape[1]))
    held = int((~train).sum())
    target = "" if needs.task == "unsupervised" else "y"
    return Schema(names, target, classes, int(train.sum()), held, 0, float(weight[train].sum()), preparation)


def shards_of(data: Data, schema: Schema, n_shards: int) -> list[Shard]:
    """The prepared shards."""
    return [prepare(raw, schema.preparation) for raw in data.cut(n_shards)]


def total_of(algorithm: Algorithm[Any], shards: Sequence[Shard], message: Tensors) -> Tensors:
    """One round on one worker that holds everything."""
    return fold(Range(0, len(shards)), lambda i: algorithm.map(shards[i], message), algorithm.merge)


def total_over_workers(
    algorithm: Algorithm[Any], shards: Sequence[Shard], message: Tensors, holdings: Sequence[Sequence[int]]
) -> Tensors:
    """One round on workers that hold these shards; each sends the fewest nodes, the last worker's come first."""
    collected = CanonicalSum[Tensors](len(shards), algorithm.merge)
    for held in reversed(holdings):
        for node in cover(held, len(shards)):
            assert collected.add(
                node, fold(node, lambda i: algorithm.map(shards[i], message), algorithm.merge)
            )
    return collected.total()


def train_state(
    algorithm: Algorithm[Any], data: Data, n_shards: int = 5, holdings: Any = None, at_most: int = 100_000
) -> Any:
    """The state when the algorithm says that it is done, or after so many rounds."""
    schema = schema_of(data, algorithm.needs)
    prepared = schema
    shards = shards_of(data, prepared, n_shards)
    state = algorithm.start(schema)
    for _ in range(at_most):
        if algorithm.done(state) is not None:
            break
        dtype = dtype_of(algorithm, state)
        if dtype != prepared.preparation.dtype:
            prepared = replace(schema, preparation=replace(schema.preparation, dtype=dtype))
            shards = shards_of(data, prepared, n_shards)
        message = algorithm.broadcast(state)
        if holdings is None:
            total = total_of(algorithm, shards, message)
        else:
            total = total_over_workers(algorithm, shards, message, holdings)
        state = algorithm.update(state, total)
    return state


def train(
    algorithm: Algorithm[Any], data: Data, n_shards: int = 5, holdings: Any = None, at_most: int = 100_000
) -> Model:
    """The model that the algorithm ends with, or has after so many rounds."""
    return algorithm.finish(train_state(algorithm, data, n_shards, holdings, at_most))

"""The k nearest rows of each query, and all rows within a radius, over the rows of one shard: exactly.

A rough pass over all rows keeps those that may belong to the answer, by proven bounds (``gradloom.nearest.rough``);
these are ranked by their exact float64 keys, and among equal keys by their place. So the answer is that of a float64
search over all pairs, at the speed of a float32 matrix product. Manhattan distances have no such product: they are
searched by float32 sums, block by block.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.nearest.distances import APART, MAX_KEY, Floats, Metric, keys_of, keys_of_distances
from gradloom.nearest.rough import (
    Prepared,
    Rough,
    RoughQueries,
    RoughSums,
    Singles,
    ready_queries,
    ready_sum_queries,
)

Places = NDArray[np.int64]
TILE_CELLS = 1 << 19
"""Pairs that are looked at at once: 2 MiB of float32."""
PAIR_CELLS = 1 << 17
"""Cells of the rows that are ranked exactly at once."""
MAX_PAIRS = 1 << 20
"""Candidates of a tile that wait for their exact keys; more come up where many rows are equally far."""
NO_ROW = -1


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """Of each query the k nearest rows, the nearest first; NO_ROW and MAX_KEY where there are fewer."""

    keys: Floats  # (q, k)
    rows: Places  # (q, k)


@dataclass(frozen=True, slots=True, eq=False)
class Within:
    """Of each query the rows within the radius, the nearest first, one query after the other."""

    counts: Places  # (q,) all that there are
    kept: Places  # (q,) of them in the lists: at most the limit
    keys: Floats  # (sum of kept,)
    rows: Places  # (sum of kept,)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Candidates: pairs of a query and a row."""

    queries: Places  # (m,)
    rows: Places  # (m,)


def nearest(X: NDArray[Any], metric: Metric, rough: Prepared, queries: Floats, k: int) -> Nearest:
    """The k nearest of the rows X (n, d) for queries (q, d); ``rough`` is made of them for the metric."""
    best = _Best(X, metric, queries, k)
    if not len(X):
        return best.result()
    tile = _tile_of(rough, queries)
    bound = _Bound(len(queries), min(k, len(X)), tile.slack)
    for start, low in tile.blocks():
        q, row = bound.hits(low, tile.row_slack(start, low.shape[1]))
        best.consider(_directed(Pairs(q, row + start), rough, queries))
    if isinstance(rough, Rough) and rough.directions:
        directed = queries.any(axis=1)  # of equals the first k are enough
        best.consider(_all_pairs(np.flatnonzero(directed), rough.zeros[:k]))
        best.consider(_all_pairs(np.flatnonzero(~directed), np.arange(min(k, len(X)))))
    return best.result()


def within(
    X: NDArray[Any], metric: Metric, rough: Prepared, queries: Floats, radius: Floats, limit: int
) -> Within:
    """The rows within ``radius`` (q,) of queries (q, d), at most the ``limit`` nearest of each; all are counted."""
    found = _Found(X, metric, queries, keys_of_distances(metric, radius), limit)
    if not len(X):
        return found.result()
    tile = _tile_of(rough, queries)
    most = _rounded_up(_rough_keys(radius, metric, rough) - tile.squared + tile.slack, tile.dtype)
    for start, low in tile.blocks():
        q, row = _places(low, most)
        found.consider(_directed(Pairs(q, row + start), rough, queries))
    if isinstance(rough, Rough) and rough.directions:
        far, directed = radius >= APART, queries.any(axis=1)
        found.consider(_all_pairs(np.flatnonzero(far & directed), rough.zeros))
        for i in np.flatnonzero(far & ~directed):
            found.consider(_all_pairs(np.array([i]), np.arange(len(X))))
    return found.result()


def _rough_keys(radius: Floats, metric: Metric, rough: Prepared) -> Floats:
    """What the rough search makes of distances, rounded up; cosine distances are half its squares."""
    if isinstance(rough, RoughSums):
        return radius * rough.scale * (1.0 + 1e-12)
    with np.errstate(over="ignore"):
        scaled = radius * rough.scale
        return (2.0 * rough.scale * scaled if metric == "cosine" else scaled * scaled) * (1.0 + 1e-12)


def _directed(pairs: Pairs, rough: Prepared, queries: Floats) -> Pairs:
    """Without the pairs that have no direction: the rough search knows nothing of them."""
    if isinstance(rough, RoughSums) or not rough.directions:
        return pairs
    keep = np.any(queries != 0, axis=1, keepdims=True).ravel()[pairs.queries]
    if len(rough.zeros):
        keep &= ~np.isin(pairs.rows, rough.zeros)
    return Pairs(pairs.queries[keep], pairs.rows[keep])


# ---- rough passes


@dataclass(frozen=True, slots=True, eq=False)
class _Product:
    """A tile of queries against rows in float32, by matrix products."""

    rough: Rough
    tile: RoughQueries
    dtype = np.float32

    @property
    def slack(self) -> Floats:
        return self.tile.slack

    @property
    def squared(self) -> Floats:
        return self.tile.squared * (1.0 - 1e-14)

    def row_slack(self, start: int, size: int) -> NDArray[Any]:
        return self.rough.slack[start : start + size]

    def blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        q, n = len(self.tile.queries), len(self.rough)
        step = max(256, TILE_CELLS // max(1, q))
        buffer = np.empty(q * min(step, n), dtype=np.float32)
        for start in range(0, n, step):
            block = self.rough.rows[start : start + step]
            low = buffer[: q * len(block)].reshape(q, len(block))
            yield start, np.matmul(self.tile.queries, block.T, out=low)


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """A tile of queries against rows in float32, by sums of absolute differences."""

    rough: RoughSums
    queries: Singles  # (d, q)
    slack: Floats
    dtype = np.float32

    @property
    def squared(self) -> Floats:
        return np.zeros(len(self.slack))

    def row_slack(self, start: int, size: int) -> NDArray[Any]:
        return 2.0 * self.rough.error[start : start + size]

    def blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        d, n, q = len(self.queries), len(self.rough), len(self.slack)
        step = max(64, min(PAIR_CELLS // max(1, d), TILE_CELLS // max(1, q)))
        for start in range(0, n, step):
            block = np.ascontiguousarray(self.rough.columns[:, start : start + step])
            difference = np.empty_like(block)
            low = np.empty((q, block.shape[1]), dtype=np.float32)
            for i in range(q):
                np.subtract(block, self.queries[:, i : i + 1], out=difference)
                np.add.reduce(np.abs(difference, out=difference), axis=0, out=low[i])
            yield start, np.subtract(low, self.rough.error[start : start + step], out=low)


def _tile_of(rough: Prepared, queries: Floats) -> _Product | _Sums:
    if isinstance(rough, RoughSums):
        return _Sums(rough, *ready_sum_queries(queries, rough))
    return _Product(rough, ready_queries(queries, rough))


class _Bound:
    """What the k-th nearest key of each query can't exceed, by the rough keys seen so far."""

    def __init__(self, n_queries: int, k: int, slack: Floats) -> None:
        self._k = k
        self._slack = slack
        self._highest = np.full((n_queries, k), np.inf)
        """The k least upper bounds of each query."""
        self._begun = False

    def hits(self, low: NDArray[Any], row_slack: NDArray[Any]) -> tuple[Places, Places]:
        """Queries and rows, lines and columns of ``low``, of pairs that may be among the k nearest; by query."""
        begins, self._begun = not self._begun and low.shape[1] > self._k, True
        if begins:
            self._begin(low, row_slack)
        # where the slack is infinite so is the bound: every row is a candidate
        bound = self._highest.max(axis=1) + 2.0 * self._slack
        q, row = _places(low, _rounded_up(bound, low.dtype))
        if not begins:
            self._tighten(q, low[q, row].astype(np.float64) + row_slack[row])
        return q, row

    def _begin(self, low: NDArray[Any], row_slack: NDArray[Any]) -> None:
        least = np.argpartition(low, self._k - 1, axis=1)[:, : self._k]
        high = np.take_along_axis(low, least, axis=1).astype(np.float64)
        self._highest = high + row_slack[least]

    def _tighten(self, q: Places, high: Floats) -> None:
        """Take in upper bounds; ``q`` is rising."""
        if not len(q):
            return
        counts = np.bincount(q)
        some = np.flatnonzero(counts)
        counts = counts[some]
        padded = np.full((len(some), self._k + int(counts.max())), np.inf)
        rank = np.arange(len(q)) - np.repeat(np.cumsum(counts) - counts, counts)
        padded[np.repeat(np.arange(len(some)), counts), self._k + rank] = high
        padded[:, : self._k] = self._highest[some]
        self._highest[some] = np.partition(padded, self._k - 1, axis=1)[:, : self._k]


def _places(low: NDArray[Any], most: NDArray[Any]) -> tuple[Places, Places]:
    """Lines and columns where ``low`` (q, b) is at most ``most`` (q,), by line."""
    q, row = np.divmod(np.flatnonzero(low <= most[:, None]), low.shape[1])
    return q, row


def _rounded_up(values: Floats, dtype: Any) -> NDArray[Any]:
    """As another dtype, never less."""
    with np.errstate(over="ignore"):
        rounded: NDArray[Any] = np.nextafter(values.astype(dtype), np.array(np.inf, dtype=dtype))
    return rounded


# ---- exact ranks


class _Best:
    """The k best candidates of each query, by exact keys; ranks them in batches."""

    def __init__(self, X: NDArray[Any], metric: Metric, queries: Floats, k: int) -> None:
        self._X, self._metric, self._queries, self._k = X, metric, queries, k
        self._waiting: list[Pairs] = []
        self._n_waiting = 0
        self._ranked = Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64))
        self._keys = np.zeros(0)

    def consider(self, pairs: Pairs) -> None:
        """Candidates that have not been considered before."""
        self._waiting.append(pairs)
        self._n_waiting += len(pairs.queries)
        if self._n_waiting > MAX_PAIRS:
            self._rank()

    def _rank(self) -> None:
        new = _joined(self._waiting)
        keys = exact_keys(self._X, self._metric, self._queries, new)
        self._waiting, self._n_waiting = [], 0
        pairs, keys = _joined([self._ranked, new]), np.concatenate([self._keys, keys])
        order, rank = _order(pairs, keys)
        order = order[rank < self._k]
        self._ranked, self._keys = Pairs(pairs.queries[order], pairs.rows[order]), keys[order]

    def result(self) -> Nearest:
        """The lists."""
        self._rank()
        keys = np.full((len(self._queries), self._k), MAX_KEY)
        rows = np.full((len(self._queries), self._k), NO_ROW, dtype=np.int64)
        place = self._ranked.queries, _ranks(self._ranked.queries)
        keys[place], rows[place] = self._keys, self._ranked.rows
        return Nearest(keys, rows)


class _Found:
    """The candidates within a key, by exact keys."""

    def __init__(self, X: NDArray[Any], metric: Metric, queries: Floats, keys: Floats, limit: int) -> None:
        self._X, self._metric, self.queries, self._most, self._limit = X, metric, queries, keys, limit
        self._counts = np.zeros(len(queries), dtype=np.int64)
        self._pairs = Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64))
        self._keys = np.zeros(0)

    def consider(self, pairs: Pairs) -> None:
        """Candidates that have not been considered before."""
        keys = exact_keys(self._X, self._metric, self.queries, pairs)
        inside = keys <= self._most[pairs.queries]
        pairs, keys = Pairs(pairs.queries[inside], pairs.rows[inside]), keys[inside]
        self._counts += np.bincount(pairs.queries, minlength=len(self._counts))
        pairs, keys = _joined([self._pairs, pairs]), np.concatenate([self._keys, keys])
        order, rank = _order(pairs, keys)
        order = order[rank < self._limit]
        self._pairs, self._keys = Pairs(pairs.queries[order], pairs.rows[order]), keys[order]

    def result(self) -> Within:
        """The lists."""
        kept = np.bincount(self._pairs.queries, minlength=len(self._counts))
        return Within(self._counts, kept, self._keys, self._pairs.rows)


def exact_keys(X: NDArray[Any], metric: Metric, queries: Floats, pairs: Pairs) -> Floats:
    """The exact keys of pairs, in blocks that stay in the cache."""
    keys = np.empty(len(pairs.rows))
    step = max(1, PAIR_CELLS // max(1, X.shape[1]))
    for start in range(0, len(keys), step):
        part = slice(start, start + step)
        keys[part] = keys_of(metric, X[pairs.rows[part]], queries[pairs.queries[part]])
    return keys


def best_of(X: NDArray[Any], metric: Metric, queries: Floats, k: int, pairs: Pairs) -> Nearest:
    """The k best of these candidates, each of which is named once."""
    best = _Best(X, metric, queries, k)
    best.consider(pairs)
    return best.result()


def _all_pairs(queries: Places, rows: Places) -> Pairs:
    return Pairs(np.repeat(queries, len(rows)), np.tile(rows, len(queries)))


def _joined(parts: list[Pairs]) -> Pairs:
    if not parts:
        return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64))
    return Pairs(np.concatenate([p.queries for p in parts]), np.concatenate([p.rows for p in parts]))


def _order(pairs: Pairs, keys: Floats) -> tuple[Places, Places]:
    """Pairs by query, key and row; and the rank of each within its query."""
    order = np.lexsort((pairs.rows, keys, pairs.queries))
    return order, _ranks(pairs.queries[order])


def _ranks(queries: Places) -> Places:
    """Of each entry of a rising array: how many equal ones stand before it."""
    return np.arange(len(queries)) - np.searchsorted(queries, queries)

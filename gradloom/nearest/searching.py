"""One shard's rows, or a model's, searched as the settings say: what is made for it is kept with the rows."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gradloom.data.shard import Rows
from gradloom.nearest.answers import MAX_WITHIN
from gradloom.nearest.distances import Floats, Metric
from gradloom.nearest.inverted import Inverted, inverted, probe
from gradloom.nearest.kept import kept_with
from gradloom.nearest.lists import lists_of_nearest, lists_within, stacked
from gradloom.nearest.rough import Prepared, Rough, prepared
from gradloom.nearest.search import NO_ROW, Nearest, nearest, within
from gradloom.tensors import Tensors

TILE_ROWS = 1024
"""Queries that are looked at together: about as many as keep the products of matrices at full speed."""
TILE_PAIRS = 1 << 20
"""Neighbours of all queries that are looked at together: where many are wanted, fewer queries are."""
TILE_ROWS_WITHIN = 64
"""Of those for all rows within a radius: each may find very many."""
SearchName = Literal["exact", "ivf"]


def tile_rows(k: int) -> int:
    """Queries for k neighbours that are looked at together."""
    return max(1, min(TILE_ROWS, TILE_PAIRS // max(1, k)))


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """How rows are searched."""

    metric: Metric
    algorithm: SearchName
    lists: int
    probes: int
    center: Floats  # (d,) near the mean of all rows; of rows of length 1 for cosine

    def nearest(self, rows: Rows, shard: int, queries: Floats, k: int) -> Tensors:
        """The lists of the k nearest rows of queries (q, d), tile by tile."""
        rough = self._rough(rows)
        lists = self._lists(rows, shard, rough) if self.algorithm == "ivf" else None
        parts, step = [], tile_rows(k)
        for start in range(0, max(1, len(queries)), step):
            tile = queries[start : start + step]
            if lists is not None and isinstance(rough, Rough):
                found = self._probed(rows, rough, lists, tile, k)
            else:
                found = nearest(rows.X, self.metric, rough, tile, k)
            parts.append(lists_of_nearest(found, rows))
        return stacked(parts)

    def _probed(self, rows: Rows, rough: Rough, lists: Inverted, tile: Floats, k: int) -> Nearest:
        """The nearest rows in the lists that are probed; of all where those hold fewer than are wanted."""
        found = probe(rows.X, self.metric, rough, lists, tile, k, self.probes)
        short = np.flatnonzero((found.rows[:, : min(k, len(rows))] == NO_ROW).any(axis=1))
        if len(short):
            exact = nearest(rows.X, self.metric, rough, tile[short], k)
            found.keys[short], found.rows[short] = exact.keys, exact.rows
        return found

    def within(self, rows: Rows, queries: Floats, radius: Floats) -> Tensors:
        """The lists of all rows within ``radius`` (q,) of queries (q, d): exact, whatever the algorithm."""
        rough, parts = self._rough(rows), []
        for start in range(0, max(1, len(queries)), TILE_ROWS_WITHIN):
            tile = slice(start, start + TILE_ROWS_WITHIN)
            found = within(rows.X, self.metric, rough, queries[tile], radius[tile], MAX_WITHIN)
            parts.append(lists_within(found, rows))
        return stacked(parts)

    def make_ready(self, rows: Rows, shard: int) -> None:
        """Have at hand what searching these rows needs."""
        rough = self._rough(rows)
        if self.algorithm == "ivf":
            self._lists(rows, shard, rough)

    def _rough(self, rows: Rows) -> Prepared:
        key = (self.metric, self.center.tobytes())
        return kept_with(rows.X, key, lambda: prepared(rows.X, self.metric, self.center))

    def _lists(self, rows: Rows, shard: int, rough: Prepared) -> Inverted:
        assert isinstance(rough, Rough)
        key = (self.metric, self.center.tobytes(), shard, self.lists)
        return kept_with(rows.X, key, lambda: inverted(rough, shard, self.lists))


def as_queries(X: Floats, center: tuple[float, ...], scale: tuple[float, ...], dtype: str) -> Floats:
    """Rows (q, d) on raw columns as the rows of shards are prepared, so that a query that is a row is at distance 0."""
    prepared = X - np.asarray(center) if center else X
    prepared = prepared / np.asarray(scale) if scale else prepared
    return np.ascontiguousarray(prepared.astype(dtype).astype(np.float64))

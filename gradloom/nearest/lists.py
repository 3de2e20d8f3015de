"""Lists of neighbours as named arrays, and how those of two sets of rows become those of both.

The k best of two lists of the k best are the k best of both sets, in whatever order sets are put together: keys are
exact, and equal ones are ordered by the rows' ids, their positions in the whole data set. For q queries::

    nearest    keys (q, k), ids (q, k), targets (q, k)          MAX_KEY, NO_ID and 0 where a list is not full
    within     counts, kept (q,), keys, ids, targets (sum of kept,)     one query after the other
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.data.shard import Rows
from gradloom.nearest.search import NO_ROW, Nearest, Places, Within
from gradloom.tensors import Tensors

NO_ID = np.iinfo(np.int64).max


def lists_of_nearest(found: Nearest, rows: Rows) -> Tensors:
    """What was found among these rows."""
    missing = found.rows == NO_ROW
    return {
        "keys": found.keys,
        "ids": _picked(rows.positions, found.rows, missing, NO_ID),
        "targets": _picked(rows.y.astype(np.float64), found.rows, missing, 0.0),
    }


def _picked(values: NDArray[Any], places: Places, missing: NDArray[np.bool_], fill: float) -> NDArray[Any]:
    if not len(values):
        return np.full(places.shape, fill, dtype=values.dtype)
    return np.where(missing, np.asarray(fill, dtype=values.dtype), values[places])


def lists_within(found: Within, rows: Rows) -> Tensors:
    """What was found among these rows."""
    return {
        "counts": found.counts,
        "kept": found.kept,
        "keys": found.keys,
        "ids": rows.positions[found.rows],
        "targets": rows.y[found.rows].astype(np.float64),
    }


def join_nearest(left: Tensors, right: Tensors) -> Tensors:
    """The k best of two sets of rows for the same queries."""
    k = left["keys"].shape[1]
    both = {name: np.concatenate([left[name], right[name]], axis=1) for name in left}
    order = np.lexsort((both["ids"], both["keys"]), axis=-1)[:, :k]
    return {name: np.take_along_axis(values, order, axis=1) for name, values in both.items()}


def join_within(left: Tensors, right: Tensors, limit: int) -> Tensors:
    """The rows within a radius of two sets of rows for the same queries, at most the ``limit`` nearest of each."""
    lines = np.arange(len(left["counts"]))
    queries = np.concatenate([np.repeat(lines, left["kept"]), np.repeat(lines, right["kept"])])
    both = {name: np.concatenate([left[name], right[name]]) for name in ("keys", "ids", "targets")}
    order = np.lexsort((both["ids"], both["keys"], queries))
    queries = queries[order]
    order = order[np.arange(len(queries)) - np.searchsorted(queries, queries) < limit]
    kept = np.minimum(left["kept"] + right["kept"], limit)
    counts = left["counts"] + right["counts"]
    return {"counts": counts, "kept": kept, **{name: values[order] for name, values in both.items()}}


def stacked(parts: Sequence[Tensors]) -> Tensors:
    """The lists of several tiles of queries, one after the other."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def nearest_of(lists: Tensors, queries: slice, k: int) -> Tensors:
    """The k nearest of some of the queries."""
    return {name: values[queries, :k] for name, values in lists.items()}


def within_of(lists: Tensors, queries: slice) -> Tensors:
    """The lists of some of the queries."""
    ends = np.concatenate([[0], np.cumsum(lists["kept"])])
    stop = min(queries.stop, len(lists["kept"]))
    part = slice(int(ends[queries.start]), int(ends[stop]))
    some = {name: lists[name][queries] for name in ("counts", "kept")}
    return {**some, **{name: lists[name][part] for name in ("keys", "ids", "targets")}}

"""The first round of every job: each row is looked at once, so that everything later may trust the data.

Profiles are partials like any other: computed on a shard, merged over the canonical tree. They only count;
what is wrong with the counts is said by ``gradloom.data.profile_schema``. Pure: arrays in, arrays out.

A profile holds, for d features (a cell's column is 0..d-1, d for the target, d+1 for the weight)::

    rows        int64    (3,)      rows of train, validation, test
    weight      float64  (3,)      sums of their weights; a weight that is missing or infinite counts 0
    mean, m2    float64  (d,)      mean, and sum of squared distances from it, over the train rows
    bad_cells   int64    (3, d+2)  cells that are missing, infinite, negative (weights; features where that
                                   matters), over all rows
    first_bad   int64    (3, d+2)  position of the first such row in the data set; NEVER if there is none
    first_text  int64    (1,)      position of the first target that is text; NEVER if there is none
    label_*                        see ``LabelCounts``
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.data.label_counts import LabelCounts, count_labels, merge_labels, text_labels
from gradloom.data.preparation import Split, row_parts
from gradloom.data.shard import RawShard
from gradloom.data.sources.cells import is_number
from gradloom.tensors import Tensors

NEVER = np.iinfo(np.int64).max
MISSING, INFINITE, NEGATIVE = range(3)
BLOCK_CELLS = 1 << 17
"""Cells of a block of rows: 1 MiB, which stays in the L2 cache while it is looked at several times."""


def profile_shard(raw: RawShard, split: Split, *, nonnegative: bool = False) -> Tensors:
    """Count one shard; see the module for names and shapes. ``nonnegative``: look for features below 0 too."""
    n, d = raw.X.shape
    parts = row_parts(split, raw.first_row, n)
    train = parts == 0
    weight = np.ones(n) if raw.weight is None else np.where(np.isfinite(raw.weight), raw.weight, 0.0)
    bad_cells = np.zeros((3, d + 2), dtype=np.int64)
    first_bad = np.full((3, d + 2), NEVER, dtype=np.int64)
    moments: Tensors = {"rows": np.zeros(1, dtype=np.int64), "mean": np.zeros(d), "m2": np.zeros(d)}
    step = max(1, BLOCK_CELLS // max(1, d))
    for start in range(0, n, step):
        block = raw.X[start : start + step]
        _look_for_bad(block, raw.first_row + start, bad_cells[:, :d], first_bad[:, :d], signed=nonnegative)
        moments = _merge_moments(moments, _moments(block[train[start : start + step]]))
    y = np.zeros(0) if raw.y is None else raw.y
    _look_for_bad(_numbers(y)[:, None], raw.first_row, bad_cells[:, d : d + 1], first_bad[:, d : d + 1])
    if raw.weight is not None:
        _look_for_bad(
            raw.weight[:, None], raw.first_row, bad_cells[:, d + 1 :], first_bad[:, d + 1 :], signed=True
        )
    labels = count_labels(y, train[: len(y)], weight[: len(y)])
    return {
        "rows": np.bincount(parts, minlength=3).astype(np.int64),
        "weight": np.bincount(parts, weights=weight, minlength=3),
        "mean": moments["mean"],
        "m2": moments["m2"],
        "bad_cells": bad_cells,
        "first_bad": first_bad,
        "first_text": np.array([_first_text(y, raw.first_row)], dtype=np.int64),
        **labels.to_tensors(),
    }


def merge_profiles(left: Tensors, right: Tensors) -> Tensors:
    """The profile of the rows of both, ``left`` being the earlier ones."""
    moments = _merge_moments(left, right)
    labels = merge_labels(LabelCounts.from_tensors(left), LabelCounts.from_tensors(right))
    return {
        "rows": left["rows"] + right["rows"],
        "weight": left["weight"] + right["weight"],
        "mean": moments["mean"],
        "m2": moments["m2"],
        "bad_cells": left["bad_cells"] + right["bad_cells"],
        "first_bad": np.minimum(left["first_bad"], right["first_bad"]),
        "first_text": np.minimum(left["first_text"], right["first_text"]),
        **labels.to_tensors(),
    }


def _moments(X: NDArray[np.float64]) -> Tensors:
    """Rows, mean and m2 of each column. Cells that are not finite count 0: such data is refused anyway."""
    X = X if np.isfinite(X).all() else np.where(np.isfinite(X), X, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):  # seen later: the scale is then not finite
        mean = X.sum(axis=0) / max(1, len(X))
        m2 = np.square(X - mean).sum(axis=0)
    return {"rows": np.array([len(X)]), "mean": mean, "m2": m2}


def _merge_moments(left: Tensors, right: Tensors) -> Tensors:
    """Pairwise update of mean and m2; ``rows[0]`` is the number of train rows.

    delta = mean_r - mean_l;   mean = mean_l + delta n_r / n;   m2 = m2_l + m2_r + delta^2 n_l n_r / n
    Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """
    n_left, n_right = int(left["rows"][0]), int(right["rows"][0])
    if not (n_left and n_right):  # nothing to update, and 0 times a square that overflows would be NaN
        return left if n_left else right
    n = n_left + n_right
    with np.errstate(over="ignore", invalid="ignore"):
        delta = right["mean"] - left["mean"]
        mean = left["mean"] + delta * (n_right / n)
        m2 = left["m2"] + right["m2"] + np.square(delta) * (n_left * n_right / n)
    return {"rows": np.array([n_left + n_right]), "mean": mean, "m2": m2}


def _look_for_bad(
    block: NDArray[np.float64],
    first_row: int,
    bad_cells: NDArray[np.int64],
    first_bad: NDArray[np.int64],
    *,
    signed: bool = False,
) -> None:
    """Count bad cells of rows (k, c) into (3, c), and note the position of the first of each column."""
    tests = {MISSING: np.isnan(block), INFINITE: np.isinf(block)} if not np.isfinite(block).all() else {}
    if signed:
        tests[NEGATIVE] = block < 0
    for kind, bad in tests.items():
        bad_cells[kind] += bad.sum(axis=0)
        rows = np.where(bad.any(axis=0), bad.argmax(axis=0) + first_row, NEVER)
        np.minimum(first_bad[kind], rows, out=first_bad[kind])


def _numbers(y: NDArray[Any]) -> NDArray[np.float64]:
    """The target as far as the search for bad cells goes: NaN where it is missing, else a number."""
    if y.dtype != object:
        return y
    return np.where(text_labels(y)[1] < 0, np.nan, 0.0)


def _first_text(y: NDArray[Any], first_row: int) -> int:
    """Position of the first label that is not a number; of the first label, if all are numbers written as text."""
    if y.dtype != object:
        return NEVER
    texts, place = text_labels(y)
    wordy = np.array([not is_number(text) for text in texts], dtype=bool)
    rows = np.flatnonzero(np.append(wordy if wordy.any() else ~wordy, False)[place])
    return first_row + int(rows[0]) if len(rows) else NEVER

"""The approximate search: what it finds is right, and it finds nearly all where data has clusters."""

import gc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from builders.neighbors import brute_force
from gradloom.data.shard import Rows
from gradloom.nearest import kept
from gradloom.nearest.inverted import inverted, probe
from gradloom.nearest.kept import kept_bytes, kept_with
from gradloom.nearest.rough import center_sum, ready
from gradloom.nearest.search import NO_ROW
from gradloom.nearest.searching import Search


def clustered(n: int, d: int, seed: int = 0) -> tuple[Any, Any]:
    """Rows and queries around the same n / 100 points."""
    rng = np.random.default_rng(seed)
    points = 3 * rng.normal(size=(n // 100, d))

    def around(m: int) -> Any:
        return points[rng.integers(0, len(points), m)] + rng.normal(size=(m, d))

    return around(n), around(200)


def recall(X: Any, Q: Any, metric: Any = "euclidean", probes: int = 8) -> float:
    center = center_sum(X, metric) / len(X)
    rough = ready(X, metric, center)
    found = probe(X, metric, rough, inverted(rough, 0, 0), Q, 10, probes)
    _, places = brute_force(metric, X, Q, 10)
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.rows, places, strict=True)]))


def test_recall_at_the_defaults() -> None:
    assert recall(*clustered(6000, 24)) >= 0.98
    assert recall(*clustered(6000, 24), metric="cosine") >= 0.95
    digits = load_digits().data
    assert recall(digits[200:], digits[:200]) >= 0.95


def test_all_lists_together_are_all_rows() -> None:
    X, Q = clustered(1500, 8)
    assert recall(X, Q, probes=10_000) == 1.0


def test_what_is_found_is_at_the_distance_that_is_said_and_in_order() -> None:
    X, Q = clustered(1000, 8)
    rough = ready(X, "euclidean", X.mean(axis=0))
    lists = inverted(rough, 0, 50)
    found = probe(X, "euclidean", rough, lists, Q, 12, 2)
    here = found.rows != NO_ROW
    keys = ((Q[:, None, :] - X[found.rows]) ** 2).sum(axis=2)
    np.testing.assert_allclose(found.keys[here], keys[here], rtol=1e-12)
    assert (np.diff(found.keys, axis=1) >= 0).all()
    assert all(len(set(row[row != NO_ROW])) == (row != NO_ROW).sum() for row in found.rows)


@pytest.mark.parametrize("n", [0, 1, 2, 17])
def test_few_rows(n: int) -> None:
    X = np.arange(2.0 * n).reshape(n, 2)
    rows = Rows(X, np.zeros(n), None, np.arange(n) + 100)
    lists = Search("euclidean", "ivf", 0, 8, np.zeros(2)).nearest(rows, 3, np.zeros((1, 2)), 3)
    assert lists["ids"].shape == (1, 3)
    assert lists["ids"][0, : min(n, 3)].tolist() == [100, 101, 102][:n]


def test_the_same_lists_again_and_others_in_another_shard() -> None:
    X, _ = clustered(500, 4)
    rough = ready(X, "euclidean", X.mean(axis=0))
    first, again, other = inverted(rough, 0, 9), inverted(rough, 0, 9), inverted(rough, 1, 9)
    np.testing.assert_array_equal(first.order, again.order)
    assert not np.array_equal(first.centroids, other.centroids)


def test_what_is_made_of_rows_lives_as_long_as_they_do() -> None:
    made: list[NDArray[Any]] = []

    def make() -> NDArray[Any]:
        made.append(np.zeros(5))
        return made[-1]

    gc.collect()
    before = len(kept._KEPT)
    X = np.zeros((3, 2))
    found = [kept_with(X, "a", make), kept_with(X, "a", make), kept_with(X, "b", make)]
    assert [id(one) for one in found] == [id(made[0]), id(made[0]), id(made[1])]
    assert (kept_bytes(X), kept_bytes(X.copy())) == (2 * 40, 0)
    del X
    gc.collect()
    assert len(kept._KEPT) == before

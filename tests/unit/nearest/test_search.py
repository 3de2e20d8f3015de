"""The search of one shard: the same rows as comparing all pairs in float64, whatever the data looks like."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from builders.neighbors import all_keys, brute_force
from gradloom.nearest import search
from gradloom.nearest.distances import MAX_KEY, Metric, distances_of, keys_of, keys_of_distances
from gradloom.nearest.rough import (
    Prepared,
    center_sum,
    error_of,
    prepared,
    ready,
    ready_queries,
    ready_sum_queries,
    ready_sums,
)
from gradloom.nearest.search import NO_ROW, nearest, within

METRICS: tuple[Metric, ...] = ("euclidean", "cosine", "manhattan")
Make = Callable[[np.random.Generator], NDArray[Any]]


def _grid(rng: np.random.Generator) -> NDArray[Any]:
    X = rng.integers(-2, 3, (1500, 6)).astype(float)
    X[[3, 77, 900]] = 0.0
    return X


def _outlier(rng: np.random.Generator) -> NDArray[Any]:
    X = rng.normal(size=(1500, 6))
    X[5] *= 1e9
    return X


KINDS: dict[str, Make] = {
    "normal": lambda rng: rng.normal(size=(1500, 6)),
    "float32": lambda rng: rng.normal(size=(1500, 6)).astype(np.float32),
    "ties on a grid": _grid,
    "ten rows, 150 times each": lambda rng: np.repeat(rng.normal(size=(10, 6)), 150, axis=0),
    "one row far away": _outlier,
    "offset 1e4": lambda rng: rng.normal(size=(1500, 6)) + 1e4,
    "offset 1e8": lambda rng: rng.normal(size=(1500, 6)) + 1e8,
    "huge": lambda rng: rng.normal(size=(1500, 6)) * 1e100,
    "tiny": lambda rng: rng.normal(size=(1500, 6)) * 1e-100,
    "one column": lambda rng: rng.normal(size=(1500, 1)),
    "all alike": lambda rng: np.full((1500, 3), 7.0),
}


def rough_of(X: NDArray[Any], metric: Metric) -> Prepared:
    return prepared(X, metric, center_sum(X, metric) / max(1, len(X)))


def queries_for(X: NDArray[Any], rng: np.random.Generator) -> NDArray[np.float64]:
    """Some of the rows, some between them, zero, and one far away."""
    d = X.shape[1]
    between = X[:9].astype(float) + (X[9:18].astype(float) - X[:9]) * rng.uniform(size=(9, 1))
    return np.concatenate([X[::300].astype(float), between, np.zeros((1, d)), 1e6 * X[:1].astype(float)])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_rows_as_comparing_all_pairs(kind: str, metric: Metric) -> None:
    rng = np.random.default_rng(3)
    X = KINDS[kind](rng)
    Q, rough = queries_for(X, rng), rough_of(X, metric)
    for k in (1, 5, 40):
        distances, places = brute_force(metric, X, Q, k)
        found = nearest(X, metric, rough, Q, k)
        np.testing.assert_array_equal(found.rows, places)
        np.testing.assert_array_equal(distances_of(metric, found.keys), distances)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_all_rows_within_a_radius(kind: str, metric: Metric) -> None:
    rng = np.random.default_rng(4)
    X = KINDS[kind](rng)
    Q, rough = queries_for(X, rng), rough_of(X, metric)
    keys = all_keys(metric, X, Q)
    radius = distances_of(metric, np.sort(keys, axis=1)[:, 30])  # the 31st is on the edge, and inside
    most = keys_of_distances(metric, radius)
    found = within(X, metric, rough, Q, radius, 2000)
    np.testing.assert_array_equal(found.counts, (keys <= most[:, None]).sum(axis=1))
    ends = np.cumsum(found.kept)
    for i, (a, b) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        inside = np.flatnonzero(keys[i] <= most[i])
        order = inside[np.lexsort((inside, keys[i][inside]))]
        np.testing.assert_array_equal(found.rows[a:b], order)
        np.testing.assert_array_equal(found.keys[a:b], keys[i][order])


def test_more_rows_than_the_limit_are_counted_and_the_nearest_are_listed() -> None:
    X = np.arange(50.0)[:, None]
    found = within(X, "euclidean", rough_of(X, "euclidean"), np.zeros((1, 1)), np.array([20.0]), 4)
    assert (found.counts.tolist(), found.kept.tolist()) == ([21], [4])
    assert found.rows.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("metric", METRICS)
def test_blocks_and_batches_change_nothing(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    X = _grid(rng)
    Q, rough = queries_for(X, rng), rough_of(X, metric)
    whole = nearest(X, metric, rough, Q, 7)
    monkeypatch.setattr(search, "TILE_CELLS", 1)  # 256 rows at once, or 64
    monkeypatch.setattr(search, "PAIR_CELLS", 12)
    monkeypatch.setattr(search, "MAX_PAIRS", 1)
    parts = nearest(X, metric, rough, Q, 7)
    np.testing.assert_array_equal(parts.rows, whole.rows)
    np.testing.assert_array_equal(parts.keys, whole.keys)


@pytest.mark.parametrize("metric", METRICS)
def test_a_query_alone_finds_what_it_finds_among_others_to_the_bit(metric: Metric) -> None:
    rng = np.random.default_rng(6)
    X = rng.normal(size=(700, 9)) + 5
    Q, rough = rng.normal(size=(30, 9)) + 5, rough_of(X, metric)
    together = nearest(X, metric, rough, Q, 5)
    for i in range(len(Q)):
        alone = nearest(X, metric, rough, Q[i : i + 1], 5)
        np.testing.assert_array_equal(alone.rows[0], together.rows[i])
        np.testing.assert_array_equal(alone.keys[0], together.keys[i])


@pytest.mark.parametrize("metric", METRICS)
def test_fewer_rows_than_neighbours_and_none_at_all(metric: Metric) -> None:
    X = np.arange(6.0).reshape(3, 2)
    found = nearest(X, metric, rough_of(X, metric), np.ones((2, 2)), 5)
    assert (found.rows[:, 3:] == NO_ROW).all()
    assert (found.keys[:, 3:] == MAX_KEY).all()
    assert sorted(found.rows[0, :3]) == [0, 1, 2]
    none = np.zeros((0, 2))
    assert (nearest(none, metric, rough_of(none, metric), np.ones((2, 2)), 2).rows == NO_ROW).all()
    empty = within(none, metric, rough_of(none, metric), np.ones((2, 2)), np.ones(2), 9)
    assert empty.counts.tolist() == [0, 0]
    nobody = nearest(X, metric, rough_of(X, metric), np.zeros((0, 2)), 2)
    assert nobody.rows.shape == (0, 2)


def test_rows_without_a_direction_are_at_cosine_distance_1() -> None:
    X = np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [3.0, 3.0]])
    rough = rough_of(X, "cosine")
    found = nearest(X, "cosine", rough, np.array([[2.0, 0.0], [0.0, 0.0]]), 5)
    assert found.rows.tolist() == [[1, 4, 0, 3, 2], [0, 1, 2, 3, 4]]
    np.testing.assert_allclose(found.keys, [[0, 1 - 0.5**0.5, 1, 1, 2], [1] * 5], atol=1e-15)


def test_the_rough_keys_enclose_the_true_ones() -> None:
    rng = np.random.default_rng(7)
    for scale in (1.0, 1e-3, 1e6):
        X, Q = scale * (rng.normal(size=(400, 50)) + 3), scale * (rng.normal(size=(40, 50)) + 3)
        rough = ready(X, "euclidean", X.mean(axis=0))
        tile = ready_queries(Q, rough)
        low = (tile.queries @ rough.rows.T).astype(np.float64)
        true = all_keys("euclidean", X, Q) * rough.scale**2 - tile.squared[:, None]
        assert (low - tile.slack[:, None] <= true).all()
        assert (true <= low + rough.slack + tile.slack[:, None]).all()
        sums = ready_sums(X, X.mean(axis=0))
        columns, error = ready_sum_queries(Q, sums)
        rough_sums = np.abs(columns.T[:, None, :] - sums.columns.T[None]).sum(axis=2)
        off = np.abs(rough_sums - all_keys("manhattan", X, Q) * sums.scale)
        assert (off <= error[:, None] + sums.error).all()
    assert error_of(784) < 1e-4  # and they enclose them closely


@pytest.mark.parametrize("metric", METRICS)
def test_the_same_rows_as_scikit_learn(metric: Metric) -> None:
    rng = np.random.default_rng(8)
    X, Q = rng.normal(size=(3000, 20)), rng.normal(size=(100, 20))
    found = nearest(X, metric, rough_of(X, metric), Q, 10)
    distances, places = (
        NearestNeighbors(n_neighbors=10, algorithm="brute", metric=metric).fit(X).kneighbors(Q)
    )
    np.testing.assert_array_equal(found.rows, places)
    np.testing.assert_allclose(distances_of(metric, found.keys), distances, rtol=1e-9)


def test_keys_have_the_same_bits_however_pairs_are_grouped() -> None:
    rng = np.random.default_rng(9)
    for d in (1, 2, 7, 8, 9, 130, 1000):
        X, Q = rng.normal(size=(37, d)), rng.normal(size=(37, d))
        for metric in METRICS:
            together = keys_of(metric, X, Q)
            alone = [keys_of(metric, X[i : i + 1], Q[i : i + 1])[0] for i in range(37)]
            assert together.tolist() == alone

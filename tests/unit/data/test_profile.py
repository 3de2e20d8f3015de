"""The profile: every row counted once, whatever the shards."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer

from gradloom.canonical import Range, fold
from gradloom.data.label_counts import MAX_LABELS, LabelCounts
from gradloom.data.preparation import Split, row_parts
from gradloom.data.profile import INFINITE, MISSING, NEGATIVE, NEVER, merge_profiles, profile_shard
from gradloom.data.shard import RawShard
from gradloom.tensors import Tensors, sha256

SPLIT = Split(seed=7, validation_fraction=0.2, test_fraction=0.1)


def raw_shards(
    X: NDArray[np.float64], y: NDArray[Any] | None, weight: NDArray[np.float64] | None, n_shards: int
) -> list[RawShard]:
    bounds = [len(X) * i // n_shards for i in range(n_shards + 1)]
    return [
        RawShard(
            index=i,
            first_row=lo,
            X=np.ascontiguousarray(X[lo:hi]),
            y=None if y is None else y[lo:hi],
            weight=None if weight is None else weight[lo:hi],
        )
        for i, (lo, hi) in enumerate(itertools.pairwise(bounds))
    ]


def profile(
    X: NDArray[np.float64],
    y: NDArray[Any] | None = None,
    weight: NDArray[np.float64] | None = None,
    *,
    n_shards: int = 1,
    split: Split = SPLIT,
) -> Tensors:
    shards = raw_shards(X, y, weight, n_shards)
    return fold(Range(0, n_shards), lambda i: profile_shard(shards[i], split), merge_profiles)


def texts(*values: str | None) -> NDArray[Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


@pytest.mark.parametrize("n_shards", [1, 3, 7, 569])
def test_mean_and_deviation_are_those_of_the_train_rows(n_shards: int) -> None:
    X, y = load_breast_cancer(return_X_y=True)
    X = X + 1e6  # an offset that a sum of squares would not survive
    total = profile(X, y.astype(np.float64), n_shards=n_shards)
    train = row_parts(SPLIT, 0, 569) == 0
    assert total["rows"].tolist() == np.bincount(row_parts(SPLIT, 0, 569)).tolist()
    np.testing.assert_allclose(total["mean"], X[train].mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(np.sqrt(total["m2"] / train.sum()), X[train].std(axis=0), rtol=1e-7)


def test_many_blocks_of_rows_give_the_moments_of_all(rng: np.random.Generator) -> None:
    X = rng.normal(3, 2, size=(50_000, 7))
    total = profile(X, split=Split())
    np.testing.assert_allclose(total["mean"], X.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(total["m2"] / 50_000, X.var(axis=0), rtol=1e-12)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_profile_holds_only_what_the_wire_carries_and_the_same_bits_each_time() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    for target in (y.astype(np.float64), texts(*(str(label) for label in y))):
        total = profile(X, target, np.ones(569), n_shards=5)
        assert {array.dtype.name for array in total.values()} == {"float64", "int64", "uint8"}
        assert sha256(total) == sha256(profile(X, target, np.ones(569), n_shards=5))


def spoil(X: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64]) -> None:
    X[[17, 30], 2] = np.nan
    X[8, 0] = np.inf
    y[[40, 3]] = np.nan
    y[5] = -np.inf
    weight[9] = np.nan
    weight[[33, 11]] = -1


@pytest.mark.parametrize("n_shards", [1, 7, 50])
def test_bad_cells_are_counted_and_the_first_row_of_each_kind_is_kept(
    n_shards: int, rng: np.random.Generator
) -> None:
    X, y, weight = rng.normal(size=(50, 3)), rng.integers(0, 2, 50).astype(np.float64), np.ones(50)
    spoil(X, y, weight)
    total = profile(X, y, weight, n_shards=n_shards)
    assert total["bad_cells"][MISSING].tolist() == [0, 0, 2, 2, 1]
    assert total["bad_cells"][INFINITE].tolist() == [1, 0, 0, 1, 0]
    assert total["bad_cells"][NEGATIVE].tolist() == [0, 0, 0, 0, 2]
    assert total["first_bad"][MISSING].tolist() == [NEVER, NEVER, 17, 3, 9]
    assert total["first_bad"][INFINITE].tolist() == [8, NEVER, NEVER, 5, NEVER]
    assert total["first_bad"][NEGATIVE].tolist() == [NEVER, NEVER, NEVER, NEVER, 11]


@pytest.mark.parametrize("n_shards", [1, 4])
@pytest.mark.parametrize("as_label", [float, lambda label: f"class {label}"], ids=["numbers", "text"])
def test_labels_are_of_all_rows_and_their_counts_of_train_rows(
    n_shards: int, as_label: Callable[[int], float | str], rng: np.random.Generator
) -> None:
    codes, weight = rng.integers(0, 3, 200), rng.uniform(0.5, 2, 200)
    labels = [as_label(int(code)) for code in codes]
    y = texts(*map(str, labels)) if isinstance(labels[0], str) else np.array(labels)
    counts = LabelCounts.from_tensors(profile(rng.normal(size=(200, 2)), y, weight, n_shards=n_shards))
    train = row_parts(SPLIT, 0, 200) == 0
    assert counts.labels.tolist() == [as_label(code) for code in range(3)]
    assert counts.rows.tolist() == np.bincount(codes[train]).tolist()
    np.testing.assert_allclose(counts.weight, np.bincount(codes[train], weights=weight[train]), rtol=1e-14)


def test_a_label_that_occurs_in_no_train_row_is_a_label_still() -> None:
    parts = row_parts(SPLIT, 0, 100)
    counts = LabelCounts.from_tensors(profile(np.zeros((100, 1)), parts.astype(np.float64)))
    assert counts.labels.tolist() == [0, 1, 2]
    assert counts.rows.tolist() == [int((parts == 0).sum()), 0, 0]


def test_numbers_on_one_shard_and_text_on_another_become_text() -> None:
    numbers = profile_shard(RawShard(0, 0, np.zeros((3, 1)), np.array([1.0, 0.5, 1.0]), None), Split())
    words = profile_shard(RawShard(1, 3, np.zeros((2, 1)), texts("1", "A"), None), Split())
    for left, right in ((numbers, words), (words, numbers)):
        total = merge_profiles(left, right)
        counts = LabelCounts.from_tensors(total)
        assert counts.labels.tolist() == ["0.5", "1", "A"]
        assert counts.rows.tolist() == [1, 3, 1]
        assert total["first_text"].tolist() == [4]


@pytest.mark.parametrize("n_shards", [1, 2])
def test_a_continuous_target_sends_only_that_it_is_one(n_shards: int, rng: np.random.Generator) -> None:
    n = MAX_LABELS + 1  # half of it fits into a shard; the whole does not
    total = profile(np.zeros((n, 1)), rng.permutation(n).astype(np.float64), n_shards=n_shards)
    counts = LabelCounts.from_tensors(total)
    assert counts.too_many
    assert len(counts.labels) == 0
    assert sum(array.nbytes for array in total.values()) < 1000


def test_too_many_labels_stay_too_many() -> None:
    many = profile(np.zeros((MAX_LABELS + 1, 1)), np.arange(MAX_LABELS + 1.0), split=Split())
    one = profile(np.zeros((1, 1)), texts("A"), split=Split())
    counts = LabelCounts.from_tensors(merge_profiles(many, one))
    assert counts.too_many
    assert counts.is_text


def test_an_empty_shard_changes_nothing() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    full = profile(X, y.astype(np.float64))
    empty = profile(X[:0], y[:0].astype(np.float64))
    for total in (merge_profiles(full, empty), merge_profiles(empty, full)):
        assert sha256(total) == sha256(full)


@given(labels=st.lists(st.text(max_size=5) | st.none(), min_size=1, max_size=30))
def test_text_labels_survive_the_wire_whatever_they_hold(labels: list[str | None]) -> None:
    total = profile(np.zeros((len(labels), 1)), texts(*labels), split=Split())
    counts = LabelCounts.from_tensors(total)
    known = [label for label in labels if label is not None]
    assert counts.labels.tolist() == sorted(set(known))
    assert counts.rows.tolist() == [known.count(label) for label in sorted(set(known))]
    assert int(total["bad_cells"][MISSING, 1]) == labels.count(None)

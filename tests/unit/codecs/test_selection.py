"""The largest elements, and their indices in few bytes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradloom.codecs.indices import from_bitmap, from_varints, to_bitmap, to_varints
from gradloom.codecs.selection import largest_indices
from gradloom.errors import FrameRefused


def chosen(n: int, k: int, seed: int = 0) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).choice(n, k, replace=False)).astype(np.int64)


@pytest.mark.parametrize("n", [1, 10, 5000, 200_000])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.9, 1.0])
def test_the_k_largest_are_found(n: int, share: float) -> None:
    x = np.random.default_rng(n).normal(size=n).astype(np.float32)
    k = round(share * n)
    found = largest_indices(x, k)
    expected = np.sort(np.argsort(-np.abs(x), kind="stable")[:k])
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize(
    "x",
    [
        np.zeros(50_000),
        np.ones(50_000),
        np.where(np.arange(50_000) % 3 == 0, 2.0, 1.0),
        np.concatenate([np.full(40_000, 1e-9), np.arange(10_000)]),
        np.tile([9.0, *([0.0] * 2)], 20_000),  # a sample with a stride of 3 sees only the large ones
    ],
    ids=["zeros", "equal", "two values", "large at the end", "against the stride"],
)
@pytest.mark.parametrize("k", [1, 500, 20_000])
def test_of_equal_ones_the_first_are_taken(x: np.ndarray, k: int) -> None:
    found = largest_indices(x.astype(np.float32), k)
    assert found.tolist() == np.sort(np.argsort(-np.abs(x), kind="stable")[:k]).tolist()


@given(st.integers(1, 3000), st.floats(0, 1), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_indices_come_back(n: int, share: float, seed: int) -> None:
    indices = chosen(n, round(share * n), seed)
    assert from_varints(to_varints(indices), indices.size, n).tolist() == indices.tolist()
    assert from_bitmap(to_bitmap(indices, n), indices.size, n).tolist() == indices.tolist()


def test_long_distances_take_more_bytes() -> None:
    indices = np.array([0, 127, 128 + 127, 255 + 128, 20_000, 3_000_000, 2**40])
    encoded = to_varints(indices)
    assert encoded.size == 1 + 1 + 2 + 2 + 3 + 4 + 6
    assert from_varints(encoded, 7, 2**41).tolist() == indices.tolist()


def test_one_percent_takes_about_ten_bits_an_index() -> None:
    assert 8 * to_varints(chosen(1_000_000, 10_000)).size / 10_000 == pytest.approx(10.2, abs=0.3)


@pytest.mark.parametrize(
    ("encoded", "k"),
    [([5, 0], 2), ([5, 200], 2), ([5, 128], 1), ([50], 1), ([5], 2), ([], 1), ([5], 0), ([128] * 9 + [1], 1)],
    ids=["standing", "unfinished", "unfinished too", "beyond", "too few", "none", "too many", "too long"],
)
def test_varints_that_make_no_sense_are_refused(encoded: list[int], k: int) -> None:
    with pytest.raises(FrameRefused):
        from_varints(np.array(encoded, np.uint8), k, 50)


@pytest.mark.parametrize(("encoded", "k"), [([3], 2), ([3, 0], 1), ([0, 128], 1)])
def test_bitmaps_that_make_no_sense_are_refused(encoded: list[int], k: int) -> None:
    with pytest.raises(FrameRefused):
        from_bitmap(np.array(encoded, np.uint8), k, 15)

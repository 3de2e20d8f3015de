"""Splitting and encoding: they depend on a row's position and values, never on shards."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradloom.data.preparation import Preparation, Split, encode_labels, label_text, prepare, row_parts
from gradloom.data.shard import RawShard


@given(
    cuts=st.lists(st.integers(0, 1000), max_size=6),
    seed=st.integers(0, 2**64),
    fractions=st.sampled_from([(0.0, 0.0), (0.2, 0.1), (0.5, 0.5)]),
)
def test_the_part_of_a_row_does_not_depend_on_the_cuts(
    cuts: list[int], seed: int, fractions: tuple[float, float]
) -> None:
    split = Split(seed, *fractions)
    bounds = [0, *sorted(cuts), 1000]
    apart = [row_parts(split, lo, hi - lo) for lo, hi in itertools.pairwise(bounds)]
    np.testing.assert_array_equal(np.concatenate(apart), row_parts(split, 0, 1000))


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**63])
def test_parts_have_their_fractions(seed: int) -> None:
    parts = row_parts(Split(seed, validation_fraction=0.2, test_fraction=0.1), 0, 100_000)
    np.testing.assert_allclose(np.bincount(parts) / 100_000, [0.7, 0.2, 0.1], atol=0.005)


def test_another_seed_deals_other_rows() -> None:
    one, other = (row_parts(Split(seed, 0.5), 0, 10_000) for seed in (1, 2))
    assert 0.45 < (one == other).mean() < 0.55


def test_rows_are_standardised_in_float64_then_cast_and_weighed_by_class() -> None:
    raw = RawShard(
        index=3,
        first_row=0,
        X=np.array([[1e8, 1.0], [1e8 + 2, 3.0]]),
        y=np.array(["b", "a"], dtype=object),
        weight=np.array([1.0, 2.0]),
    )
    preparation = Preparation(
        Split(), "float32", ("a", "b"), center=(1e8 + 1, 2.0), scale=(1.0, 2.0), class_weights=(10.0, 100.0)
    )
    shard = prepare(raw, preparation)
    assert shard.train.X.dtype == np.float32
    assert shard.train.X.ctypes.data % 64 == 0
    np.testing.assert_array_equal(shard.train.X, [[-1, -0.5], [1, 0.5]])
    np.testing.assert_array_equal(shard.train.y, [1, 0])
    np.testing.assert_array_equal(shard.train.weight, [100, 20])
    assert len(shard.validation) == len(shard.test) == 0
    np.testing.assert_array_equal(raw.X[0], [1e8, 1.0])


def test_labels_are_encoded_by_number_or_by_text() -> None:
    np.testing.assert_array_equal(encode_labels(np.array([2.0, 0.5, 2.0]), (0.5, 2.0)), [1, 0, 1])
    np.testing.assert_array_equal(encode_labels(np.array([1.0, 0.5]), ("0.5", "1", "A")), [1, 0])
    np.testing.assert_array_equal(encode_labels(np.array(["A", "1"], dtype=object), ("1", "A")), [1, 0])
    with pytest.raises(ValueError, match=r"label 3\.0 is not one of the 2 classes"):
        encode_labels(np.array([3.0]), (0.5, 2.0))


@pytest.mark.parametrize(
    ("label", "text"), [(1.0, "1"), (-0.5, "-0.5"), (1e22, "10000000000000000000000"), ("1.0", "1.0")]
)
def test_a_whole_number_loses_its_point(label: object, text: str) -> None:
    assert label_text(label) == text

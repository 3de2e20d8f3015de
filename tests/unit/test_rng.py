"""Seeded permutations: the same everywhere and for ever."""

import numpy as np
import pytest

from gradloom.rng import normals, row_bits, shuffled_rows


def test_it_is_a_permutation_that_nobody_can_write_to() -> None:
    order = shuffled_rows(1, 2, 3, 1000)
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    with pytest.raises(ValueError, match="read-only"):
        order[0] = 0


def test_seed_shard_and_epoch_each_give_another_order() -> None:
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2**63 - 1, 999_999, 2**32 - 1)]
    assert len({shuffled_rows(*key, 50).tobytes() for key in keys}) == len(keys)


def test_the_order_is_pinned() -> None:
    """These numbers must never change: checkpoints and replays count on them."""
    assert shuffled_rows(42, 7, 3, 8).tolist() == [0, 3, 7, 1, 5, 6, 4, 2]


def test_no_rows_and_one_row() -> None:
    assert shuffled_rows(0, 0, 0, 0).tolist() == []
    assert shuffled_rows(0, 0, 0, 1).tolist() == [0]


def test_normals_are_pinned_and_look_normal() -> None:
    """These numbers must never change: a job that is started again starts from the same weights."""
    assert normals(42, 7, 3).tolist() == [-1.027955487370491, -1.1017875727266073, 1.0376289442647249]
    drawn = normals(1, 2, 200_000)
    assert abs(drawn.mean()) < 0.01
    assert drawn.std() == pytest.approx(1.0, abs=0.01)
    assert np.mean(np.abs(drawn) < 1.0) == pytest.approx(0.683, abs=0.01)
    assert np.mean(np.abs(drawn) < 2.0) == pytest.approx(0.954, abs=0.01)
    assert np.abs(drawn).max() < 6.0


def test_fewer_normals_are_the_first_of_more_and_streams_differ() -> None:
    many = normals(3, 0, 70_000)
    np.testing.assert_array_equal(normals(3, 0, 100), many[:100])
    assert len({normals(*key, 10).tobytes() for key in [(3, 0), (3, 1), (4, 0)]}) == 3
    assert normals(0, 0, 0).shape == (0,)


def test_row_bits_are_pinned_and_belong_to_the_row() -> None:
    positions = np.array([0, 5, 10**12])
    bits = row_bits(42, 1, 3, positions, 5)
    assert bits.tolist() == [
        [6380, 50728, 33626, 46797, 39428],
        [20444, 36009, 7257, 52090, 18473],
        [15816, 30206, 33952, 44454, 52878],
    ]
    np.testing.assert_array_equal(row_bits(42, 1, 3, positions[::-1], 5), bits[::-1])
    np.testing.assert_array_equal(row_bits(42, 1, 3, positions[1:2], 5), bits[1:2])


def test_row_bits_are_uniform_and_differ_by_seed_stream_epoch_and_row() -> None:
    bits = row_bits(9, 0, 0, np.arange(500), 200) / 2**16
    assert bits.mean() == pytest.approx(0.5, abs=0.005)
    assert bits.std() == pytest.approx(12**-0.5, abs=0.005)
    for axis in (0, 1):  # neighbours, in a row and over rows, know nothing of each other
        left, right = bits.take(range(199), axis), bits.take(range(1, 200), axis)
        assert abs(np.corrcoef(left.ravel(), right.ravel())[0, 1]) < 0.02
    keys = [(9, 0, 0), (8, 0, 0), (9, 1, 0), (9, 0, 1)]
    assert len({row_bits(*key, np.arange(3), 8).tobytes() for key in keys}) == 4

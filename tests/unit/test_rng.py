"""Seeded permutations: the same everywhere and for ever."""

import numpy as np
import pytest

from gradloom.rng import shuffled_rows


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

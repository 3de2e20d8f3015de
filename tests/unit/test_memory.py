"""A pooled buffer is used again exactly when nobody looks at it any more."""

import weakref

import numpy as np

from gradloom.memory import BufferPool


def address(array: np.ndarray) -> int:
    return array.ctypes.data


def test_a_buffer_that_nobody_looks_at_is_used_again() -> None:
    pool = BufferPool()
    first = pool.take(4096)
    where = address(first)
    del first
    assert address(pool.take(4096)) == where


def test_views_of_any_kind_keep_a_buffer_from_being_used_again() -> None:
    pool = BufferPool()
    first = pool.take(4096)
    where = address(first)
    numbers, view = first.view(np.float64)[3:], first.data[8:]
    del first
    assert address(pool.take(4096)) != where
    del numbers
    assert address(pool.take(4096)) != where
    parsed = np.frombuffer(view, dtype=np.int64)
    del view
    assert address(pool.take(4096)) != where
    assert parsed.size == 511


def test_a_cleared_pool_keeps_nothing_and_takes_nothing_away() -> None:
    pool = BufferPool()
    looked_at, free = pool.take(4096), pool.take(4096)
    owner = weakref.ref(free.base)
    looked_at[:] = 7
    del free
    pool.clear()
    assert len(pool) == 0
    assert owner() is None
    assert (looked_at == 7).all()
    assert address(pool.take(4096)) != address(looked_at)


def test_another_size_gets_another_buffer_and_only_a_few_are_kept() -> None:
    pool = BufferPool(keep=2)
    held = [pool.take(size) for size in (8, 16, 24)]
    assert [buffer.nbytes for buffer in held] == [8, 16, 24]
    gone = address(held[0])
    kept = address(held[2])
    held.clear()
    assert address(pool.take(24)) == kept
    assert gone not in {address(owner) for owner in pool._owners}

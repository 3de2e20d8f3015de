"""Seeded randomness that is the same on every machine and in every release of numpy.

Only raw bits of counter-based generators are used: numpy keeps those streams fixed for ever, but not what its
``Generator`` makes of them. Nothing here keeps a generator: the same arguments give the same numbers.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=32)
def shuffled_rows(seed: int, shard: int, epoch: int, n_rows: int) -> NDArray[np.intp]:
    """A permutation of 0..n_rows-1, shape (n_rows,), read-only; a fresh one for every seed, shard and epoch.

    The rows are sorted by Philox4x64 bits keyed by (seed, shard, epoch). Source: Salmon, Moraes, Dror, Shaw,
    "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    key = np.array([seed, (shard << 32) | (epoch & 0xFFFFFFFF)], dtype=np.uint64)
    order = np.argsort(np.random.Philox(key=key).random_raw(n_rows), kind="stable")
    order.flags.writeable = False
    return order

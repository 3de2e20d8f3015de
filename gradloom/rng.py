"""Seeded randomness that is the same on every machine and in every release of numpy.

Only raw bits of counter-based generators are used: numpy keeps those streams fixed for ever, but not what its
``Generator`` makes of them. Nothing here keeps a generator: the same arguments give the same numbers.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

STARTING_VALUES, ROW_BITS = 1 << 63, 3 << 62
"""Set in the second word of a key: these streams are never those of a shard and an epoch."""
NORMALS_AT_ONCE = 1 << 16
GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)

_MASK = 2**64 - 1


@lru_cache(maxsize=128)
def shuffled_rows(seed: int, shard: int, epoch: int, n_rows: int) -> NDArray[np.intp]:
    """A permutation of 0..n_rows-1, shape (n_rows,), read-only; a fresh one for every seed, shard and epoch.

    The rows are sorted by Philox4x64 bits keyed by (seed, shard, epoch). Source: Salmon, Moraes, Dror, Shaw,
    "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    key = np.array([seed, (shard << 32) | (epoch & 0xFFFFFFFF)], dtype=np.uint64)
    order = np.argsort(np.random.Philox(key=key).random_raw(n_rows), kind="stable")
    order.flags.writeable = False
    return order


def random_words(seed: int, stream: int, place: tuple[int, int], n_words: int) -> NDArray[np.uint64]:
    """Uniform random 64-bit words, shape (n_words,): the Philox4x64 sequence of the key (seed, stream) at ``place``.

    Two places have sequences of their own, of 2^66 words each. All numbers are taken modulo 2^64.
    """
    key = np.array([seed & _MASK, stream & _MASK], dtype=np.uint64)
    # the generator counts in the lowest of the four words of its counter
    counter = np.array([0, 0, place[0] & _MASK, place[1] & _MASK], dtype=np.uint64)
    words: NDArray[np.uint64] = np.random.Philox(key=key, counter=counter).random_raw(n_words)
    return words


def normals(seed: int, stream: int, n: int) -> NDArray[np.float64]:
    """n numbers that are normal to the eye, mean 0 and deviation 1, shape (n,); none is beyond 6.

    z = (sum of 12 uniform integers of 32 bits - 6 (2^32 - 1)) / 2^32, from Philox4x64 bits keyed by (seed, stream):
    sums of integers and one scaling, hence the same bits everywhere, as logarithms and cosines are not. Their excess
    kurtosis is -0.1: good for starting weights, not for tails.
    """
    drawn = np.empty(n)
    for start in range(0, n, NORMALS_AT_ONCE):
        part = drawn[start : start + NORMALS_AT_ONCE]
        words = random_words(seed, STARTING_VALUES | stream, (start, 0), 6 * len(part)).reshape(-1, 6)
        total = (words & np.uint64(2**32 - 1)).sum(axis=1) + (words >> np.uint64(32)).sum(axis=1)
        part[...] = (total.astype(np.float64) - 6.0 * (2.0**32 - 1.0)) * 2.0**-32
    return drawn


def row_bits(seed: int, stream: int, epoch: int, positions: NDArray[np.int64], n: int) -> NDArray[np.uint16]:
    """n uniform integers of 16 bits for each row, shape (m, n); positions (m,) are the rows' places in the data set.

    They depend on the seed, the stream, the epoch and the row alone, never on the shard or the batch that it is in:
    Philox4x64 bits keyed by (seed, stream, epoch) are the start of a splitmix64 generator over rows, whose numbers
    are the starts of one splitmix64 generator a row. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number
    generators", OOPSLA 2014.
    """
    start = random_words(seed, ROW_BITS | (stream << 32) | (epoch & 0xFFFFFFFF), (0, 0), 1)
    rows = _mixed(positions.astype(np.uint64) * GOLDEN_GAMMA + start)
    steps = np.arange(1, -(-n // 4) + 1, dtype=np.uint64) * GOLDEN_GAMMA
    words = _mixed(np.add(rows[:, np.newaxis], steps))
    lanes: NDArray[np.uint16] = words.astype("<u8", copy=False).view("<u2")
    return lanes[:, :n]


def _mixed(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of splitmix64, in place of a fresh array ``z``."""
    scratch = z >> np.uint64(30)
    for factor, shift in ((0xBF58476D1CE4E5B9, 27), (0x94D049BB133111EB, 31)):
        np.bitwise_xor(z, scratch, out=z)
        np.multiply(z, np.uint64(factor), out=z)
        np.right_shift(z, np.uint64(shift), out=scratch)
    np.bitwise_xor(z, scratch, out=z)
    return z

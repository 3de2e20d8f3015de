"""The k elements of largest magnitude: exact, and the same ones on every machine.

A threshold that is a little too low is read off a sample; one pass in blocks then finds the few elements above it, of
which the k largest are kept. Where the sample misled (fewer than k hits, or far more), all elements are partitioned.
Of equal magnitudes those of lower index come first, because partial sorting leaves it to the processor. Source:
Lin et al., "Deep Gradient Compression", ICLR 2018 (the sampler), here with an exact last step.
"""

import numpy as np
from numpy.typing import NDArray

from gradloom.codecs.codec import BLOCK, Floats

Indices = NDArray[np.int64]
SAMPLE = 1 << 14
"""Elements that the threshold is read off."""
TOO_MANY = 4
"""Times k: more hits than that are no help."""


def largest_indices(flat: Floats, k: int) -> Indices:
    """Indices of the k largest |x| in increasing order, shape (min(k, n),)."""
    n = flat.size
    if k <= 0 or n == 0:
        return np.empty(0, dtype=np.int64)
    if k >= n:
        return np.arange(n, dtype=np.int64)
    hits = _above(flat, _guess(flat, k))
    if not k <= hits.size <= TOO_MANY * k + SAMPLE:
        hits = np.arange(n, dtype=np.int64)
    return _cap(hits, np.abs(flat[hits]), k)


def _guess(flat: Floats, k: int) -> float:
    """A threshold that somewhat more than k elements should reach."""
    stride = max(1, flat.size // SAMPLE)
    sample = np.abs(flat[::stride])
    expected = sample.size * k / flat.size
    wanted = min(
        sample.size, int(expected + 3.0 * expected**0.5 + 3.0)
    )  # 3 standard deviations to the safe side
    return float(np.partition(sample, sample.size - wanted)[sample.size - wanted])


def _above(flat: Floats, threshold: float) -> Indices:
    """Indices of all |x| >= threshold, in order."""
    found = []
    magnitude, reached = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.bool_)
    limit = np.float32(threshold)
    for start in range(0, flat.size, BLOCK):
        part = flat[start : start + BLOCK]
        np.abs(part, out=magnitude[: part.size])
        np.greater_equal(magnitude[: part.size], limit, out=reached[: part.size])
        found.append(np.flatnonzero(reached[: part.size]) + start)
    return np.concatenate(found)


def _cap(indices: Indices, magnitudes: Floats, k: int) -> Indices:
    """The k of largest magnitude, of equal ones the first."""
    smallest = np.partition(magnitudes, magnitudes.size - k)[magnitudes.size - k]
    keep = magnitudes > smallest
    ties = np.flatnonzero(magnitudes == smallest)
    keep[ties[: k - int(keep.sum())]] = True
    kept: Indices = indices[keep]
    return kept

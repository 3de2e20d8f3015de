"""Increasing indices in few bytes: the distances between them as LEB128 varints, or one bit an element.

At 1 % a varint takes 10.2 bits an index, where the entropy is 8.1; from 1/16 upwards a bitmap takes less than a byte
for each index. All of it is vectorised: one pass for each byte that the longest varint has.
"""

import numpy as np

from gradloom.codecs.codec import Bytes
from gradloom.codecs.selection import Indices
from gradloom.errors import FrameRefused

BITMAP_FROM = 1 / 16
"""Share of the elements from which a bitmap is smaller."""
MAX_VARINT = 9
"""Bytes: 63 bits are more than any array has elements."""


def to_varints(indices: Indices) -> Bytes:
    """The first index and the distances between the others, seven bits a byte, the lowest first."""
    gaps = np.diff(indices, prepend=0)
    lengths = np.ones(gaps.size, dtype=np.int64)
    rest = gaps >> 7
    while rest.any():
        lengths += rest > 0
        rest >>= 7
    ends = np.cumsum(lengths)
    encoded = np.empty(int(ends[-1]) if gaps.size else 0, dtype=np.uint8)
    places, more = ends - lengths, np.arange(gaps.size)
    for byte in range(MAX_VARINT):
        ongoing = lengths[more] > byte + 1
        encoded[places[more] + byte] = ((gaps[more] >> (7 * byte)) & 0x7F) | (ongoing << 7)
        more = more[ongoing]
        if not more.size:
            break
    return encoded


def from_varints(encoded: Bytes, k: int, n: int) -> Indices:
    """k increasing indices below n. Raises FrameRefused."""
    ends = np.flatnonzero(encoded < 0x80)
    if ends.size != k or (encoded.size and (not k or ends[-1] != encoded.size - 1)):
        raise FrameRefused(f"{encoded.size} bytes of indices hold {ends.size} of them; {k} are due")
    starts = np.empty_like(ends)
    starts[:1], starts[1:] = 0, ends[:-1] + 1
    lengths = ends - starts + 1
    if lengths.size and int(lengths.max()) > MAX_VARINT:
        raise FrameRefused("an index of a payload is too long")
    gaps = (encoded[starts] & 0x7F).astype(np.int64)
    more = np.flatnonzero(lengths > 1)
    for byte in range(1, MAX_VARINT):
        if not more.size:
            break
        gaps[more] |= (encoded[starts[more] + byte] & 0x7F).astype(np.int64) << (7 * byte)
        more = more[lengths[more] > byte + 1]
    # each gap is checked before they are added up, so that the sum can't overflow
    if k and (int(gaps.max()) >= n or (gaps[1:] == 0).any()):
        raise FrameRefused("the indices of a payload do not increase, or go beyond the tensor")
    return _checked(np.cumsum(gaps), n)


def to_bitmap(indices: Indices, n: int) -> Bytes:
    """One bit an element, the lowest bit of a byte first."""
    marks = np.zeros(n, dtype=np.bool_)
    marks[indices] = True
    return np.packbits(marks, bitorder="little")


def from_bitmap(encoded: Bytes, k: int, n: int) -> Indices:
    """k increasing indices below n. Raises FrameRefused."""
    if encoded.size != -(-n // 8):
        raise FrameRefused(f"a bitmap of {encoded.size} bytes is not one of {n} elements")
    indices = np.flatnonzero(np.unpackbits(encoded, bitorder="little"))
    if indices.size != k:
        raise FrameRefused(f"a bitmap marks {indices.size} elements; {k} are due")
    return _checked(indices, n)


def _checked(indices: Indices, n: int) -> Indices:
    if indices.size and int(indices[-1]) >= n:
        raise FrameRefused(f"index {indices[-1]} is beyond a tensor of {n} elements")
    return indices

"""The payload of a few elements of a tensor: their indices, and their values as float16 with a scale or as float32.

::

    k (u8)  bytes of indices (u8)  kind of indices (u1)  kind of values (u1)  indices  values
"""

import struct

import numpy as np

from gradloom.codecs import float16, indices
from gradloom.codecs.codec import Bytes, Floats, Reader, joined, refuse_nonfinite
from gradloom.codecs.selection import Indices
from gradloom.errors import FrameRefused

HEADER = struct.Struct("<QQBB")
VARINTS, BITMAP = 0, 1
HALVES, SINGLES = 0, 1


def to_bytes(chosen: Indices, values: Floats, n: int, *, exact: bool) -> tuple[Bytes, Floats]:
    """The payload of ``values`` (k,) at ``chosen`` (k,) of n elements, and the values as the receiver reads them.

    ``exact``: float32 values. Raises NotFinite.
    """
    as_bitmap = chosen.size >= indices.BITMAP_FROM * n and chosen.size > 0
    places = indices.to_bitmap(chosen, n) if as_bitmap else indices.to_varints(chosen)
    content = values.view(np.uint8) if exact else float16.to_bytes(values)
    received = values if exact else float16.from_bytes(content, values.size)
    header = HEADER.pack(
        chosen.size, places.size, BITMAP if as_bitmap else VARINTS, SINGLES if exact else HALVES
    )
    return joined([np.frombuffer(header, np.uint8), places, content]), received


def from_bytes(payload: Bytes, n: int) -> Floats:
    """n elements, zero where nothing was sent. Raises FrameRefused."""
    chosen, values = parts(payload, n)
    array = np.zeros(n, dtype=np.float32)
    array[chosen] = values
    return array


def parts(payload: Bytes, n: int) -> tuple[Indices, Floats]:
    """Indices (k,) and values (k,). Raises FrameRefused."""
    reader = Reader(payload)
    k, index_bytes, index_kind, value_kind = HEADER.unpack(reader.take("u1", HEADER.size).tobytes())
    if k > n or index_kind not in (VARINTS, BITMAP) or value_kind not in (HALVES, SINGLES):
        raise FrameRefused(f"a sparse payload says {k} of {n} elements, kinds {index_kind} and {value_kind}")
    places = reader.take("u1", index_bytes)
    if value_kind == HALVES:
        content = reader.take("u1", float16.HEADER_BYTES + 2 * k)
        values = float16.from_bytes(content, k)
    else:
        values = reader.take("<f4", k).copy()
        refuse_nonfinite(values, "values")
    reader.end()
    read = indices.from_bitmap if index_kind == BITMAP else indices.from_varints
    return read(places, k, n), values

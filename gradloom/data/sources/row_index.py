"""Where rows begin in a text file: a sparse index whose memory is bounded however long the file is.

Byte arithmetic only: no I/O, no parsing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_ENTRIES = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class RowIndex:
    """Byte offsets of every ``stride``-th row."""

    stride: int
    offsets: NDArray[np.int64]  # (ceil(rows / stride),)
    stop: int
    """End of the data in bytes."""

    def byte_range(self, first_row: int, rows: int) -> tuple[int, int, int]:
        """The bytes to parse for ``rows`` rows from ``first_row`` on: (start, stop, rows to skip at the start)."""
        entry, skip = divmod(first_row, self.stride)
        after = -(-(first_row + rows) // self.stride)
        stop = int(self.offsets[after]) if after < len(self.offsets) else self.stop
        return int(self.offsets[entry]), stop, skip


class RowIndexBuilder:
    """Collects row starts in file order; the stride doubles whenever the index grows too long."""

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._max_entries = max_entries
        self._stride = 1
        self._kept: list[NDArray[np.int64]] = []
        self._n_kept = 0
        self.rows = 0

    def add(self, starts: NDArray[np.int64]) -> None:
        """Note the byte offsets of the next rows."""
        kept = starts[-self.rows % self._stride :: self._stride]
        self.rows += len(starts)
        self._kept.append(kept)
        self._n_kept += len(kept)
        while self._n_kept > self._max_entries:
            self._kept = [np.concatenate(self._kept)[::2]]
            self._n_kept = len(self._kept[0])
            self._stride *= 2

    def build(self, stop: int) -> RowIndex:
        """The finished index; ``stop`` is the end of the data in bytes."""
        return RowIndex(self._stride, np.concatenate([np.zeros(0, np.int64), *self._kept]), stop)

"""What a shard is in memory: rows as they stand in the files, and rows ready to compute on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = tuple[str, ...] | tuple[float, ...]
"""The classes of a target in their order: all text, or all numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class RawShard:
    """The rows of one shard as the files hold them.

    ``y`` is float64 where every value is a number (NaN = missing), else an object array of str (None = missing);
    None without a target.
    """

    index: int
    first_row: int
    """Position of the first row in the whole data set, counted over the files in their order."""
    X: NDArray[np.float64]  # (n, d), C-contiguous; NaN where a cell is missing
    y: NDArray[Any] | None  # (n,)
    weight: NDArray[np.float64] | None  # (n,)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows that a kernel can run on: C-contiguous, 64-byte aligned, no missing cell."""

    X: NDArray[Any]  # (n, d), float32 or float64
    y: NDArray[Any]  # (n,), int64 class index in a classification, else float64
    weight: NDArray[np.float64] | None  # (n,), or None where every row weighs 1
    positions: NDArray[np.int64]  # (n,), rising: of each row in the whole data set

    def __len__(self) -> int:
        return int(self.X.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """One shard, split by a seeded hash of each row's position into three disjoint parts."""

    index: int
    train: Rows
    validation: Rows
    test: Rows

    @property
    def nbytes(self) -> int:
        """Memory of the three parts."""
        return sum(
            part.X.nbytes
            + part.y.nbytes
            + part.positions.nbytes
            + (0 if part.weight is None else part.weight.nbytes)
            for part in (self.train, self.validation, self.test)
        )

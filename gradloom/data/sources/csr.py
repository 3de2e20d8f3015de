"""A sparse matrix by rows, as scipy.sparse.save_npz writes it: only the entries of the wanted rows are read.

Row i of the matrix holds ``data[indptr[i]:indptr[i+1]]`` in the columns ``indices[indptr[i]:indptr[i+1]]``; entries of
the same place add up. scipy is not needed to read it.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradloom.data.manifest import Piece
from gradloom.data.sources.npy_array import MAX_COLUMNS, StoredArray
from gradloom.errors import DataError

CSR_NAMES = ("data", "indices", "indptr", "shape", "format")


@dataclass(frozen=True, slots=True)
class CsrMatrix:
    """The members of one archive that make up a sparse matrix."""

    uri: str
    member: Callable[[str], AbstractContextManager[StoredArray]]

    def checked_shape(self) -> tuple[int, int, str]:
        """Rows, columns and type. Raises DataError for another sparse format, or members that do not fit."""
        kind, shape = self._all("format"), self._all("shape")
        if kind.size != 1 or shape.size != 2 or shape.dtype.kind not in "iu":
            raise DataError(self.uri, "is no sparse matrix: its format or shape is none")
        name = kind.item().decode("utf-8", "replace") if kind.dtype.kind == "S" else str(kind.item())
        if name != "csr":
            raise DataError(
                self.uri, f"holds a sparse matrix of format {name!r}; needed is csr (matrix.tocsr())"
            )
        rows, width = (int(n) for n in shape.reshape(-1))
        if rows < 0 or not 0 <= width <= MAX_COLUMNS:
            raise DataError(
                self.uri, f"is a sparse matrix of shape {(rows, width)}; at most {MAX_COLUMNS} columns may be"
            )
        with self.member("indptr") as starts:
            fits = starts.shape == (rows + 1,) and starts.dtype.kind in "iu"
        with self.member("data") as data:
            fits = fits and len(data.shape) == 1 and data.dtype.kind in "biuf"
            type_name = f"sparse {data.dtype}"
        with self.member("indices") as indices:
            fits = fits and indices.shape == data.shape and indices.dtype.kind in "iu"
        if not fits:
            raise DataError(self.uri, "is no sparse matrix: the shapes or types of its members do not fit")
        return rows, width, type_name

    def rows_of(self, piece: Piece, wanted: NDArray[np.int64]) -> NDArray[np.float64]:
        """The rows of a piece, of the columns at the wanted positions, dense; shape (rows, len(wanted))."""
        with self.member("indptr") as member:
            starts = member.elements(piece.row_start, piece.rows + 1).astype(np.int64)
        if (np.diff(starts) < 0).any():
            raise DataError(self.uri, "is no sparse matrix: its indptr does not rise")
        first, count = int(starts[0]), int(starts[-1] - starts[0])
        with self.member("indices") as member:
            columns = member.elements(first, count).astype(np.int64)
        with self.member("data") as member:
            values = member.elements(first, count).astype(np.float64)
        if count and not 0 <= columns.min() <= columns.max() < MAX_COLUMNS:
            raise DataError(self.uri, "is no sparse matrix: its indices do not fit")
        return _dense(starts - first, columns, values, wanted)

    def _all(self, name: str) -> NDArray[np.generic]:
        with self.member(name) as member:
            return member.all_elements()


def _dense(
    starts: NDArray[np.int64],
    columns: NDArray[np.int64],
    values: NDArray[np.float64],
    wanted: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Entries as rows of the wanted columns; entries of the same place add up."""
    rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    place = np.full(max(int(columns.max(initial=-1)), int(wanted.max(initial=-1))) + 1, -1, dtype=np.int64)
    place[wanted] = np.arange(len(wanted))
    at = place[columns]
    known = at >= 0
    out = np.zeros((len(starts) - 1, len(wanted)))
    np.add.at(out, (rows[known], at[known]), values[known])
    return out

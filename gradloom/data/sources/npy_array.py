"""One array as NPY stores it: a header, then elements that are found by arithmetic. Nothing here unpickles."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gradloom.data.manifest import Piece
from gradloom.errors import DataError

BLOCK_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class StoredArray:
    """The header of one array and the stream that holds its elements."""

    stream: IO[bytes]
    data_start: int
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    name: str
    """File, and member of it, for messages."""

    @property
    def nbytes(self) -> int:
        """Bytes of all elements, as the header promises them."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def elements(self, first: int, count: int) -> NDArray[Any]:
        """``count`` elements from the ``first``-th on, in the order of the file. Raises DataError if it ends before."""
        self.stream.seek(self.data_start + first * self.dtype.itemsize)
        data = self.stream.read(count * self.dtype.itemsize)
        if len(data) != count * self.dtype.itemsize:
            raise DataError(self.name, f"is cut short: its header promises {self.shape} of {self.dtype}")
        return np.frombuffer(data, dtype=self.dtype)

    def all_elements(self) -> NDArray[Any]:
        """Every element of a small array, in its shape."""
        flat = self.elements(0, int(np.prod(self.shape, dtype=np.int64)))
        return flat.reshape(self.shape[::-1]).T if self.fortran_order else flat.reshape(self.shape)


def stored_array(stream: IO[bytes], name: str) -> StoredArray:
    """The array at the stream's position. Format: numpy.lib.format. Raises DataError for anything else."""
    try:
        version = np.lib.format.read_magic(stream)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran_order, dtype = read(stream)
    except ValueError as error:
        raise DataError(name, f"can't be read as a numpy array: {error}") from error
    return StoredArray(stream, stream.tell(), shape, fortran_order, dtype, name)


def checked_matrix(array: StoredArray) -> StoredArray:
    """The array, if it is 2-D and numeric. Raises DataError."""
    if len(array.shape) != 2 or array.dtype.kind not in "biuf":
        raise DataError(
            array.name, f"must be a 2-D array of numbers; it is {len(array.shape)}-D of {array.dtype}"
        )
    return array


def positions(names: Sequence[str], wanted: Sequence[str], title: str) -> NDArray[np.int64]:
    """Where the wanted columns stand among ``names``. Raises DataError for one that is not there."""
    known = {name: j for j, name in enumerate(names)}
    for name in wanted:
        if name not in known:
            raise DataError(f"column {name!r}", f"is not in {title}, whose columns are {_range(names)}")
    return np.array([known[name] for name in wanted], dtype=np.int64)


def _range(names: Sequence[str]) -> str:
    return f"{names[0]} to {names[-1]}" if names else "none"


def rows_of(matrix: StoredArray, piece: Piece, wanted: NDArray[np.int64]) -> NDArray[np.float64]:
    """The rows of a piece, of the columns at the wanted positions; shape (rows, len(wanted))."""
    out = np.empty((piece.rows, len(wanted)))
    height, width = matrix.shape
    if matrix.fortran_order:
        # In the order of the file, so that a deflated member is read through only once.
        for k in np.argsort(wanted, kind="stable"):
            out[:, k] = matrix.elements(int(wanted[k]) * height + piece.row_start, piece.rows)
        return out
    step = max(1, BLOCK_BYTES // max(1, width * matrix.dtype.itemsize))
    for start in range(0, piece.rows, step):
        stop = min(start + step, piece.rows)
        block = matrix.elements((piece.row_start + start) * width, (stop - start) * width)
        out[start:stop] = block.reshape(stop - start, width)[:, wanted]
    return out


def numbers_or_texts(values: NDArray[Any]) -> NDArray[Any]:
    """A column as float64, or as an object array of str."""
    if values.dtype.kind not in "US":
        return values.astype(np.float64)
    texts = np.empty(len(values), dtype=object)
    texts[:] = (np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values).tolist()
    return texts

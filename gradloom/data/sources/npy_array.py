"""One array as NPY stores it: a header, then elements that are found by arithmetic. Nothing here unpickles."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from gradloom.data.manifest import Piece
from gradloom.errors import DataError, DataUnreachable

BLOCK_BYTES = 8 << 20
SMALL_BYTES = 256 << 20
"""Of what is read as a whole: names of columns."""
MAX_HEADER_BYTES = 64 << 10
MAX_CHARACTER = 0x10FFFF
MAX_ITEM_BYTES = 1 << 20
"""Of one text."""
MAX_COLUMNS = 1 << 20
"""Every row is dense in memory, and the names alone take some hundred megabytes; a file without rows could promise any
number of them."""
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True, slots=True)
class StoredArray:
    """The header of one array and the stream that holds its elements."""

    stream: IO[bytes]
    data_start: int
    """Its elements are all there: that is checked before anybody asks for memory for them."""
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    name: str
    """File, and member of it, for messages."""

    @property
    def nbytes(self) -> int:
        """Bytes of all elements, as the header promises them."""
        return self.size * self.dtype.itemsize

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)  # Python's integers don't overflow

    def elements(self, first: int, count: int) -> NDArray[Any]:
        """``count`` elements from the ``first``-th on, in the order of the file. Raises DataError if it ends before."""
        if self.dtype.hasobject:
            raise DataError(self.name, "holds Python objects, which are never read")
        if first < 0 or count < 0 or first + count > self.size:
            raise DataError(self.name, f"holds {self.size} elements, and not {count} from {first} on")
        self.stream.seek(self.data_start + first * self.dtype.itemsize)
        data = self.stream.read(count * self.dtype.itemsize)
        if len(data) != count * self.dtype.itemsize:
            raise DataError(self.name, f"is cut short: its header promises {self.shape} of {self.dtype}")
        return np.frombuffer(data, dtype=self.dtype)

    def all_elements(self) -> NDArray[Any]:
        """Every element of a small array, in its shape. Raises DataError for one that is not small."""
        if self.nbytes > SMALL_BYTES:
            raise DataError(self.name, f"takes {self.nbytes} bytes; at most {SMALL_BYTES} may be there")
        flat = self.elements(0, self.size)
        return flat.reshape(self.shape[::-1]).T if self.fortran_order else flat.reshape(self.shape)


def stored_array(stream: IO[bytes], name: str, stop: int) -> StoredArray:
    """The array at the stream's position. Format: numpy.lib.format. Raises DataError for anything else.

    ``stop`` is where the stream ends: a header that promises more is refused before memory is asked for.
    """
    try:
        version = np.lib.format.read_magic(stream)
        read = _header_reader(stream, version)
        shape, fortran_order, dtype = read(stream)
    except (OSError, DataUnreachable):
        raise
    except Exception as error:  # the header is a Python literal: reading a hostile one may raise anything
        raise DataError(name, f"can't be read as a numpy array: {error}") from error
    array = StoredArray(stream, stream.tell(), shape, fortran_order, dtype, name)
    if min(shape, default=0) < 0 or not 0 < dtype.itemsize <= MAX_ITEM_BYTES:
        raise DataError(name, f"can't be read as a numpy array: it is {dtype} of shape {shape}")
    if array.nbytes > stop - array.data_start and not dtype.hasobject:
        raise DataError(name, f"is cut short: its header promises {shape} of {dtype}")
    return array


def _header_reader(stream: IO[bytes], version: tuple[int, int]) -> Any:
    """What reads the header of a version; numpy asks for as much memory as that says that it takes before it looks."""
    read = _HEADERS.get(version)
    if read is None:
        raise ValueError(f"format version {version} is not known")
    if version == (1, 0):
        return read
    at = stream.tell()
    length = int.from_bytes(stream.read(4), "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"a header of {length} bytes is none")
    stream.seek(at)
    return read


def checked_matrix(array: StoredArray) -> StoredArray:
    """The array, if it is 2-D and numeric. Raises DataError."""
    if len(array.shape) != 2 or array.dtype.kind not in "biuf":
        raise DataError(
            array.name, f"must be a 2-D array of numbers; it is {len(array.shape)}-D of {array.dtype}"
        )
    if array.shape[1] > MAX_COLUMNS:
        raise DataError(array.name, f"has {array.shape[1]} columns; at most {MAX_COLUMNS} may be")
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


def numbers_or_texts(values: NDArray[Any], name: str) -> NDArray[Any]:
    """A column as float64, or as an object array of str. Raises DataError for bytes that are no text."""
    if values.dtype.kind not in "US":
        return values.astype(np.float64)
    texts = np.empty(len(values), dtype=object)
    try:
        if values.dtype.kind == "U":
            _check_characters(values)
            texts[:] = values.tolist()
        else:
            texts[:] = np.char.decode(values, "utf-8").tolist()
    except UnicodeError as error:
        raise DataError(name, f"holds bytes that are no text: {error}") from error
    return texts


def _check_characters(values: NDArray[np.str_]) -> None:
    """numpy keeps four bytes a character, whatever they are; Python takes some for a defect of ours."""
    codes = values.astype(values.dtype.newbyteorder("=")).reshape(-1).view(np.uint32)
    if len(codes) and (codes.max() > MAX_CHARACTER or ((codes >= 0xD800) & (codes < 0xE000)).any()):
        raise UnicodeError("some are no characters of Unicode")

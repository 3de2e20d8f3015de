"""NPY and NPZ: arrays whose rows are found by arithmetic. A stored member is sought, a deflated one read through.

Arrays of Python objects are refused: nothing here unpickles.
"""

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from gradloom.data.manifest import Columns, DataFile, Piece
from gradloom.data.sources.opening import fingerprint, open_file, size_of
from gradloom.data.sources.source import Column, FileScan, Part
from gradloom.errors import DataError

BLOCK_BYTES = 8 << 20
MATRIX_NAMES = ("X", "x", "data", "features")
TARGET_NAMES = ("y", "target", "labels")


@dataclass(frozen=True, slots=True)
class _Array:
    """The header of one array and the stream that holds its elements."""

    stream: IO[bytes]
    data_start: int
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    name: str
    """File, and member of it, for messages."""

    def elements(self, first: int, count: int) -> NDArray[Any]:
        """``count`` elements from the ``first``-th on, in the order of the file."""
        self.stream.seek(self.data_start + first * self.dtype.itemsize)
        data = self.stream.read(count * self.dtype.itemsize)
        if len(data) != count * self.dtype.itemsize:
            raise DataError(self.name, f"is cut short: its header promises {self.shape} of {self.dtype}")
        return np.frombuffer(data, dtype=self.dtype)


class NpySource:
    """One 2-D numeric array; its columns are named "0", "1", ... and the target is one of them."""

    format: ClassVar[str] = "npy"

    def scan(self, uri: str) -> FileScan:
        """Read the header."""
        with open_file(uri) as file:
            matrix = _checked_matrix(_header(file, uri))
            size = size_of(file)
            if size < matrix.data_start + matrix.dtype.itemsize * matrix.shape[0] * matrix.shape[1]:
                raise DataError(uri, f"is cut short: its header promises {matrix.shape} of {matrix.dtype}")
            return FileScan(matrix.shape[0], size, fingerprint(file), _columns(matrix), positional=True)

    def read(self, file: DataFile, piece: Piece, columns: Columns) -> Part:
        """Read the rows of the piece: all columns of them, for they lie side by side."""
        target = () if columns.target is None else (columns.target,)
        with open_file(file.uri) as opened:
            matrix = _checked_matrix(_header(opened, file.uri))
            values = _rows(matrix, piece, (*_given(columns), *target))
        y = None if columns.target is None else values[:, -1].copy()
        return _part(values, columns, y)


class NpzSource:
    """An archive with X (2-D, numeric) and, if it carries a target, y (1-D, numbers or text)."""

    format: ClassVar[str] = "npz"

    def scan(self, uri: str) -> FileScan:
        """Read the headers of X and y."""
        with open_file(uri) as file:
            with _archive(file, uri) as archive:
                x_name, y_name = _members(archive, uri)
                with _member(archive, file, x_name, uri) as opened:
                    matrix = _checked_matrix(opened)
                own = None if y_name is None else _scan_target(archive, file, y_name, matrix.shape[0], uri)
            return FileScan(
                rows=matrix.shape[0],
                size_bytes=size_of(file),
                fingerprint=fingerprint(file),
                columns=_columns(matrix),
                own_target=own,
                positional=True,
            )

    def read(self, file: DataFile, piece: Piece, columns: Columns) -> Part:
        """Read the rows of the piece from X, and from y where the target is the file's own."""
        with open_file(file.uri) as opened, _archive(opened, file.uri) as archive:
            x_name, y_name = _members(archive, file.uri)
            own = columns.target is not None and y_name is not None
            in_matrix = () if own or columns.target is None else (columns.target,)
            with _member(archive, opened, x_name, file.uri) as member:
                values = _rows(_checked_matrix(member), piece, (*_given(columns), *in_matrix))
            if own:
                with _member(archive, opened, cast("str", y_name), file.uri) as member:
                    return _part(
                        values, columns, _target_values(member.elements(piece.row_start, piece.rows))
                    )
            return _part(values, columns, values[:, -1].copy() if in_matrix else None)


def _given(columns: Columns) -> tuple[str, ...]:
    return columns.features if columns.weight is None else (*columns.features, columns.weight)


def _part(values: NDArray[np.float64], columns: Columns, y: NDArray[Any] | None) -> Part:
    """``values`` holds features, then the weight where there is one, then whatever is ``y`` already."""
    d = len(columns.features)
    weight = None if columns.weight is None else values[:, d].copy()
    return Part(np.ascontiguousarray(values[:, :d]), y, weight)


def _header(stream: IO[bytes], name: str) -> _Array:
    """Parse the NPY header at the stream's position. Format: numpy.lib.format."""
    try:
        version = np.lib.format.read_magic(stream)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran_order, dtype = read(stream)
    except ValueError as error:
        raise DataError(name, f"can't be read as a numpy array: {error}") from error
    return _Array(stream, stream.tell(), shape, fortran_order, dtype, name)


def _checked_matrix(array: _Array) -> _Array:
    if len(array.shape) != 2 or array.dtype.kind not in "biuf":
        raise DataError(
            array.name, f"must be a 2-D array of numbers; it is {len(array.shape)}-D of {array.dtype}"
        )
    return array


def _columns(matrix: _Array) -> dict[str, Column]:
    names = map(str, range(matrix.shape[1]))
    return {name: Column(name, "numeric", str(matrix.dtype)) for name in names}


def _positions(matrix: _Array, names: Sequence[str]) -> NDArray[np.int64]:
    known = {str(j): j for j in range(matrix.shape[1])}
    for name in names:
        if name not in known:
            raise DataError(
                f"column {name!r}", f"is not in {matrix.name}, whose columns are 0 to {len(known) - 1}"
            )
    return np.array([known[name] for name in names], dtype=np.int64)


def _rows(matrix: _Array, piece: Piece, names: Sequence[str]) -> NDArray[np.float64]:
    """The named columns of the rows of a piece; shape (rows, len(names))."""
    wanted = _positions(matrix, names)
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


def _target_values(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind not in "US":
        return values.astype(np.float64)
    texts = np.empty(len(values), dtype=object)
    texts[:] = (np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values).tolist()
    return texts


@contextmanager
def _archive(file: BinaryIO, uri: str) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except zipfile.BadZipFile as error:
        raise DataError(uri, f"can't be read as NPZ: {error}") from error


def _members(archive: zipfile.ZipFile, uri: str) -> tuple[str, str | None]:
    """The names of the arrays that are X and y."""
    there = {name.removesuffix(".npy") for name in archive.namelist()}
    x_name = next((name for name in MATRIX_NAMES if name in there), None)
    if x_name is None:
        raise DataError(
            uri,
            f"holds no array named {', '.join(MATRIX_NAMES)}; it holds {', '.join(sorted(there)) or 'none'}",
        )
    return x_name, next((name for name in TARGET_NAMES if name in there), None)


@contextmanager
def _member(archive: zipfile.ZipFile, file: BinaryIO, name: str, uri: str) -> Iterator[_Array]:
    """One array of the archive, ready to be read."""
    info = archive.getinfo(f"{name}.npy")
    title = f"{uri}[{name}]"
    if info.compress_type == zipfile.ZIP_STORED:
        file.seek(_stored_start(file, info))
        yield _header(file, title)
    else:
        with archive.open(info) as stream:
            yield _header(stream, title)


def _stored_start(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Where the bytes of a stored member begin. Format: PKWARE APPNOTE 4.3.7, local file header."""
    file.seek(info.header_offset + 26)
    lengths = file.read(4)
    return (
        info.header_offset
        + 30
        + int.from_bytes(lengths[:2], "little")
        + int.from_bytes(lengths[2:], "little")
    )


def _scan_target(archive: zipfile.ZipFile, file: BinaryIO, name: str, rows: int, uri: str) -> Column:
    with _member(archive, file, name, uri) as target:
        if target.shape != (rows,) or target.dtype.kind not in "biufUS":
            raise DataError(
                target.name,
                f"must be a 1-D array of {rows} numbers or texts, one a row of X; "
                f"it is {target.dtype} of shape {target.shape}",
            )
        return Column(name, "text" if target.dtype.kind in "US" else "numeric", str(target.dtype))

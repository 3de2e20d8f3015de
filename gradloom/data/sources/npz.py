"""NPZ: arrays in one archive. A stored member is sought, a deflated one read through; Python objects are refused.

::

    X                               (n, d) numbers; or scipy.sparse.save_npz's data, indices, indptr, shape, format
    y | target | labels             (n,) numbers or text: the target that the file carries
    sample_weight | weight          (n,) numbers: read where a job names it as its weight, never a feature
    feature_names                   (d,) text; without it the columns are named "0", "1", ...
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

from gradloom.data.allowed import EVERYTHING, DataAllowed
from gradloom.data.manifest import Columns, DataFile, Piece
from gradloom.data.sources.csr import CSR_NAMES, CsrMatrix
from gradloom.data.sources.npy_array import (
    StoredArray,
    checked_matrix,
    numbers_or_texts,
    positions,
    rows_of,
    stored_array,
)
from gradloom.data.sources.opening import fingerprint, open_file, size_of
from gradloom.data.sources.source import Column, FileScan, Part, by_name
from gradloom.errors import DataError

MATRIX_NAMES = ("X", "x", "data", "features")
TARGET_NAMES = ("y", "target", "labels")
WEIGHT_NAMES = ("sample_weight", "weight")
COLUMNS_NAME = "feature_names"
MAX_RATIO = 1032
"""Deflate can't shrink anything further: a member that says so is there to have memory asked for."""
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError),
    *(ValueError, KeyError, OverflowError),
)
"""What zipfile raises for archives that are damaged, encrypted, or of a kind that it can't read."""


class NpzSource:
    """An archive with a matrix and, if it carries them, a target, weights and the names of its columns."""

    format: ClassVar[str] = "npz"

    def scan(self, uri: str, allowed: DataAllowed = EVERYTHING) -> FileScan:
        """Read the headers of the members, and the names of the columns."""
        with open_file(uri, allowed) as file:
            with _archive(file, uri) as archive:
                rows, width, type_name = archive.matrix_shape()
                names = archive.column_names(width)
                positional = names is None
                columns = [Column(name, "numeric", type_name) for name in names or map(str, range(width))]
                target = archive.column(archive.find(TARGET_NAMES), rows, "biufUS")
                weight = archive.column(archive.find(WEIGHT_NAMES), rows, "biuf")
            named = by_name([*columns, *([] if weight is None else [weight])], uri)
            return FileScan(
                rows=rows,
                size_bytes=size_of(file),
                fingerprint=fingerprint(file),
                columns={column.name: named[column.name] for column in columns},
                own_target=target,
                positional=positional,
                own_weight=weight,
            )

    def read(self, file: DataFile, piece: Piece, columns: Columns, allowed: DataAllowed = EVERYTHING) -> Part:
        """Read the rows of the piece from the matrix, and target and weight from where they are."""
        with open_file(file.uri, allowed) as opened, _archive(opened, file.uri) as archive:
            own = {archive.find(TARGET_NAMES), archive.find(WEIGHT_NAMES)} - {None}
            others = [name for name in (columns.target, columns.weight) if name is not None]
            in_matrix = [name for name in others if name not in own]
            values = archive.rows(piece, (*columns.features, *in_matrix))
            found: dict[str | None, NDArray[Any]] = {
                name: archive.slice(name, piece) for name in others if name in own
            }
        d = len(columns.features)
        found.update({name: values[:, d + k].copy() for k, name in enumerate(in_matrix)})
        return Part(np.ascontiguousarray(values[:, :d]), found.get(columns.target), found.get(columns.weight))


@dataclass(frozen=True, slots=True)
class _Archive:
    """An open archive: which member plays which part, and how to get at their elements."""

    uri: str
    file: BinaryIO
    zip: zipfile.ZipFile
    members: frozenset[str]

    def find(self, names: tuple[str, ...]) -> str | None:
        """The first of these members that is there."""
        return next((name for name in names if name in self.members), None)

    @property
    def is_sparse(self) -> bool:
        """Whether it holds what scipy.sparse.save_npz writes."""
        return self.members.issuperset(CSR_NAMES)

    def matrix_shape(self) -> tuple[int, int, str]:
        """Rows, columns and type of the matrix. Raises DataError if there is none, or none that can be read."""
        if self.is_sparse:
            return self._csr().checked_shape()
        with self.member(self._matrix_name()) as stored:
            matrix = checked_matrix(stored)
        return matrix.shape[0], matrix.shape[1], str(matrix.dtype)

    def column_names(self, width: int) -> list[str] | None:
        """The names that the file gives its columns; None if it gives none."""
        if COLUMNS_NAME not in self.members:
            return None
        with self.member(COLUMNS_NAME) as stored:
            if stored.shape != (width,) or stored.dtype.kind not in "US":
                raise DataError(
                    stored.name,
                    f"must be a 1-D array of {width} texts, one a column of the matrix; "
                    f"it is {stored.dtype} of shape {stored.shape}",
                )
            return [str(name) for name in numbers_or_texts(stored.all_elements(), stored.name)]

    def column(self, name: str | None, rows: int, kinds: str) -> Column | None:
        """A member as a column with one value a row. Raises DataError if it is of another shape or type."""
        if name is None:
            return None
        with self.member(name) as stored:
            if stored.shape != (rows,) or stored.dtype.kind not in kinds:
                what = "numbers or texts" if "U" in kinds else "numbers"
                raise DataError(
                    stored.name,
                    f"must be a 1-D array of {rows} {what}, one a row of X; "
                    f"it is {stored.dtype} of shape {stored.shape}",
                )
            return Column(name, "text" if stored.dtype.kind in "US" else "numeric", str(stored.dtype))

    def rows(self, piece: Piece, wanted: tuple[str, ...]) -> NDArray[np.float64]:
        """The named columns of the rows of a piece; shape (rows, len(wanted))."""
        _, width, _ = self.matrix_shape()
        names = self.column_names(width) or list(map(str, range(width)))
        chosen = positions(names, wanted, self.uri)
        if self.is_sparse:
            return self._csr().rows_of(piece, chosen)
        with self.member(self._matrix_name()) as stored:
            return rows_of(checked_matrix(stored), piece, chosen)

    def slice(self, name: str, piece: Piece) -> NDArray[Any]:
        """One value for each row of the piece."""
        with self.member(name) as stored:
            return numbers_or_texts(stored.elements(piece.row_start, piece.rows), stored.name)

    @contextmanager
    def member(self, name: str) -> Iterator[StoredArray]:
        """One array of the archive, ready to be read."""
        info = self.zip.getinfo(f"{name}.npy")
        title = f"{self.uri}[{name}]"
        if info.header_offset < 0:
            raise DataError(title, "begins before the archive")
        if info.compress_type == zipfile.ZIP_STORED:
            start, end = _stored_start(self.file, info), size_of(self.file)
            self.file.seek(start)
            yield stored_array(self.file, title, min(start + info.file_size, end))
        elif info.compress_type == zipfile.ZIP_DEFLATED:
            if info.file_size > MAX_RATIO * min(info.compress_size, size_of(self.file)):
                raise DataError(title, f"can't be {info.file_size} bytes, deflated to {info.compress_size}")
            with self.zip.open(info) as stream:
                yield stored_array(stream, title, info.file_size)
        else:
            raise DataError(title, "is neither stored nor deflated; numpy.savez_compressed deflates")

    def _csr(self) -> CsrMatrix:
        return CsrMatrix(self.uri, self.member)

    def _matrix_name(self) -> str:
        name = self.find(MATRIX_NAMES)
        if name is None:
            there = ", ".join(sorted(self.members)) or "none"
            raise DataError(self.uri, f"holds no array named {', '.join(MATRIX_NAMES)}; it holds {there}")
        return name


@contextmanager
def _archive(file: BinaryIO, uri: str) -> Iterator[_Archive]:
    try:
        with zipfile.ZipFile(file) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            yield _Archive(uri, file, archive, frozenset(name.removesuffix(".npy") for name in names))
    except _ZIP_ERRORS as error:
        raise DataError(uri, f"can't be read as NPZ: {error or type(error).__name__}") from error


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

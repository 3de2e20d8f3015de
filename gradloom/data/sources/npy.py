"""NPY: one array whose rows are found by arithmetic."""

from typing import BinaryIO, ClassVar

import numpy as np

from gradloom.data.allowed import EVERYTHING, DataAllowed
from gradloom.data.manifest import Columns, DataFile, Piece
from gradloom.data.sources.npy_array import StoredArray, checked_matrix, positions, rows_of, stored_array
from gradloom.data.sources.opening import fingerprint, open_file, size_of
from gradloom.data.sources.source import Column, FileScan, Part


class NpySource:
    """One 2-D numeric array; its columns are named "0", "1", ... and the target is one of them."""

    format: ClassVar[str] = "npy"

    def scan(self, uri: str, allowed: DataAllowed = EVERYTHING) -> FileScan:
        """Read the header."""
        with open_file(uri, allowed) as file:
            matrix, size = _matrix(file, uri), size_of(file)
            columns = {name: Column(name, "numeric", str(matrix.dtype)) for name in _names(matrix)}
            return FileScan(matrix.shape[0], size, fingerprint(file), columns, positional=True)

    def read(self, file: DataFile, piece: Piece, columns: Columns, allowed: DataAllowed = EVERYTHING) -> Part:
        """Read the rows of the piece: all columns of them, for they lie side by side."""
        others = tuple(name for name in (columns.weight, columns.target) if name is not None)
        with open_file(file.uri, allowed) as opened:
            matrix = _matrix(opened, file.uri)
            wanted = positions(_names(matrix), (*columns.features, *others), file.uri)
            values = rows_of(matrix, piece, wanted)
        d = len(columns.features)
        return Part(
            X=np.ascontiguousarray(values[:, :d]),
            y=None if columns.target is None else values[:, -1].copy(),
            weight=None if columns.weight is None else values[:, d].copy(),
        )


def _matrix(file: BinaryIO, uri: str) -> StoredArray:
    size = size_of(file)
    file.seek(0)
    return checked_matrix(stored_array(file, uri, size))


def _names(matrix: StoredArray) -> list[str]:
    return list(map(str, range(matrix.shape[1])))

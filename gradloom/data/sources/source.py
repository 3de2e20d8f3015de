"""What a file format has to offer: a look at a whole file, and the rows of one piece of it.

Values and one Protocol only. Which format reads which file is decided in the package's ``source_for``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gradloom.data.allowed import EVERYTHING, DataAllowed
from gradloom.data.manifest import Columns, DataFile, Piece
from gradloom.data.sources.row_index import RowIndex
from gradloom.errors import DataError

MAX_INDEX_DIGITS = 10

Kind = Literal["numeric", "text", "other"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a file: what it can be used for, and what its type is called in messages."""

    name: str
    kind: Kind
    type_name: str


@dataclass(frozen=True, slots=True)
class FileScan:
    """What planning needs to know of one file."""

    rows: int
    size_bytes: int
    fingerprint: str
    columns: Mapping[str, Column]
    """Every column by name, in order, but the file's own target; empty where ``indices`` says it all."""
    own_target: Column | None = None
    """The target that the format itself carries, apart from the columns."""
    row_index: RowIndex | None = None
    """Where rows begin, in text formats."""
    indices: range | None = None
    """Sparse formats: smallest to largest feature index that occurs. Any other index is a column of zeros."""
    positional: bool = False
    """Whether columns are named by their position, so that files of another width do not fit together."""
    own_weight: Column | None = None
    """Weights that the format itself carries, apart from the columns: used where they are named, never a feature."""

    def column(self, name: str) -> Column | None:
        """The column of that name, or None."""
        if self.own_weight is not None and name == self.own_weight.name:
            return self.own_weight
        if self.indices is None:
            return self.columns.get(name)
        is_index = (
            name.isascii() and name.isdigit() and len(name) <= MAX_INDEX_DIGITS and str(int(name)) == name
        )
        return Column(name, "numeric", "sparse float") if is_index else None


def by_name(columns: Iterable[Column], uri: str) -> dict[str, Column]:
    """Columns by their names. Raises DataError where two share one."""
    named: dict[str, Column] = {}
    for column in columns:
        if column.name in named:
            raise DataError(uri, f"has more than one column named {column.name!r}")
        named[column.name] = column
    return named


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The rows of one piece; fields as in ``RawShard``."""

    X: NDArray[np.float64]  # (n, d), C-contiguous
    y: NDArray[Any] | None  # (n,)
    weight: NDArray[np.float64] | None  # (n,)


class Source(Protocol):
    """One file format. Everything is opened through fsspec; only what is asked for is read."""

    format: ClassVar[str]
    """Its name in a manifest."""

    def scan(self, uri: str, allowed: DataAllowed = EVERYTHING) -> FileScan:
        """Look at a whole file once, in bounded memory.

        Raises DataError if it is missing, empty of meaning, cut short or of another format.
        """
        ...

    def read(self, file: DataFile, piece: Piece, columns: Columns, allowed: DataAllowed = EVERYTHING) -> Part:
        """Read the rows of ``piece``: features in the order of ``columns``, target and weight where named.

        Raises DataError naming the column, row and value of a cell that can't be understood.
        """
        ...

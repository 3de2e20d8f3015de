"""The manifest: which rows of which files make which shard. It fixes the shards whatever the workers.

Values only: sources fill it, ``gradloom.wire`` carries it, ``gradloom.data.reading`` reads by it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive rows of one file that belong to one shard.

    Text formats are read by bytes: parse ``[byte_start, byte_stop)``, leave out the first ``skip_rows`` rows,
    keep ``rows``. Binary formats are read by ``row_start`` and ``rows``; their byte fields are 0.
    """

    file: int
    """Index into ``Manifest.files``."""
    row_start: int
    """First row, counted within the file."""
    rows: int
    byte_start: int = 0
    byte_stop: int = 0
    skip_rows: int = 0


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of the data set."""

    uri: str
    format: str
    """``parquet``, ``csv``, ``npy``, ``npz`` or ``svmlight``."""
    rows: int
    size_bytes: int
    fingerprint: str
    """Hash of size, first and last 64 KiB: the same wherever the same file is mounted."""


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """Where the rows of one shard are."""

    index: int
    first_row: int
    """Position of its first row in the whole data set."""
    rows: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns play which part. A format with a target of its own has ``target`` None or its own name."""

    features: tuple[str, ...]
    target: str | None
    weight: str | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """A data set, fixed: files, columns and shards."""

    files: tuple[DataFile, ...]
    columns: Columns
    shards: tuple[ShardPlan, ...]

    @property
    def rows(self) -> int:
        """Rows of the whole data set."""
        return sum(file.rows for file in self.files)

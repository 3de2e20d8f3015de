"""Parquet: read by the row groups that overlap a piece, and only the columns that are needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gradloom.data.allowed import EVERYTHING, DataAllowed
from gradloom.data.manifest import Columns, DataFile, Piece
from gradloom.data.sources.arrow_values import as_target, columns_read, kind_of, part_of
from gradloom.data.sources.opening import fingerprint, open_file, size_of
from gradloom.data.sources.source import Column, FileScan, Part, by_name
from gradloom.errors import DataError

BATCH_ROWS = 1 << 14


class ParquetSource:
    """Apache Parquet. A null is a missing cell; booleans are 0 and 1."""

    format: ClassVar[str] = "parquet"

    def scan(self, uri: str, allowed: DataAllowed = EVERYTHING) -> FileScan:
        """Read the footer only."""
        with open_file(uri, allowed) as file, _opened(file, uri) as parquet:
            schema = parquet.schema_arrow
            return FileScan(
                rows=parquet.metadata.num_rows,
                columns=by_name(
                    (Column(field.name, kind_of(field.type), str(field.type)) for field in schema), uri
                ),
                fingerprint=fingerprint(file),
                size_bytes=size_of(file),
            )

    def read(self, file: DataFile, piece: Piece, columns: Columns, allowed: DataAllowed = EVERYTHING) -> Part:
        """Decode the overlapping row groups in batches and keep the rows of the piece."""
        names = columns_read(columns)
        with open_file(file.uri, allowed) as opened, _opened(opened, file.uri) as parquet:
            _require(parquet.schema_arrow, names, file.uri)
            batches = list(_batches(parquet, piece, names))
        table = pa.Table.from_batches(batches, schema=batches[0].schema if batches else pa.schema([]))
        if table.num_rows != piece.rows:
            raise DataError(
                file.uri, f"holds {table.num_rows} of {piece.rows} rows from {piece.row_start} on"
            )
        y = None if columns.target is None else as_target(table[columns.target], columns.target, file.uri)
        return part_of(table, columns, y, file.uri)


@contextmanager
def _opened(file: BinaryIO, uri: str) -> Iterator[Any]:
    try:
        with pq.ParquetFile(file, pre_buffer=True) as parquet:
            yield parquet
    except OSError as error:
        if error.errno is not None:  # the storage's; Arrow's own words for a damaged file have no number
            raise
        raise DataError(uri, f"can't be read as Parquet: {error}") from error
    except MemoryError:
        raise
    except (pa.ArrowException, ValueError, OverflowError) as error:  # ValueError: names that are no UTF-8
        raise DataError(uri, f"can't be read as Parquet: {error}") from error


def _require(schema: Any, names: list[str], uri: str) -> None:
    there = set(schema.names)
    for name in names:
        if name not in there:
            raise DataError(f"column {name!r}", f"is not in {uri}")


def _batches(parquet: Any, piece: Piece, names: list[str]) -> Iterator[Any]:
    """Record batches that together hold exactly the rows of the piece."""
    counts = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
    stops = np.cumsum(counts, dtype=np.int64)
    stop_row = piece.row_start + piece.rows
    first = int(np.searchsorted(stops, piece.row_start, side="right"))
    last = int(np.searchsorted(stops, stop_row, side="left"))
    at = int(stops[first - 1]) if first else 0
    groups = range(first, min(last + 1, len(counts)))
    for batch in parquet.iter_batches(BATCH_ROWS, row_groups=list(groups), columns=names, use_threads=False):
        lo, hi = max(piece.row_start - at, 0), min(stop_row - at, batch.num_rows)
        if lo < hi:
            yield batch.slice(lo, hi - lo)
        at += batch.num_rows
        if at >= stop_row:
            return

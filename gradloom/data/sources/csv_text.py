"""CSV (RFC 4180, comma, header line): cut at row starts that a scan has found, parsed by Arrow.

Workers parse the bytes of their own piece only. Types are never guessed when rows are read: features are numbers
and the target is text that may be numbers, whatever the piece.
"""

import csv
import io
from codecs import BOM_UTF8
from typing import Any, BinaryIO, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from gradloom.data.allowed import EVERYTHING, DataAllowed
from gradloom.data.manifest import Columns, DataFile, Piece
from gradloom.data.sources.arrow_values import columns_read, kind_of, parse_labels, part_of
from gradloom.data.sources.cells import is_number
from gradloom.data.sources.csv_rows import row_starts
from gradloom.data.sources.opening import blocks, fingerprint, open_file, read_exactly, size_of
from gradloom.data.sources.row_index import RowIndex, RowIndexBuilder
from gradloom.data.sources.source import Column, FileScan, Part, by_name
from gradloom.errors import DataError

MISSING = ("", "NA", "NaN", "null")
SAMPLE_BYTES = 1 << 20
MAX_BLOCK_BYTES = 2**31 - 1
HEADER_BLOCK_BYTES = 64 << 10


class CsvSource:
    """CSV text. The cells ``""``, ``NA``, ``NaN`` and ``null`` are missing."""

    format: ClassVar[str] = "csv"

    def scan(self, uri: str, allowed: DataAllowed = EVERYTHING) -> FileScan:
        """Find every row, and what the columns hold in the first megabyte."""
        with open_file(uri, allowed) as file:
            names, data_start = _header(file, uri)
            index = RowIndexBuilder()
            for starts in row_starts(blocks(file, data_start), data_start, uri):
                index.add(starts)
            size = size_of(file)
            row_index = index.build(size)
            return FileScan(
                rows=index.rows,
                columns=by_name(_columns(_sample(file, row_index, uri), names, uri), uri),
                fingerprint=fingerprint(file),
                size_bytes=size,
                row_index=row_index,
            )

    def read(self, file: DataFile, piece: Piece, columns: Columns, allowed: DataAllowed = EVERYTHING) -> Part:
        """Parse the bytes of the piece and keep its rows."""
        with open_file(file.uri, allowed) as opened:
            names, _ = _header(opened, file.uri)
            opened.seek(piece.byte_start)
            data = read_exactly(opened, piece.byte_stop - piece.byte_start, file.uri)
        for missing in sorted(set(columns_read(columns)) - set(names)):
            raise DataError(f"column {missing!r}", f"is not in {file.uri}")
        table = _parse_piece(data, names, columns, piece, file.uri)
        rows = table.slice(piece.skip_rows, piece.rows)
        if rows.num_rows != piece.rows:
            raise DataError(file.uri, f"holds {rows.num_rows} of {piece.rows} rows from {piece.row_start} on")
        y = None if columns.target is None else parse_labels(rows[columns.target])
        return part_of(rows, columns, y, file.uri)


def _header(file: BinaryIO, uri: str) -> tuple[list[str], int]:
    """Column names, and the offset where the rows begin."""
    file.seek(0)
    start = len(BOM_UTF8) if file.read(len(BOM_UTF8)) == BOM_UTF8 else 0
    starts: list[int] = []
    for found in row_starts(blocks(file, start, HEADER_BLOCK_BYTES), start, uri):
        starts.extend(found[:2].tolist())
        if len(starts) > 1:
            break
    if not starts:
        raise DataError(uri, "is empty; a header line with the names of the columns is required")
    stop = starts[1] if len(starts) > 1 else size_of(file)
    file.seek(starts[0])
    return _names(read_exactly(file, stop - starts[0], uri), uri), stop


def _names(header: bytes, uri: str) -> list[str]:
    try:
        text = header.decode()
    except UnicodeDecodeError as error:
        raise DataError(uri, f"is not UTF-8 text: {error.reason} at byte {error.start}") from error
    try:
        names = next(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise DataError(uri, f"has a header line that can't be read: {error}") from error
    if len(names) == 1 and (separator := next((mark for mark in ";\t|" if mark in names[0]), None)):
        raise DataError(uri, f"seems to be separated by {separator!r}; fields must be separated by commas")
    if "" in names:
        raise DataError(uri, f"column {names.index('') + 1} has no name in the header line")
    return names


def _sample(file: BinaryIO, index: RowIndex, uri: str) -> bytes:
    """The rows of the first megabyte, at least one."""
    if not len(index.offsets):
        return b""
    start = int(index.offsets[0])
    entry = max(1, int(np.searchsorted(index.offsets, start + SAMPLE_BYTES, side="right")) - 1)
    stop = int(index.offsets[entry]) if entry < len(index.offsets) else index.stop
    file.seek(start)
    return read_exactly(file, stop - start, uri)


def _columns(sample: bytes, names: list[str], uri: str) -> tuple[Column, ...]:
    """Name and kind of every column, judged by the sample."""
    if not sample:
        return tuple(_column(name, pa.null()) for name in names)
    # Arrow wants unique names; twins are refused later, with a sentence of our own.
    types = _parse(sample, [str(j) for j in range(len(names))], uri).schema.types
    return tuple(_column(name, type_) for name, type_ in zip(names, types, strict=True))


def _column(name: str, type_: Any) -> Column:
    numeric = kind_of(type_) == "numeric" and not pa.types.is_boolean(type_)
    return Column(name, "numeric" if numeric else "text", "text" if pa.types.is_string(type_) else str(type_))


def _parse(data: bytes, names: list[str], uri: str, types: dict[str, Any] | None = None) -> Any:
    """An Arrow table of the columns in ``types``, or of all columns with types guessed."""
    try:
        return pa_csv.read_csv(
            pa.BufferReader(data),
            # One block where Arrow can: then no row is too long to lie in one.
            read_options=pa_csv.ReadOptions(
                column_names=names, use_threads=False, block_size=min(len(data), MAX_BLOCK_BYTES)
            ),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                column_types=types,
                include_columns=None if types is None else list(types),
                null_values=list(MISSING),
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:
        raise DataError(uri, f"can't be read as CSV: {error}") from error


def _parse_piece(data: bytes, names: list[str], columns: Columns, piece: Piece, uri: str) -> Any:
    types = dict.fromkeys(columns_read(columns), pa.float64())
    if columns.target is not None:
        types[columns.target] = pa.string()
    try:
        return _parse(data, names, uri, types)
    except DataError:
        _blame_cell(_parse(data, names, uri, dict.fromkeys(types, pa.string())), columns, piece, uri)
        raise


def _blame_cell(texts: Any, columns: Columns, piece: Piece, uri: str) -> None:
    """Raise a DataError that names the first cell that is not a number, if there is one."""
    for name in columns_read(columns):
        if name == columns.target:
            continue
        for row, text in enumerate(texts[name].to_pylist(), piece.row_start - piece.skip_rows):
            if text is not None and not is_number(text.strip()):
                raise DataError(
                    f"column {name!r}",
                    f"row {row} of {uri} (counted from 0) holds {text!r}, which is not a number; "
                    "leave the column out with --features, or encode it first",
                )

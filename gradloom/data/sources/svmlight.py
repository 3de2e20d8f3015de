"""svmlight / libsvm text: ``label index:value ...``, sparse in the file, dense in memory.

A feature is named by the index that the file writes for it, so that the same name means the same feature in
every file, however few of its indices a file happens to hold.
"""

from collections.abc import Iterable, Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from gradloom.data.allowed import EVERYTHING, DataAllowed
from gradloom.data.manifest import Columns, DataFile, Piece
from gradloom.data.sources.opening import blocks, fingerprint, open_file, read_range, size_of
from gradloom.data.sources.row_index import RowIndexBuilder
from gradloom.data.sources.source import Column, FileScan, Part
from gradloom.data.sources.svmlight_rows import SparseRows, parse_rows
from gradloom.errors import DataError

TARGET = Column("target", "numeric", "float")
_NEWLINE, _COMMENT = b"\n"[0], b"#"[0]
_SPACES = np.frombuffer(b" \t\r\n\v\f", dtype=np.uint8)


class SvmlightSource:
    """Sparse rows with a numeric target of their own, named ``target``."""

    format: ClassVar[str] = "svmlight"

    def scan(self, uri: str, allowed: DataAllowed = EVERYTHING) -> FileScan:
        """Parse every line once: where rows begin, and which indices occur."""
        index = RowIndexBuilder()
        ends: list[int] = []
        with open_file(uri, allowed) as file:
            for lines, offset in _whole_lines(blocks(file, 0)):
                starts = _row_starts(lines)
                parsed = _parse(lines, uri)
                n = len(parsed.labels)
                assert n == len(starts), f"{uri}: {n} rows at {len(starts)} places"
                index.add(starts + offset)
                if len(parsed.indices):
                    ends += [int(parsed.indices.min()), int(parsed.indices.max())]
            size = size_of(file)
            return FileScan(
                rows=index.rows,
                size_bytes=size,
                fingerprint=fingerprint(file),
                columns={},
                own_target=TARGET,
                row_index=index.build(size),
                indices=range(min(ends), max(ends) + 1) if ends else range(0),
            )

    def read(self, file: DataFile, piece: Piece, columns: Columns, allowed: DataAllowed = EVERYTHING) -> Part:
        """Parse the bytes of the piece and spread its rows over the named features."""
        parsed = _parse(read_range(file.uri, piece.byte_start, piece.byte_stop, allowed), file.uri)
        stop = piece.skip_rows + piece.rows
        if len(parsed.labels) < stop:
            raise DataError(file.uri, f"holds too few rows from row {piece.row_start} on")
        wanted = columns.features if columns.weight is None else (*columns.features, columns.weight)
        rows = parsed.part(piece.skip_rows, stop)
        values = _dense(rows, np.array([int(name) for name in wanted], dtype=np.int64))
        d = len(columns.features)
        return Part(
            X=np.ascontiguousarray(values[:, :d]),
            y=None if columns.target is None else rows.labels.copy(),
            weight=None if columns.weight is None else values[:, d].copy(),
        )


def _whole_lines(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """Blocks cut again so that each ends with a line, with the offset of each."""
    offset, rest = 0, b""
    for piece in pieces:
        head, newline, tail = piece.rpartition(b"\n")
        if newline:
            lines = rest + head + newline
            yield lines, offset
            offset += len(lines)
            rest = tail
        else:
            rest += piece
    if rest:
        yield rest, offset


def _row_starts(lines: bytes) -> NDArray[np.int64]:
    """Offsets of the lines that hold a row: neither blank nor only a comment."""
    text = np.frombuffer(lines, dtype=np.uint8)
    starts = np.concatenate([np.zeros(1, np.int64), np.flatnonzero(text == _NEWLINE) + 1])
    starts = starts[starts < len(text)]
    inked = np.flatnonzero(~np.isin(text, _SPACES))
    first_ink = np.append(inked, len(text))[np.searchsorted(inked, starts)]
    line_stops = np.append(starts[1:], len(text))
    is_row = first_ink < line_stops
    is_row[is_row] = text[first_ink[is_row]] != _COMMENT
    return starts[is_row]


def _parse(lines: bytes, uri: str) -> SparseRows:
    try:
        return parse_rows(lines)
    except ValueError as error:
        raise DataError(uri, f"can't be read as svmlight: {error}") from error


def _dense(parsed: SparseRows, wanted: NDArray[np.int64]) -> NDArray[np.float64]:
    """The wanted indices as columns, in their order; an index that is absent is 0."""
    order = np.argsort(wanted)
    place = np.searchsorted(wanted[order], parsed.indices)
    known = place < len(wanted)
    known[known] = wanted[order][place[known]] == parsed.indices[known]
    rows = np.repeat(np.arange(len(parsed.labels)), np.diff(parsed.starts))
    out = np.zeros((len(parsed.labels), len(wanted)))
    out[rows[known], order[place[known]]] = parsed.values[known]
    return out

"""svmlight text -> sparse rows, a whole block at once: numpy finds the words, Arrow reads them as numbers. Pure.

::

    line = label [qid:number] {index:value} [# comment]

The indices of a row are whole numbers from 0 on, and rise. Lines without a label are no rows.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

MAX_INDEX = 2**31 - 1
SHOWN = 60
"""Characters of a refused word that are repeated."""

_SPACE, _COLON, _SIGN = 1, 2, 4
_KIND = np.zeros(256, dtype=np.uint8)
_KIND[list(b" \t\r\n\v\f")] = _SPACE
_KIND[list(b":")] = _COLON
_KIND[list(b"+-")] = _SIGN
_COMMENT = re.compile(rb"#[^\n]*")


@dataclass(frozen=True, slots=True, eq=False)
class SparseRows:
    """Rows by what is not left out of them."""

    labels: NDArray[np.float64]  # (n,)
    starts: NDArray[np.int64]  # (n + 1,) where the cells of each row begin
    indices: NDArray[np.int64]  # (cells,)
    values: NDArray[np.float64]  # (cells,)

    def part(self, first: int, stop: int) -> "SparseRows":
        """The rows ``[first, stop)``."""
        cells = slice(int(self.starts[first]), int(self.starts[stop]))
        starts = self.starts[first : stop + 1] - self.starts[first]
        return SparseRows(self.labels[first:stop], starts, self.indices[cells], self.values[cells])


def parse_rows(lines: bytes) -> SparseRows:
    """The rows of whole lines. Raises ValueError with what is wrong."""
    text = np.frombuffer(_COMMENT.sub(b"", lines) if b"#" in lines else lines, dtype=np.uint8)
    if (text > 127).any():
        raise ValueError("a byte beyond ASCII stands outside of comments")
    starts, stops = _words(text)
    is_label = _first_of_line(text, starts)
    is_value = np.append(False, _joined(text, starts, stops)) if len(starts) else is_label
    is_index = ~is_label & ~is_value
    if not np.array_equal(np.append(is_index[:-1], False), np.append(is_value[1:], False)) or (
        len(starts) and (is_index[-1] or is_value[0])
    ):
        raise ValueError("a row is a label and then words of the form index:value")
    if np.count_nonzero(is_value) != np.count_nonzero(text == ord(":")):
        raise ValueError("a ':' must stand between two numbers")
    queries = _queries(text, starts, stops, is_label)
    words = _texts(text, starts, stops)
    is_value[queries + 1] = is_index[queries] = False
    first_cell = np.cumsum(is_value, dtype=np.int64)[is_label]
    return SparseRows(
        labels=_numbers(words, is_label, pa.float64()),
        starts=np.append(first_cell, np.count_nonzero(is_value)),
        indices=_checked(_numbers(words, is_index, pa.int64()), first_cell),
        values=_numbers(words, is_value, pa.float64()),
    )


def _words(text: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each run of bytes that are neither space nor colon starts and stops."""
    ink = np.zeros(len(text) + 2, dtype=np.int8)
    ink[1:-1] = (_KIND[text] & (_SPACE | _COLON)) == 0
    change = np.diff(ink)
    return np.flatnonzero(change == 1), np.flatnonzero(change == -1)


def _first_of_line(text: NDArray[np.uint8], starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    line = np.searchsorted(np.flatnonzero(text == ord("\n")), starts)
    is_first: NDArray[np.bool_] = np.diff(line, prepend=-1) != 0
    return is_first


def _joined(
    text: NDArray[np.uint8], starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Of each word but the first: whether one colon alone stands before it and behind the one before."""
    joined: NDArray[np.bool_] = (text[stops[:-1]] == ord(":")) & (starts[1:] - stops[:-1] == 1)
    return joined


def _queries(
    text: NDArray[np.uint8],
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    is_label: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """The words ``qid`` that come right after a label: what they are followed by is not for us."""
    after = np.flatnonzero(is_label[:-1] & ~is_label[1:]) + 1
    three = after[stops[after] - starts[after] == 3]
    found: NDArray[np.int64] = three[
        (text[starts[three][:, None] + np.arange(3)] == np.frombuffer(b"qid", dtype=np.uint8)).all(axis=1)
    ]
    return found


def _texts(text: NDArray[np.uint8], starts: NDArray[np.int64], stops: NDArray[np.int64]) -> Any:
    """The words as an Arrow array, without the plus that a number may begin with: Arrow takes none there."""
    plus = (text[starts] == ord("+")) & (stops - starts > 1)
    if (_KIND[text[starts[plus] + 1]] == _SIGN).any():
        raise ValueError("a number has two signs")
    keep = (_KIND[text] & (_SPACE | _COLON)) == 0
    keep[starts[plus]] = False
    offsets = np.append(0, np.cumsum(stops - starts - plus, dtype=np.int64))
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(text[keep])]
    return pa.LargeStringArray.from_buffers(len(starts), buffers[1], buffers[2])


def _numbers(words: Any, which: NDArray[np.bool_], type_: Any) -> Any:
    try:
        return pc.cast(words.filter(pa.array(which)), type_).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid as error:
        quoted = re.search(r"string: '(.*)' as", str(error), re.DOTALL)
        word = quoted[1][:SHOWN] if quoted else "a word"
        kind = "whole number" if pa.types.is_integer(type_) else "number"
        raise ValueError(f"{word!r} is no {kind}, or too large") from None


def _checked(indices: NDArray[np.int64], first_cell: NDArray[np.int64]) -> NDArray[np.int64]:
    """Raise ValueError for indices that can be none, or that do not rise within a row."""
    if len(indices):
        if indices.min() < 0 or indices.max() > MAX_INDEX:
            bad = indices[(indices < 0) | (indices > MAX_INDEX)][0]
            raise ValueError(f"the index {bad} is not allowed; it must lie in [0, {MAX_INDEX}]")
        rises = np.diff(indices, prepend=-1) > 0
        rises[first_cell[first_cell < len(indices)]] = True
        if not rises.all():
            raise ValueError("the indices of a row must be sorted, each once")
    return indices

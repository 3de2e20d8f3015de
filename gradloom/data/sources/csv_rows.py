"""Where the rows of a CSV text begin, found block by block and never by parsing fields.

RFC 4180: a newline ends a row where an even number of quotes stands before it. This holds only while every quote
opens or closes a whole field, so any other quote is refused here rather than misread later. Pure: bytes in,
offsets out.
"""

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from gradloom.errors import DataError

_NEWLINE, _RETURN, _QUOTE = b"\n"[0], b"\r"[0], b'"'[0]
_BEFORE_OPENING = np.frombuffer(b',\n"', dtype=np.uint8)
_AFTER_CLOSING = np.frombuffer(b',\n\r"', dtype=np.uint8)


def row_starts(blocks: Iterable[bytes], base: int, uri: str) -> Iterator[NDArray[np.int64]]:
    """Offsets in the file of every row that is not blank; ``blocks`` begin at a row, at offset ``base``.

    A row may end in LF, CRLF or with the file. Raises DataError for a quote inside an unquoted field, a quote
    that is never closed and a bare carriage return.
    """
    # Three bytes are kept between blocks: the one before, and two that wait for the bytes after them. The text
    # begins as if a line had just ended, and ends with two newlines so that its last bytes have bytes after them.
    tail, quotes_before = b"\n\n", 0
    position = base - len(tail)
    for block in chain(blocks, [b"\n\n"]):
        window = np.frombuffer(tail + block, dtype=np.uint8)
        starts, n_quotes = _scan(window, quotes_before, position, uri)
        if len(starts):
            yield starts
        quotes_before += n_quotes
        position += len(window) - 3
        tail = window[-3:].tobytes()
    if quotes_before % 2:
        raise DataError(uri, "ends inside a quoted field: a quote is opened and never closed")


def _scan(
    window: NDArray[np.uint8], quotes_before: int, position: int, uri: str
) -> tuple[NDArray[np.int64], int]:
    """Row starts behind the newlines in ``window[1:-2]``, and the number of quotes there."""
    middle = window[1:-2]
    quotes = np.flatnonzero(middle == _QUOTE) + 1
    _check_quotes(window, quotes, quotes_before, position, uri)
    newlines = np.flatnonzero(middle == _NEWLINE) + 1
    newlines = newlines[_outside(newlines, quotes, quotes_before)]
    _check_returns(window, quotes, quotes_before, position, uri)
    following, after = window[newlines + 1], window[newlines + 2]
    blank = (following == _NEWLINE) | ((following == _RETURN) & (after == _NEWLINE))
    return newlines[~blank] + (position + 1), len(quotes)


def _outside(at: NDArray[np.int64], quotes: NDArray[np.int64], quotes_before: int) -> NDArray[np.bool_]:
    """Which positions lie outside of quotes."""
    outside: NDArray[np.bool_] = (np.searchsorted(quotes, at) + quotes_before) % 2 == 0
    return outside


def _check_quotes(
    window: NDArray[np.uint8], quotes: NDArray[np.int64], quotes_before: int, position: int, uri: str
) -> None:
    opening = (np.arange(len(quotes)) + quotes_before) % 2 == 0
    good = np.where(
        opening, np.isin(window[quotes - 1], _BEFORE_OPENING), np.isin(window[quotes + 1], _AFTER_CLOSING)
    )
    if not good.all():
        byte = position + int(quotes[np.argmin(good)])
        raise DataError(
            uri, f'has a stray quote at byte {byte}; quote the whole field and write each quote in it as ""'
        )


def _check_returns(
    window: NDArray[np.uint8], quotes: NDArray[np.int64], quotes_before: int, position: int, uri: str
) -> None:
    returns = np.flatnonzero(window[1:-2] == _RETURN) + 1
    bare = returns[(window[returns + 1] != _NEWLINE) & _outside(returns, quotes, quotes_before)]
    if len(bare):
        byte = position + int(bare[0])
        raise DataError(uri, f"has a bare carriage return at byte {byte}; lines must end in LF or CRLF")

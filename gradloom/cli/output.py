"""What a command says: results on stdout, everything else on stderr. Nothing else writes to either."""

import json
import math
import sys
from collections.abc import Mapping

from rich.console import Console

PIPE_WIDTH = 200
"""Columns of a table that goes into a pipe or a file: there is no window to fit it to."""


def say(sentence: str) -> None:
    """One line for people on stderr."""
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


def write_line(line: str) -> None:
    """One line of results on stdout."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def write_json(value: object) -> None:
    """One line of JSON on stdout; NaN and the infinities, which JSON has no words for, become null."""
    write_line(json.dumps(_finite(value), allow_nan=False))


def results() -> Console:
    """A console for tables on stdout, made anew each time: it looks at where stdout goes now."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value

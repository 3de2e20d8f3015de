"""What a command says: results on stdout, everything else on stderr. Nothing else writes to either."""

import json
import math
import sys
from collections.abc import Mapping
from typing import IO, Any

from rich.console import Console
from rich.text import Text

from gradloom.visible import indented, visible

PIPE_WIDTH = 200
"""Columns of a table that goes into a pipe or a file: there is no window to fit it to."""


def say(sentence: str) -> None:
    """One line for people on stderr; whatever others have typed in it can't steer the terminal, or fake a line."""
    sys.stderr.write(f"{indented(sentence)}\n")
    sys.stderr.flush()


def write_line(line: str) -> None:
    """One line of results on stdout."""
    sys.stdout.write(f"{visible(line)}\n")
    sys.stdout.flush()


def write_json(value: object) -> None:
    """One line of JSON on stdout; NaN and the infinities, which JSON has no words for, become null."""
    write_line(json.dumps(_finite(value), allow_nan=False))


class PlainConsole(Console):
    """A console that takes texts as they are: no markup, no emoji, nothing that steers the terminal."""

    def __init__(self, file: IO[str], width: int | None = None) -> None:
        super().__init__(file=file, width=width, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """The text of every cell and line passes here, unless it is a ``Text`` already."""
        return super().render_str(visible(text), **options)


def results() -> Console:
    """A console for tables on stdout, made anew each time: it looks at where stdout goes now."""
    return PlainConsole(sys.stdout, None if sys.stdout.isatty() else PIPE_WIDTH)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value

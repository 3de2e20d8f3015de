"""Speed traces that were recorded: who needed how long for a row, and when."""

import csv
import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TextIO

from gradloom.errors import InvalidInput
from gradloom_coordinator.laboratory.traces import Stretch, Trace

COLUMNS = ("worker", "at_s", "seconds_per_row")
SPEEDS = "speeds"
"""Where such records lie in a file of ``gradloom trace``."""


def read_trace(path: Path, round_s: float) -> Trace:
    """What ``gradloom trace`` wrote (.json), a CSV file with the columns of COLUMNS, or JSON lines with such keys.

    The median of all speeds counts as the usual one. Machine i does as the i-th worker by name, over and over if
    there are more machines or more time than were recorded. Raises InvalidInput.
    """
    records: dict[str, list[tuple[float, float]]] = {}
    for number, (worker, at_s, seconds_per_row) in enumerate(_rows(path), 1):
        if not (at_s >= 0 and 0 < seconds_per_row < float("inf")):
            numbers = f"at_s {at_s:g}, seconds_per_row {seconds_per_row:g}"
            raise InvalidInput(
                "trace_file", f"{path}: record {number}: {numbers}; the one must be >= 0, the other > 0"
            )
        records.setdefault(worker, []).append((at_s, seconds_per_row))
    if not records:
        raise InvalidInput("trace_file", f"{path} holds no record")
    usual = median(pace for record in records.values() for _, pace in record)
    machines = [
        _Replay(sorted((at_s / round_s, pace / usual) for at_s, pace in record))
        for _, record in sorted(records.items())
    ]
    return Trace(lambda machine, at: machines[machine % len(machines)].pace(at))


class _Replay:
    """One worker's record, played again and again."""

    def __init__(self, record: Sequence[tuple[float, float]]) -> None:
        self._starts = [at for at, _ in record]
        self._slowness = [slowness for _, slowness in record]
        gaps = sorted(later - earlier for earlier, later in pairwise(self._starts)) or [1.0]
        self._length = self._starts[-1] + max(gaps[len(gaps) // 2], 1e-3)

    def pace(self, at: float) -> Stretch:
        """What was recorded last; before the first record, the first."""
        times, at = divmod(at, self._length)
        i = bisect_right(self._starts, at)
        until = self._starts[i] if i < len(self._starts) else self._length
        # rounding must not make a stretch that ends where it begins
        return Stretch(self._slowness[max(0, i - 1)], times * self._length + max(until, at + 1e-9))


def recorded_workers(path: Path) -> int:
    """How many workers a file has records of. Raises InvalidInput."""
    return len({worker for worker, _, _ in _rows(path)})


def _rows(path: Path) -> Iterator[tuple[str, float, float]]:
    try:
        yield from _records(path)
    except OSError as error:
        raise InvalidInput("trace_file", f"{path} can't be read: {error.strerror or error}") from None


def _records(path: Path) -> Iterator[tuple[str, float, float]]:
    with path.open(encoding="utf-8", newline="") as file:
        try:
            for record in _values(path, file):
                worker, at_s, seconds_per_row = (str(record[name]) for name in COLUMNS)
                yield worker, float(at_s), float(seconds_per_row)
        except (KeyError, TypeError, ValueError) as error:
            wanted = ", ".join(COLUMNS)
            raise InvalidInput(
                "trace_file",
                f"{path}: {error}; it must be .csv or JSON lines with {wanted}, or a file of gradloom trace",
            ) from None


def _values(path: Path, file: TextIO) -> Iterable[Mapping[str, object]]:
    if path.suffix == ".csv":
        return csv.DictReader(file)
    if path.suffix == ".json":
        with suppress(json.JSONDecodeError):  # JSON lines, for all its name
            whole = json.load(file)
            if isinstance(whole, dict) and SPEEDS in whole:
                speeds: list[Mapping[str, object]] = whole[SPEEDS]
                return speeds
        file.seek(0)
    return map(json.loads, filter(str.strip, file))

"""Counters, histograms and gauges as plain values: cheap enough for every task, read only when somebody looks.

No I/O, no clock, nothing of Prometheus: ``metrics.py`` writes them down for it.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Labels = tuple[str, ...]
Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Distribution:
    """What a histogram has seen: of each bucket how often, and the sum of all."""

    bounds: tuple[float, ...]
    """Upper ends of the buckets; one more has none."""
    counts: tuple[int, ...]
    total: float


@dataclass(frozen=True, slots=True)
class Reading:
    """One family of series as it stood at a moment."""

    kind: Kind
    name: str
    """Without prefix, and without the ``_total`` of counters."""
    help: str
    labels: Labels
    values: Mapping[Labels, float]
    distributions: Mapping[Labels, Distribution]


class Meter:
    """What counters, gauges and histograms have in common: a name, and series by the values of their labels."""

    __slots__ = ("help", "labels", "name")

    def __init__(self, name: str, help_: str, *labels: str) -> None:
        self.name, self.help, self.labels = name, help_, labels

    def _without(self, series: Collection[Labels], label: str, gone: Collection[str]) -> Iterator[Labels]:
        """The series that are left once those in which ``label`` is one of ``gone`` are not."""
        at = self.labels.index(label) if label in self.labels else None
        return (labels for labels in series if at is None or labels[at] not in gone)


class Tally(Meter):
    """A counter, or a gauge that is set anew at each look."""

    __slots__ = ("_values",)

    def __init__(self, name: str, help_: str, *labels: str) -> None:
        super().__init__(name, help_, *labels)
        self._values: defaultdict[Labels, float] = defaultdict(float)

    def add(self, *labels: str, by: float = 1.0) -> None:
        """Count; a series that is new begins at 0."""
        self._values[labels] += by

    def set(self, value: float, *labels: str) -> None:
        """Be at a value."""
        self._values[labels] = value

    def begin(self, *labels: str) -> None:
        """Let a series be there, at 0 if it is new: a rate needs a value to begin with."""
        self._values.setdefault(labels, 0.0)

    def value(self, *labels: str) -> float:
        """How it stands; 0 if it was never counted."""
        return self._values.get(labels, 0.0)

    def summed(self, label: str) -> dict[str, float]:
        """Its values by one label, whatever the others."""
        at, sums = self.labels.index(label), dict[str, float]()
        for labels, value in self._values.items():
            sums[labels[at]] = sums.get(labels[at], 0.0) + value
        return sums

    def forget(self, label: str, gone: Collection[str]) -> None:
        """Remove the series in which ``label`` is one of ``gone``."""
        left = {key: self._values[key] for key in self._without(self._values, label, gone)}
        self._values = defaultdict(float, left)

    def reading(self, kind: Kind = "counter") -> Reading:
        """A copy of how it stands."""
        return Reading(kind, self.name, self.help, self.labels, dict(self._values), {})


class Spread(Meter):
    """A histogram."""

    __slots__ = ("_bounds", "_series")

    def __init__(self, name: str, help_: str, bounds: tuple[float, ...], *labels: str) -> None:
        super().__init__(name, help_, *labels)
        self._bounds = bounds
        self._series: dict[Labels, list[float]] = {}
        """Counts of the buckets (whole numbers), then the sum of what was observed."""

    def observe(self, value: float, *labels: str) -> None:
        """Take in a value."""
        series = self._series.get(labels)
        if series is None:
            series = self._begun(labels)
        series[bisect_left(self._bounds, value)] += 1
        series[-1] += value

    def sums(self) -> dict[Labels, float]:
        """Of what was observed, by series."""
        return {labels: series[-1] for labels, series in self._series.items()}

    def begin(self, *labels: str) -> None:
        """Let a series be there, empty if it is new."""
        if labels not in self._series:
            self._begun(labels)

    def _begun(self, labels: Labels) -> list[float]:
        series = self._series[labels] = [0.0] * (len(self._bounds) + 2)
        return series

    def forget(self, label: str, gone: Collection[str]) -> None:
        """Remove the series in which ``label`` is one of ``gone``."""
        self._series = {key: self._series[key] for key in self._without(self._series, label, gone)}

    def reading(self) -> Reading:
        """A copy of how it stands."""
        distributions = {
            labels: Distribution(self._bounds, tuple(int(n) for n in series[:-1]), series[-1])
            for labels, series in self._series.items()
        }
        return Reading("histogram", self.name, self.help, self.labels, {}, distributions)

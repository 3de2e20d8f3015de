"""How fast each machine is at any time: synthetic speed traces, all from one seed.

A trace says how many times as long as usual a machine takes at a time (its slowness), how much longer a single task
takes (its stretch), and when the machine is gone. Times are in units of the nominal round, so that one trace fits
long and short rounds alike. The same arguments give the same numbers, whatever is asked first.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import count
from statistics import NormalDist

from gradloom.errors import InvalidInput

STOPPED = math.inf


@dataclass(frozen=True, slots=True)
class Stretch:
    """A slowness that holds from some time on ``until`` another time."""

    slowness: float
    until: float = math.inf


@dataclass(frozen=True, slots=True)
class Outage:
    """A machine is killed, and comes back with nothing in its cache."""

    at: float
    back_at: float


@dataclass(frozen=True, slots=True)
class Trace:
    """What all policies are run on."""

    pace: Callable[[int, float], Stretch]
    """``pace(machine, at)``"""
    task_stretch: Callable[[str], float] = lambda _task: 1.0
    mean_task_stretch: float = 1.0
    outages: Callable[[int], Iterator[Outage]] = lambda _machine: iter(())

    def end(self, machine: int, at: float, work: float) -> float:
        """When a machine that begins ``work`` (in nominal time) at a time is through with it."""
        while True:
            stretch = self.pace(machine, at)
            if at + work * stretch.slowness <= stretch.until:
                return at + work * stretch.slowness
            work -= (stretch.until - at) / stretch.slowness
            at = stretch.until

    def work(self, machine: int, until: float) -> float:
        """How much a machine can compute from the beginning on, outages and stretched tasks taken off."""
        gone = [Outage(0.0, 0.0)]
        for outage in self.outages(machine):
            if outage.at >= until:
                break
            gone.append(outage)
        ends = [outage.at for outage in gone[1:]] + [until]
        there = zip((outage.back_at for outage in gone), ends, strict=True)
        return sum(self._between(machine, start, end) for start, end in there) / self.mean_task_stretch

    def _between(self, machine: int, at: float, end: float) -> float:
        work = 0.0
        while at < end:
            stretch = self.pace(machine, at)
            work += (min(stretch.until, end) - at) / stretch.slowness
            at = stretch.until
        return work


def ideal_round(trace: Trace, machines: int, rounds: int) -> float:
    """What a round takes on average if no machine ever waits and nothing is computed twice: all work / all speed.

    It is the ceiling that asynchronous training comes near to; exact training can't be faster, but for the tasks
    that are stretched: a copy may escape them.
    """
    lo, hi = 0.0, float(rounds)
    while _work(trace, machines, hi) < rounds * machines:
        lo, hi = hi, 2 * hi
    while hi - lo > 1e-6 * hi:
        middle = (lo + hi) / 2
        lo, hi = (middle, hi) if _work(trace, machines, middle) < rounds * machines else (lo, middle)
    return hi / rounds


def _work(trace: Trace, machines: int, until: float) -> float:
    return sum(trace.work(machine, until) for machine in range(machines))


# ---- chance


def _chance(*key: object) -> float:
    """A number in (0, 1) that belongs to a key."""
    digest = blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") + 1) / (2**64 + 2)


def _redrawn(seed: int, draw: Callable[[float], float]) -> Callable[[int, float], Stretch]:
    """Every machine draws a new slowness in every unit of time."""

    @lru_cache(maxsize=65_536)
    def of(machine: int, unit: int) -> Stretch:
        return Stretch(draw(_chance(seed, machine, unit)), unit + 1.0)

    return lambda machine, at: of(machine, math.floor(at))


# ---- the traces

NOISE = 0.02
SPIKE_CHANCE, SPIKE_FROM, SPIKE_TO = 0.02, 3.0, 10.0
LOG_SIGMA = 0.5
PARETO_INDEX, PARETO_LIMIT = 1.5, 50.0
PAUSE, PAUSE_EVERY = 0.5, 5.0
KILL_EVERY, KILLED_FOR = 40.0, 2.0
MOST_SLOW = 1000


def _constant(slowness: Callable[[int], float]) -> Callable[[int, float], Stretch]:
    return lambda machine, _at: Stretch(slowness(machine))


def _uniform(seed: int, machines: int, slow: float) -> Trace:  # noqa: ARG001
    noise = lambda task: 1 + NOISE * (2 * _chance(seed, task) - 1)  # noqa: E731
    return Trace(_constant(lambda _: 1.0), noise)


def _log_normal(seed: int, machines: int, slow: float) -> Trace:  # noqa: ARG001
    return Trace(_redrawn(seed, lambda p: math.exp(LOG_SIGMA * NormalDist().inv_cdf(p))))


def _heavy_tail(seed: int, machines: int, slow: float) -> Trace:  # noqa: ARG001
    return Trace(_redrawn(seed, lambda p: min(PARETO_LIMIT, p ** (-1 / PARETO_INDEX))))


def _one_slow(seed: int, machines: int, slow: float) -> Trace:  # noqa: ARG001
    return Trace(_constant(lambda machine: slow if machine == 0 else 1.0))


def _linear_to(machines: int, slowest: float) -> Callable[[int, float], Stretch]:
    return _constant(lambda machine: 1 + (slowest - 1) * machine / max(1, machines - 1))


def _linear(seed: int, machines: int, slow: float) -> Trace:  # noqa: ARG001
    return Trace(_linear_to(machines, 3.0))


def _spiky(seed: int) -> Callable[[str], float]:
    def stretch(task: str) -> float:
        if _chance(seed, task) >= SPIKE_CHANCE:
            return 1.0
        return SPIKE_FROM + (SPIKE_TO - SPIKE_FROM) * _chance(seed, "height", task)

    return stretch


MEAN_SPIKY = 1 + SPIKE_CHANCE * ((SPIKE_FROM + SPIKE_TO) / 2 - 1)


def _spikes(seed: int, machines: int, slow: float) -> Trace:  # noqa: ARG001
    return Trace(_constant(lambda _: 1.0), _spiky(seed), MEAN_SPIKY)


def _mixed(seed: int, machines: int, slow: float) -> Trace:  # noqa: ARG001
    return Trace(_linear_to(machines, 2.0), _spiky(seed), MEAN_SPIKY)


def _pauses(seed: int, machines: int, slow: float) -> Trace:  # noqa: ARG001
    def pace(machine: int, at: float) -> Stretch:
        shift = PAUSE_EVERY * _chance(seed, machine)
        cycle = math.floor((at + shift) / PAUSE_EVERY)
        stops_at, goes_on_at = (PAUSE_EVERY * (cycle + 1) - shift - early for early in (PAUSE, 0.0))
        return Stretch(1.0, stops_at) if at < stops_at else Stretch(STOPPED, goes_on_at)

    return Trace(pace)


def _spot(seed: int, machines: int, slow: float) -> Trace:  # noqa: ARG001
    def outages(machine: int) -> Iterator[Outage]:
        at = 0.0
        for number in count():
            at -= KILL_EVERY * math.log(_chance(seed, machine, number))
            yield Outage(at, at + KILLED_FOR)
            at += KILLED_FOR

    return Trace(_constant(lambda _: 1.0), outages=outages)


TRACES: Mapping[str, Callable[[int, int, float], Trace]] = {
    "uniform": _uniform,
    "log-normal": _log_normal,
    "heavy-tail": _heavy_tail,
    "pareto": _heavy_tail,
    "one-slow": _one_slow,
    "linear": _linear,
    "spikes": _spikes,
    "mixed": _mixed,
    "pauses": _pauses,
    "spot": _spot,
}
"""``TRACES[name](seed, machines, slow)``"""


def trace_named(name: str, seed: int, machines: int, slow: float) -> Trace:
    """A synthetic trace by its name; ``slow`` is for one-slow. Raises InvalidInput."""
    if name not in TRACES:
        raise InvalidInput.unknown_name("trace", name, [*TRACES, "recorded"])
    if not 1 <= slow <= MOST_SLOW:
        raise InvalidInput("slow", f"{slow:g} is not allowed; it must lie in [1, {MOST_SLOW}]")
    return TRACES[name](seed, machines, slow)

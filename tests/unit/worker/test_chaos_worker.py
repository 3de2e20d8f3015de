"""The harm that a worker does to itself ends when its time is over, and happens only where it was allowed."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from gradloom.canonical import Range
from gradloom.faults import Fault, FaultKind
from gradloom.tensors import Tensors
from gradloom_worker.chaos import Chaos, Slowness, damaged
from gradloom_worker.work import Computed, NonFinite

EMPTY: Tensors = {}
TASK = Computed(EMPTY, rows=1, load_s=0.5, compute_s=1.5)


@dataclass
class Clock:
    """A clock that only sleeping moves."""

    now: float = 100.0
    wanted_until: float = float("inf")

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def wanted(self) -> bool:
        return self.now < self.wanted_until


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.sleep", clock.sleep)
    return clock


def test_a_slow_worker_takes_so_many_times_as_long_and_says_so(clock: Clock) -> None:
    slowness = Slowness(clock.wanted, clock)
    slowness.begin(factor=5.0, seconds=60.0)
    stretched = slowness.stretch(TASK)
    assert clock.now == pytest.approx(108.0)
    assert stretched.compute_s == pytest.approx(9.5)


def test_slowness_ends_with_its_time_in_the_middle_of_a_task(clock: Clock) -> None:
    slowness = Slowness(clock.wanted, clock)
    slowness.begin(factor=5.0, seconds=3.0)
    slowness.stretch(TASK)
    assert clock.now == pytest.approx(103.0)
    assert not slowness.active


def test_a_task_that_nobody_wants_any_more_is_not_stretched_further(clock: Clock) -> None:
    clock.wanted_until = 102.0
    slowness = Slowness(clock.wanted, clock)
    slowness.begin(factor=5.0, seconds=60.0)
    slowness.stretch(TASK)
    assert clock.now == pytest.approx(102.0, abs=0.02)


@dataclass
class Call:
    """A stream that answers at once."""

    written: list[bytes] = field(default_factory=list)
    details: str = "its own"

    async def read(self) -> bytes:
        return b"read"

    async def write(self, message: bytes) -> None:
        self.written.append(message)


def chaos_of(*, allowed: bool = True) -> Chaos:
    return Chaos(allowed=allowed, wanted=lambda: True, clock=Clock())


async def test_nothing_passes_a_partition_until_it_is_over() -> None:
    chaos, call = chaos_of(), Call()
    guarded: Any = chaos.guard(call)
    assert guarded.details == "its own"
    assert await guarded.read() == b"read"
    chaos.inject(Fault(FaultKind.PARTITION, seconds=0.05))
    passing = asyncio.gather(guarded.read(), guarded.write(b"written"))
    await asyncio.sleep(0)
    assert call.written == []
    async with asyncio.timeout(10):
        await passing
    assert call.written == [b"written"]


def test_so_many_results_are_damaged_and_no_more() -> None:
    chaos = chaos_of()
    chaos.inject(Fault(FaultKind.CORRUPT, count=2))
    assert [chaos.corrupts_next() for _ in range(4)] == [True, True, False, False]
    assert damaged(b"ab") == b"a\x9d"


def test_so_many_results_hold_nan_and_no_more() -> None:
    chaos, computed = chaos_of(), Computed({"gradient": np.ones(2)}, 1, 0.0, 0.0)
    chaos.inject(Fault(FaultKind.NAN, count=2))
    for _ in range(2):
        with pytest.raises(NonFinite, match="the partial of shards 3-4 holds NaN or Inf in 'gradient'"):
            chaos.spoil(computed, Range(3, 5))
    chaos.spoil(computed, Range(3, 5))


def test_a_worker_that_was_not_started_for_it_suffers_nothing() -> None:
    chaos, call = chaos_of(allowed=False), Call()
    chaos.inject(Fault(FaultKind.CORRUPT, count=2))
    chaos.inject(Fault(FaultKind.KILL))
    assert not chaos.corrupts_next()
    assert chaos.guard(call) is call

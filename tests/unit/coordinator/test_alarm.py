"""One timer for many times."""

import asyncio

import pytest

from gradloom_coordinator.alarm import Alarm


class Rings:
    """Counts, and lets a test wait for the next."""

    def __init__(self) -> None:
        self._rings: asyncio.Queue[None] = asyncio.Queue()

    def __call__(self) -> None:
        self._rings.put_nowait(None)

    async def next(self) -> None:
        async with asyncio.timeout(10):
            await self._rings.get()

    @property
    def waiting(self) -> int:
        return self._rings.qsize()


async def test_it_rings_at_every_time_in_order() -> None:
    rings = Rings()
    clock = asyncio.get_running_loop().time
    alarm, start = Alarm(clock, rings), clock()
    for after_s in (0.06, 0.02, 0.04):
        alarm.set(start + after_s)
    for after_s in (0.02, 0.04, 0.06):
        await rings.next()
        assert clock() >= start + after_s
    assert rings.waiting == 0


@pytest.mark.parametrize("n", [1, 3])
async def test_times_that_are_over_ring_once(n: int) -> None:
    rings = Rings()
    alarm = Alarm(lambda: 100.0, rings)
    for at in range(n):
        alarm.set(float(at))
    await rings.next()
    assert rings.waiting == 0


async def test_a_ring_may_set_the_next() -> None:
    rings = Rings()
    clock = asyncio.get_running_loop().time
    times = iter([0.01, 0.02])

    def ring() -> None:
        rings()
        for after_s in times:
            alarm.set(clock() + after_s)
            return

    alarm = Alarm(clock, ring)
    alarm.set(clock())
    for _ in range(3):
        await rings.next()

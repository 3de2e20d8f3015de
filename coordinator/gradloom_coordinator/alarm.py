"""One timer for many times: the earliest is set, the others wait their turn."""

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush


class Alarm:
    """Rings at every time that it was set to, once for those that are over together."""

    def __init__(self, clock: Callable[[], float], ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._times: list[float] = []
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at: float) -> None:
        """Ring at this time of the clock, or at once if it is over."""
        heappush(self._times, at)
        if self._times[0] == at:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        wait_s = max(0.0, self._times[0] - self._clock())
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._go_off)

    def _go_off(self) -> None:
        self._timer, now = None, self._clock()
        due = bool(self._times) and self._times[0] <= now
        while self._times and self._times[0] <= now:
            heappop(self._times)
        if self._times:
            self._arm()
        if due:
            self._ring()

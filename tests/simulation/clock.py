"""Virtual time: what is to happen, in order. A run takes as long as its events, whatever the clock says."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

Happening = Callable[[], None]


@dataclass(slots=True)
class Clock:
    """The agenda of a world."""

    now: float = 0.0
    _agenda: list[tuple[float, int, Happening]] = field(default_factory=list)
    _entered: int = 0

    def after(self, delay_s: float, happen: Happening) -> None:
        """Have something happen in a while; what is entered first comes first among equals."""
        self._entered += 1
        heapq.heappush(self._agenda, (self.now + delay_s, self._entered, happen))

    def step(self) -> None:
        """Let the next thing happen."""
        self.now, _, happen = heapq.heappop(self._agenda)
        happen()

"""How much one caller may ask for at a time: calls a second, and streams that are open. Pure: ``now`` is given.

Callers are told apart by a key: their name, or the host that they call from. What is kept of each is small, and of so
many callers at most that a flood of new ones can't fill the memory.
"""

from collections import OrderedDict
from dataclasses import dataclass

MAX_KEYS = 10_000
ROUNDING = 1e-9


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Rates:
    """Calls a second for each key, and a burst above it. A rate of 0 is no limit."""

    def __init__(self, rate_per_s: float, burst: float, max_keys: int = MAX_KEYS) -> None:
        self._rate, self._burst, self._max_keys = rate_per_s, max(1.0, burst), max_keys
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, key: str, now: float) -> float:
        """Count one call; 0 = it may go on, else the seconds until one may."""
        if self._rate <= 0:
            return 0.0
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self._burst, now)
            if len(self._buckets) > self._max_keys:
                self._buckets.popitem(last=False)  # whoever has been quiet for longest
        self._buckets.move_to_end(key)
        bucket.tokens = min(self._burst, bucket.tokens + max(0.0, now - bucket.at) * self._rate)
        bucket.at = max(bucket.at, now)
        if bucket.tokens < 1 - ROUNDING:
            return (1 - bucket.tokens) / self._rate
        bucket.tokens -= 1
        return 0.0


class OpenStreams:
    """Streams that are open, of each key and of all together."""

    def __init__(self, each: int, together: int) -> None:
        self._each, self._together = each, together
        self._open: dict[str, int] = {}
        self.count = 0

    def open(self, key: str) -> str:
        """Count one stream more; the words of why not, or none."""
        mine = self._open.get(key, 0)
        if mine >= self._each:
            return f"{key} has {mine} streams open already, as many as one caller may"
        if self.count >= self._together:
            return f"{self.count} streams are open already, as many as this coordinator holds"
        self._open[key] = mine + 1
        self.count += 1
        return ""

    def close(self, key: str) -> None:
        """One stream less."""
        self.count -= 1
        self._open[key] -= 1
        if not self._open[key]:
            del self._open[key]

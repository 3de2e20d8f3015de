"""What is fuzzed: what reads bytes, what it may refuse them with, and how much memory it may take for them."""

from collections.abc import Callable
from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Target:
    """Reads hostile bytes: ends, refuses with one of ``refusals``, or is broken."""

    name: str
    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    seeds: Callable[[], list[bytes]]
    """Bytes that are good, to begin from."""
    limit_bytes: int = 8 * MIB
    """Memory for some kilobytes of input, beside what Python itself needs."""

    def __call__(self, data: bytes) -> None:
        """Read, and let through only what is no refusal."""
        try:
            self.read(data)
        except self.refusals:
            return

"""The last things that happened in a world, to be read by a person. Values are turned into words only when read."""

from collections import deque
from dataclasses import dataclass, field

from simulation.clock import Clock

MAX_CHARACTERS = 220


@dataclass(slots=True)
class Transcript:
    """Lines of virtual time, who, to whom, what."""

    clock: Clock
    max_lines: int | None = 200
    _lines: deque[tuple[float, str, object]] = field(init=False)

    def __post_init__(self) -> None:
        self._lines = deque(maxlen=self.max_lines)

    def add(self, who: str, what: object) -> None:
        """Note something that happened now; ``who`` is ``a`` or ``a -> b``."""
        self._lines.append((self.clock.now, who, what))

    def __str__(self) -> str:
        return "\n".join(
            f"{at:9.3f}  {who:<24} {str(what)[:MAX_CHARACTERS]}" for at, who, what in self._lines
        )

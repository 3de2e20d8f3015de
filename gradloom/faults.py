"""The faults that a person may have a worker suffer on purpose, to see what becomes of the jobs."""

from dataclasses import dataclass
from enum import StrEnum

from gradloom.errors import InvalidInput

MAX_SECONDS = 3600.0
MAX_FACTOR = 1000.0
MAX_COUNT = 1000


class FaultKind(StrEnum):
    """What can be done to a worker."""

    SLOW = "slow"
    """Each task takes ``factor`` times as long, for ``seconds``."""
    KILL = "kill"
    """The process ends at once, as by SIGKILL."""
    PAUSE = "pause"
    """The process stands still for ``seconds``, as by SIGSTOP."""
    PARTITION = "partition"
    """Nothing is read from the coordinator or written to it for ``seconds``; the connection stays open."""
    CORRUPT = "corrupt"
    """One byte of each of the next ``count`` partials changes after its checksum was taken."""
    NAN = "nan"
    """The next ``count`` partials hold NaN."""


TIMED = frozenset({FaultKind.SLOW, FaultKind.PAUSE, FaultKind.PARTITION})
COUNTED = frozenset({FaultKind.CORRUPT, FaultKind.NAN})


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault; what its kind does not use is 0."""

    kind: FaultKind
    seconds: float = 0.0
    factor: float = 0.0
    count: int = 0

    def __str__(self) -> str:
        match self.kind:
            case FaultKind.SLOW:
                return f"slow by {self.factor:g} for {self.seconds:g} s"
            case FaultKind.KILL:
                return "kill"
            case FaultKind.CORRUPT | FaultKind.NAN:
                return f"{self.kind} {self.count}"
            case _:
                return f"{self.kind} for {self.seconds:g} s"


def check_fault(fault: Fault) -> None:
    """Refuse what is out of bounds, or has no meaning with its kind. Raises InvalidInput."""
    _check(fault, "for", fault.seconds, MAX_SECONDS, used=fault.kind in TIMED, above=0.0)
    _check(fault, "factor", fault.factor, MAX_FACTOR, used=fault.kind is FaultKind.SLOW, above=1.0)
    _check(fault, "count", fault.count, MAX_COUNT, used=fault.kind in COUNTED, above=0.0)


def _check(fault: Fault, name: str, value: float, most: float, *, used: bool, above: float) -> None:
    if not used and value:
        raise InvalidInput(name, f"{value:g} has no meaning with {fault.kind}; leave it out")
    if used and not above < value <= most:
        raise InvalidInput(name, f"{value:g} is not allowed; it must lie in ({above:g}, {most:g}]")

"""What a run came to: rounds, waste, and what the scheduler did."""

from collections.abc import Sequence
from dataclasses import dataclass

from gradloom_coordinator.scheduling.copies import CopyLedger
from gradloom_coordinator.scheduling.state import Counts


@dataclass(slots=True)
class RoundSeen:
    """One round, as the laboratory saw it; or a few that together counted about as many rows as there are."""

    opened_at: float = 0.0
    closed_at: float = 0.0
    useful_s: float = 0.0
    """Computed on all machines, and counted."""
    wasted_s: float = 0.0
    """Computed on all machines, in vain."""
    partials: int = 0
    counted: float = 0.0
    """Share of the rows."""

    @property
    def seconds(self) -> float:
        """What a pass over all rows takes at this round's pace."""
        return (self.closed_at - self.opened_at) / self.counted


@dataclass(frozen=True, slots=True)
class Outcome:
    """One policy on one trace; the first rounds are left out."""

    rounds: tuple[RoundSeen, ...]
    copies: CopyLedger
    counts: Counts
    ended_because: str = ""
    """Why the job failed; empty = it did not."""

    @property
    def round_s(self) -> float:
        """What a pass over all rows takes, on average."""
        return sum(each.closed_at - each.opened_at for each in self.rounds) / self._passes

    def quantile_s(self, share: float) -> float:
        """So many of the rounds took no longer."""
        seconds: Sequence[float] = sorted(each.seconds for each in self.rounds)
        return seconds[min(len(seconds) - 1, int(share * len(seconds)))]

    @property
    def waste(self) -> float:
        """Share of all computing that was in vain."""
        wasted = sum(each.wasted_s for each in self.rounds)
        return wasted / (wasted + sum(each.useful_s for each in self.rounds) or 1.0)

    @property
    def partials(self) -> float:
        """A pass, on average."""
        return sum(each.partials for each in self.rounds) / self._passes

    @property
    def _passes(self) -> float:
        return sum(each.counted for each in self.rounds)

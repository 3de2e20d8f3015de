"""Whether a worker that fails is given more work. Pure: one small ledger a worker, kept by name across its sessions."""

from dataclasses import dataclass

from gradloom_coordinator.scheduling.limits import Limits


@dataclass(slots=True)
class Trust:
    """How a worker has done of late."""

    failures_in_a_row: int = 0
    exclusions: int = 0
    """In a row: one probe that succeeds wipes them out only step by step."""
    excluded_until: float = 0.0
    """It is let back in by a probe after this time; 0 = it is not excluded."""
    barred: str = ""
    """Why a person has excluded it, until a person lets it in again; empty = none has."""

    def succeeded(self) -> None:
        """An answer was counted."""
        self.failures_in_a_row = 0

    def failed(self, limits: Limits) -> bool:
        """Note a failure; whether there have been enough to exclude the worker."""
        self.failures_in_a_row += 1
        return self.failures_in_a_row >= limits.exclude_after

    def exclude(self, limits: Limits, now: float) -> float:
        """Exclude it: 10 s, doubling up to 5 min; for how many seconds."""
        seconds = min(limits.exclude_limit_s, limits.exclude_s * 2.0**self.exclusions)
        self.exclusions += 1
        self.failures_in_a_row = 0
        self.excluded_until = now + seconds
        return seconds

    def readmitted(self) -> None:
        """Its probe succeeded: a later exclusion starts shorter again."""
        self.excluded_until = 0.0
        self.exclusions = max(0, self.exclusions - 1)
        self.failures_in_a_row = 0

"""What was done to a job while it lived, and how to do it again. Pure."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from gradloom.jobs import JobView
from gradloom.specs import JobSpec, ScheduledChange

PAUSED, ROLLBACK = "paused", "rollback"
"""What people do to a job beside changing its specification; it is recorded like a change."""


class Recorded(Protocol):
    """A change as it was recorded."""

    @property
    def at_round(self) -> int:
        """The first round of training, from 1, that it has a say in."""
        ...

    @property
    def field(self) -> str:
        """What was changed; PAUSED or ROLLBACK."""
        ...

    @property
    def new(self) -> str:
        """What it was changed to; of a ROLLBACK, the round."""
        ...


def timetable(records: Iterable[Recorded]) -> tuple[ScheduledChange, ...]:
    """The changes of a job as a schedule that leads to the same bits.

    Where it was set back to round k, whatever was changed before that holds from round k + 1 on.
    """
    changes: list[ScheduledChange] = []
    for one in records:
        if one.field == ROLLBACK:
            first = int(one.new) + 1
            changes = [replace(earlier, at_round=min(earlier.at_round, first)) for earlier in changes]
        elif one.field != PAUSED:
            changes.append(ScheduledChange(one.at_round, one.field, one.new))
    return tuple(changes)


def replay_of(view: JobView) -> JobSpec:
    """The specification of a job that does all of it again."""
    submitted = view.submitted or view.spec
    changes = sorted((*submitted.schedule, *timetable(view.steering)), key=lambda one: one.at_round)
    return replace(submitted, schedule=tuple(changes))

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
    def old(self) -> str:
        """What it was before; of a ROLLBACK, the round that was done last."""
        ...

    @property
    def new(self) -> str:
        """What it was changed to; of a ROLLBACK, the round that it was set back to."""
        ...


def timetable(records: Iterable[Recorded]) -> tuple[ScheduledChange, ...]:
    """The changes of a job as a schedule that leads to the same bits, in the order of their rounds.

    Where it was set back to round k, whatever was changed before that holds from round k + 1 on. A change takes the
    place of earlier ones of the same field that were to hold from the same round on, or from a later one.
    """
    changes: list[ScheduledChange] = []
    for one in records:
        if one.field == ROLLBACK:
            first = int(one.new) + 1
            changes = [replace(earlier, at_round=min(earlier.at_round, first)) for earlier in changes]
        elif one.field != PAUSED:
            changes = [c for c in changes if c.field != one.field or c.at_round < one.at_round]
            changes.append(ScheduledChange(one.at_round, one.field, one.new))
    return tuple(sorted(changes, key=_round_of))


def rescheduled(
    schedule: Iterable[ScheduledChange], records: Iterable[Recorded]
) -> tuple[ScheduledChange, ...]:
    """A schedule after what was done to its job: what had taken effect before a rollback holds from there on."""
    changes = tuple(schedule)
    for one in records:
        if one.field == ROLLBACK:
            had, first = int(one.old) + 1, int(one.new) + 1
            changes = tuple(
                replace(c, at_round=min(c.at_round, first)) if c.at_round <= had else c for c in changes
            )
    return tuple(sorted(changes, key=_round_of))


def replay_of(view: JobView) -> JobSpec:
    """The specification of a job that does all of it again."""
    submitted = view.submitted or view.spec
    changes = (*rescheduled(submitted.schedule, view.steering), *timetable(view.steering))
    return replace(submitted, schedule=tuple(sorted(changes, key=_round_of)))


def _round_of(change: ScheduledChange) -> int:
    return change.at_round

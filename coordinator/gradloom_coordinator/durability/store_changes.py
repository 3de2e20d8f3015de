"""Changes -> SQL. What is written twice counts once."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Table, delete, select, update
from sqlalchemy.dialects import sqlite

from gradloom.wire.keeping import event_to_bytes, manifest_to_bytes, spec_to_bytes, view_to_bytes
from gradloom_coordinator.durability import changes as c
from gradloom_coordinator.durability import tables as t
from gradloom_coordinator.wording import plain

MAX_EVENTS = 100_000
"""Kept of one job; the oldest go first."""
PRUNE_EVERY = 1_000
"""Events of a job between two looks whether there are more than MAX_EVENTS."""


def write(connection: Connection, changes: Iterable[c.Change]) -> None:
    """Write the changes in their order; neighbours of one kind in one statement where there may be many."""
    for _, group in groupby(changes, type):
        alike = list(group)
        if events := [change for change in alike if isinstance(change, c.EventAdded)]:
            _add_events(connection, events)
        else:
            for change in alike:
                _write(connection, change)


def insert_into(connection: Connection, table: Table) -> Any:
    """An INSERT that knows ON CONFLICT, which every dialect has a class of its own for."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # slow to import, and most coordinators have no PostgreSQL

    return postgresql.insert(table)


def _write(connection: Connection, change: c.Change) -> None:
    match change:
        case c.JobAdded():
            row = _plain(_job_row(change))
            connection.execute(insert_into(connection, t.jobs).on_conflict_do_nothing(), row)
        case c.JobPlaced(job, manifest, at):
            _update(connection, job, manifest=manifest_to_bytes(manifest), started_at=at)
        case c.JobStepped(job, state, reason):
            _update(connection, job, state=state.value, reason=reason)
        case c.JobEnded(view, model_path, at):
            ended = {"state": view.state.value, "reason": view.reason, "manifest": None, "ended_at": at}
            _update(connection, view.job_id, **ended, view=view_to_bytes(view), model_path=model_path)
        case c.JobsForgotten(jobs):
            for table in (t.events, t.checkpoints, t.steering, t.jobs):
                connection.execute(delete(table).where(table.c.job.in_(jobs)))
        case c.EventAdded():
            _add_events(connection, [change])
        case c.CheckpointKept():
            row = _plain({column.name: getattr(change, column.name) for column in t.checkpoints.c})
            kept = insert_into(connection, t.checkpoints).values(row)
            connection.execute(kept.on_conflict_do_update(index_elements=["job", "round"], set_=row))
        case c.CheckpointDropped(job, number):
            this = (t.checkpoints.c.job == job) & (t.checkpoints.c.round == number)
            connection.execute(delete(t.checkpoints).where(this))
        case c.Steered():
            row = {
                column.name: getattr(change, column.name)
                for column in t.steering.c
                if column.name != "number"
            }
            connection.execute(insert_into(connection, t.steering).on_conflict_do_nothing(), _plain(row))


def _update(connection: Connection, job: str, **values: object) -> None:
    connection.execute(update(t.jobs).where(t.jobs.c.job == job).values(_plain(values)))


def _plain(row: dict[str, object]) -> dict[str, object]:
    """A row whose texts every database takes."""
    return {name: plain(value) if isinstance(value, str) else value for name, value in row.items()}


def _job_row(added: c.JobAdded) -> dict[str, object]:
    return {
        "job": added.job,
        "spec": spec_to_bytes(added.spec),
        "client_token": added.client_token,
        "state": "queued",
        "reason": "submitted",
        "created_at": added.created_at,
    }


def _add_events(connection: Connection, added: Sequence[c.EventAdded]) -> None:
    rows = [
        {
            "job": one.job,
            "sequence": one.event.sequence,
            "at": one.event.at,
            "kind": type(one.event.what).__name__,
            "payload": event_to_bytes(one.event),
        }
        for one in added
    ]
    connection.execute(insert_into(connection, t.events).on_conflict_do_nothing(), rows)
    for job in {one.job for one in added if one.event.sequence % PRUNE_EVERY == 0}:
        _prune_events(connection, job)


def _prune_events(connection: Connection, job: str) -> None:
    """Counts events and not their numbers, which leap at every restart."""
    this = t.events.c.job == job
    newest = select(t.events.c.sequence).where(this).order_by(t.events.c.sequence.desc())
    too_old = newest.limit(1).offset(MAX_EVENTS).scalar_subquery()
    connection.execute(delete(t.events).where(this & (t.events.c.sequence <= too_old)))

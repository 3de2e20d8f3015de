"""SQL -> jobs as values: what a coordinator finds when it starts."""

from typing import Any

from sqlalchemy import Connection, select

from gradloom.errors import VersionMismatch
from gradloom.jobs import JobEvent, JobState
from gradloom.wire.keeping import event_from_bytes, manifest_from_bytes, spec_from_bytes, view_from_bytes
from gradloom_coordinator.durability import tables as t
from gradloom_coordinator.durability.changes import CheckpointKept, Steered, StoredJob

LOADED_EVENTS = 10_000
LOADED_EVENTS_OF_ENDED = 200
"""Events that are at hand after a restart: of a job that goes on, and of one that has ended."""


def stored_jobs(connection: Connection) -> list[StoredJob]:
    """All jobs in the order of their submission. Raises VersionMismatch for what this release can't read."""
    rows = connection.execute(select(t.jobs).order_by(t.jobs.c.number)).all()
    return [_stored_job(connection, row) for row in rows]


EXCLUDED = "excluded:"
"""Before a worker's name in the field of a record of the cluster, whose job is empty."""


def excluded_workers(connection: Connection) -> dict[str, str]:
    """The workers that people have excluded and not let in again, with the reason."""
    last = {one.field.removeprefix(EXCLUDED): one.new for one in _steering(connection, "")}
    return {worker: reason for worker, reason in last.items() if reason}


def _stored_job(connection: Connection, row: Any) -> StoredJob:
    try:
        state = JobState(row.state)
        return StoredJob(
            job=row.job,
            spec=spec_from_bytes(row.spec),
            client_token=row.client_token,
            state=state,
            reason=row.reason,
            created_at=row.created_at,
            started_at=row.started_at,
            manifest=None if row.manifest is None else manifest_from_bytes(row.manifest),
            view=None if row.view is None else view_from_bytes(row.view),
            model_path=row.model_path or "",
            events=_events(connection, row.job, LOADED_EVENTS_OF_ENDED if state.final else LOADED_EVENTS),
            checkpoints=_checkpoints(connection, row.job),
            steering=_steering(connection, row.job),
        )
    except ValueError as error:
        raise VersionMismatch(f"job {row.job} can't be read by this release: {error}") from error


def _events(connection: Connection, job: str, limit: int) -> tuple[JobEvent, ...]:
    newest = select(t.events.c.payload).where(t.events.c.job == job).order_by(t.events.c.sequence.desc())
    rows = connection.execute(newest.limit(limit)).all()
    return tuple(event_from_bytes(row.payload) for row in reversed(rows))


def _checkpoints(connection: Connection, job: str) -> tuple[CheckpointKept, ...]:
    newest = select(t.checkpoints).where(t.checkpoints.c.job == job).order_by(t.checkpoints.c.round.desc())
    return tuple(CheckpointKept(**row._asdict()) for row in connection.execute(newest))


def _steering(connection: Connection, job: str) -> tuple[Steered, ...]:
    columns = [column for column in t.steering.c if column.name != "number"]
    in_order = select(*columns).where(t.steering.c.job == job).order_by(t.steering.c.number)
    return tuple(Steered(**row._asdict()) for row in connection.execute(in_order))

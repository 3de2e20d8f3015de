"""Stored jobs -> jobs as the edge holds them, after a restart."""

from pathlib import Path

from gradloom.jobs import JobState, StateChanged
from gradloom_coordinator.changes import StoredJob
from gradloom_coordinator.journal import Journal
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.steering import altered


def restored_run(stored: StoredJob, now: float, monotonic: float) -> JobRun:
    """The job: as it ended, or queued again with what its first part has left. ``now`` in seconds since the epoch."""
    run = JobRun(stored.job, stored.spec, Journal(stored.events), stored.created_at)
    run.spec = altered(stored.spec, stored.steering)
    run.checkpoints = list(stored.checkpoints)
    if stored.state.final:
        run.state, run.reason, run.final_view = stored.state, stored.reason, stored.view
        if (
            not run.journal.closed
        ):  # it was to be told once the end was durable; the coordinator died in between
            run.journal.add(now, StateChanged(stored.state, stored.reason))
        run.model_path = Path(stored.model_path) if stored.model_path else None
        return run
    run.state, run.reason = JobState.QUEUED, "the coordinator came back"
    run.restored = stored.manifest is not None
    run.manifest = stored.manifest
    if stored.started_at is not None:
        run.started = monotonic - (now - stored.started_at)
    return run

"""Stored jobs -> jobs as the edge holds them, after a restart."""

from pathlib import Path

from gradloom.jobs import JobState
from gradloom_coordinator.changes import StoredJob
from gradloom_coordinator.journal import Journal
from gradloom_coordinator.runs import JobRun


def restored_run(stored: StoredJob, now: float, monotonic: float) -> JobRun:
    """The job: as it ended, or queued again with what its first part has left. ``now`` in seconds since the epoch."""
    run = JobRun(stored.job, stored.spec, Journal(stored.events), stored.created_at)
    run.checkpoints = list(stored.checkpoints)
    if stored.state.final:
        run.state, run.reason, run.final_view = stored.state, stored.reason, stored.view
        run.model_path = Path(stored.model_path) if stored.model_path else None
        return run
    run.state, run.reason = JobState.QUEUED, "the coordinator came back"
    run.restored = stored.manifest is not None
    run.manifest = stored.manifest
    if stored.started_at is not None:
        run.started = monotonic - (now - stored.started_at)
    return run

"""Stored jobs -> jobs as the edge holds them, after a restart."""

from pathlib import Path

from gradloom.jobs import JobState, StateChanged
from gradloom.steered import rescheduled, timetable
from gradloom_coordinator.durability.changes import StoredJob
from gradloom_coordinator.journal import Journal
from gradloom_coordinator.runs import Hold, JobRun
from gradloom_coordinator.steering import altered, paused_because, undone


def restored_run(stored: StoredJob, now: float, monotonic: float) -> JobRun:
    """The job: as it ended, or queued again with what its first part has left. ``now`` in seconds since the epoch."""
    run = JobRun(stored.job, stored.spec, Journal(stored.events), stored.created_at)
    run.steering = list(stored.steering)
    run.checkpoints = [kept for kept in stored.checkpoints if not undone(kept, stored.steering)]
    if stored.state.final:
        run.in_force = altered(stored.spec, stored.steering)
        run.state, run.reason, run.final_view = stored.state, stored.reason, stored.view
        if (
            not run.journal.closed
        ):  # it was to be told once the end was durable; the coordinator died in between
            run.journal.add(now, StateChanged(stored.state, stored.reason))
        run.model_path = Path(stored.model_path) if stored.model_path else None
        return run
    run.state, run.reason = JobState.QUEUED, "the coordinator came back"
    # what people changed is done again in the same rounds, so that the model has the same bits
    run.scheduled = rescheduled(run.scheduled, stored.steering)
    run.acknowledged = timetable(stored.steering)
    run.restored = stored.manifest is not None
    run.served = stored.state is JobState.SERVING
    if (paused := paused_because(stored.steering)) and not run.served:
        run.holds[Hold.PERSON] = paused
    run.manifest = stored.manifest
    if stored.started_at is not None:
        run.started = monotonic - (now - stored.started_at)
    return run

"""Jobs as the database has them."""

from gradloom.jobs import JobState
from gradloom.specs import JobSpec
from gradloom_coordinator.durability.changes import StoredJob


def stored_job(job: str, spec: JobSpec) -> StoredJob:
    """One that runs and has done nothing yet."""
    return StoredJob(
        job=job,
        spec=spec,
        client_token="",
        state=JobState.RUNNING,
        reason="",
        created_at=1.7e9,
        started_at=None,
        manifest=None,
        view=None,
        model_path="",
        events=(),
        checkpoints=(),
        steering=(),
    )

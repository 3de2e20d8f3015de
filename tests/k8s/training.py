"""The job that pods train, and what a cluster on this machine makes of it."""

from pathlib import Path

from gradloom import Client
from gradloom.handles import Job
from gradloom.jobs import JobState, JobView, RoundCompleted

LIMIT_S = 90.0
SETTINGS = {"solver": "adam", "batch_size": 2048, "max_rounds": 150}


def submit(client: Client, data: Path) -> Job:
    return client.submit(
        "logistic", data=str(data / "rows.npy"), target="30", shards=8, seed=3, settings=SETTINGS
    )


def ended(job: Job) -> JobView:
    view = job.wait(LIMIT_S)
    assert view.state is JobState.COMPLETED, view.reason
    return view


def until_round(job: Job, wanted: int) -> None:
    for event in job.watch(timeout_s=LIMIT_S):
        if isinstance(event.what, RoundCompleted) and event.what.round >= wanted:
            return
    raise AssertionError(f"the job ended before round {wanted}")

"""Asks a coordinator for all that it keeps of a job. The only module here that makes calls."""

import time

from gradloom.errors import NotFound
from gradloom.handles import Job
from gradloom.reports.facts import RunFacts
from gradloom.traces import JobTrace


def gather(job: Job) -> RunFacts:
    """The job as it stands. Raises NotFound if there is no such job, and Unavailable."""
    view = job.view()
    trace: JobTrace | None = None
    why = ""
    try:
        trace = job.trace()
    except NotFound as error:
        why = error.message
    return RunFacts(view, job.history(), trace, why, time.time())

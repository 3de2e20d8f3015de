"""The jobs that people know of: found by id or token, remembered for a while after their end."""

import uuid
from pathlib import Path

from gradloom.errors import AlreadyExists, Conflict, NotFound
from gradloom.specs import JobSpec
from gradloom_coordinator.journal import Journal
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.scheduling.events import JobId


class JobRecords:
    """Every job that is not forgotten yet, the oldest first."""

    def __init__(self) -> None:
        self.runs: dict[JobId, JobRun] = {}
        self._tokens: dict[str, JobId] = {}

    def new(self, spec: JobSpec, client_token: str, now: float) -> JobRun:
        """A new job, queued; ``now`` in seconds since the epoch."""
        run = JobRun(f"{spec.algorithm}-{uuid.uuid4().hex[:8]}", spec, Journal(), now)
        self.keep(run, client_token)
        return run

    def keep(self, run: JobRun, client_token: str) -> None:
        """Have a job found from now on."""
        self.runs[run.job_id] = run
        if client_token:
            self._tokens[client_token] = run.job_id

    def with_token(self, client_token: str, spec: JobSpec) -> JobRun | None:
        """The job that was submitted under the token. Raises AlreadyExists if it is another one."""
        if client_token not in self._tokens:
            return None
        run = self.runs[self._tokens[client_token]]
        if run.submitted != spec:
            raise AlreadyExists(
                f"client_token: {client_token!r} was used for another specification ({run.job_id})"
            )
        return run

    def named(self, job_id: JobId) -> JobRun:
        """A job by its id. Raises NotFound."""
        if job_id not in self.runs:
            raise NotFound(f"there is no job {job_id!r}")
        return self.runs[job_id]

    def model_path(self, job_id: JobId) -> Path:
        """Where a completed job's model is. Raises NotFound, or Conflict if there is none."""
        run = self.named(job_id)
        if run.ending is not None:
            raise Conflict(f"job {job_id} has no model yet: {run.ending.reason}")
        if run.model_path is None:
            raise Conflict(f"job {job_id} has no model: it is {run.state} ({run.reason})")
        return run.model_path

    def forget_oldest(self, keep: int) -> list[JobId]:
        """Forget the jobs that ended, but for the newest ``keep``; those that were forgotten."""
        ended = [run.job_id for run in self.runs.values() if run.state.final and run.ending is None]
        forgotten = ended[: max(0, len(ended) - keep)]
        for job_id in forgotten:
            del self.runs[job_id]
        self._tokens = {token: job for token, job in self._tokens.items() if job in self.runs}
        return forgotten

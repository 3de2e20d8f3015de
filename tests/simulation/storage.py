"""What outlives the coordinator: the records of jobs and their checkpoints."""

from dataclasses import dataclass, field, replace

from gradloom.jobs import JobState
from simulation.mathematics import Descent
from simulation.plan import JobPlan

KEPT_CHECKPOINTS = 3


@dataclass(slots=True)
class JobRecord:
    """One row of the store."""

    plan: JobPlan
    state: JobState = JobState.QUEUED
    reason: str = ""
    pause_because: str = ""
    last_round: int = 0
    """The highest number that a round was ever given."""
    result: bytes = b""
    answered: int = 0
    """Queries, as those who asked know."""
    forgotten: bool = False
    checkpoints: list[Descent] = field(default_factory=list)

    def save(self, descent: Descent) -> None:
        """Write a checkpoint and drop the oldest."""
        self.checkpoints = [*self.checkpoints, replace(descent)][-KEPT_CHECKPOINTS:]

    def restored(self) -> Descent:
        """Where training goes on: the newest checkpoint, or the beginning."""
        if self.checkpoints:
            return replace(self.checkpoints[-1])
        return Descent(self.plan.n_shards, self.plan.max_rounds)


@dataclass(slots=True)
class Storage:
    """Jobs in the order of their submission."""

    jobs: dict[str, JobRecord] = field(default_factory=dict)
    excluded: set[str] = field(default_factory=set)
    """Workers that a person has shut out."""

    def unfinished(self) -> list[JobRecord]:
        return [record for record in self.jobs.values() if not record.state.final]

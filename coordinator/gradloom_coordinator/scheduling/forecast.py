"""What things will probably take: computing, loading, getting through what is in hand. Numbers only, no decision."""

from dataclasses import dataclass
from math import inf

from gradloom_coordinator.scheduling.events import WorkerId
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.rounds import Chunk
from gradloom_coordinator.scheduling.state import Job, Worker

SOON_S = 0.001
"""After the moment from which on something pays: then it does so whatever rounding made of the times."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds from now, by what was measured."""

    limits: Limits

    def ours_s(self, job: Job, worker: Worker, chunk: Chunk) -> float:
        """What another's chunk would take us, loading included; 0 while nobody knows, infinite where we may not."""
        if worker.id in chunk.avoid:
            return inf
        seconds = job.seconds_for(worker.id, chunk.rows)
        load_s = 0.0
        if not job.holds(worker.id, chunk.range):
            if len(job.holders.get(chunk.range.lo, ())) >= self.limits.replicas:
                return inf
            load_s = job.load_s_per_row * chunk.rows
        return 0.0 if seconds is None else seconds + load_s + worker.transit_s

    def until_through(self, job: Job, victim: Worker, now: float) -> float:
        """When a worker will be through with all that it has in hand and in its queue, in seconds from now."""
        assert job.round is not None
        return self.left_in_hand(victim, now) + self.seconds(
            job, victim.id, job.round.queued_rows.get(victim.id, 0)
        )

    def left_in_hand(self, worker: Worker, now: float) -> float:
        """What its tasks in hand will still take; one that is late by so much will be late by as much again."""
        if not worker.tasks:
            return 0.0
        first = next(iter(worker.tasks.values()))
        elapsed_s = now - worker.computes_since
        return worker.expected_s - first.expected_s + abs(first.expected_s - elapsed_s)

    def seconds(self, job: Job, worker: WorkerId, rows: int) -> float:
        """What so many rows will take; where nobody knows, as if each took a second: only comparisons count."""
        seconds = job.seconds_for(worker, rows)
        return float(rows) if seconds is None else seconds

    def late_by(self, worker: Worker, seconds: float) -> float:
        """When all that a worker has in hand will be late by so much, if its first task goes on until then."""
        if not worker.tasks:
            return inf
        first = next(iter(worker.tasks.values()))
        return worker.computes_since + 2 * first.expected_s - worker.expected_s + seconds + SOON_S

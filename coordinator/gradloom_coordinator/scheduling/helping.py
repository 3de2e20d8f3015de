"""Taking over what others have not started: from their queues, or given up by them. No I/O, no clock.

The queue of a worker is here, so its last chunks can be taken at once. What it has in hand is there: it is asked to
give a task up, and nobody starts that before it has answered.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heapreplace
from itertools import islice
from math import inf

from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling.commands import Command
from gradloom_coordinator.scheduling.events import TaskRef, WorkerId
from gradloom_coordinator.scheduling.forecast import Forecast
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.rounds import Chunk, Round
from gradloom_coordinator.scheduling.state import ClusterState, Given, Job, Pick, Worker

LOOK_AT = 4
"""Of the oldest and of the newest tasks in hand, and of the longest queues: a bound on what looking costs."""


def late_tasks(round_: Round) -> dict[TaskRef, WorkerId]:
    """The oldest tasks in hand, and the newest."""
    return dict(
        [
            *islice(round_.in_hand.items(), LOOK_AT),
            *((task, round_.in_hand[task]) for task in islice(reversed(round_.in_hand), LOOK_AT)),
        ]
    )


@dataclass(frozen=True, slots=True)
class Helper:
    """Finds what a worker with nothing to do can do for others."""

    limits: Limits
    state: ClusterState
    forecast: Forecast

    def help(self, job: Job, worker: Worker, now: float) -> Pick | None:
        """The last chunk of another's queue, if that one would come to it later than we would be through with it."""
        for victim in self._laden(job, worker):
            assert job.round is not None
            if not job.pace_s and not victim.tasks:
                continue  # it is about to be given its first
            ours_s, chunk = self._easiest(job, worker, victim)
            theirs_s = self.forecast.until_through(job, victim, now)
            if chunk is not None and self.forecast.left_in_hand(worker, now) + ours_s < theirs_s:
                job.round.draw(chunk, victim.id)
                job.counts.helped += 1
                late = f"would need {theirs_s:.2g} s to come to it" if job.pace_s else "has more to do"
                return Pick(job, chunk, f"helps {victim.id}, which {late}")
        return None

    def leaves(self, job: Job, worker: Worker, chunk: Chunk, now: float) -> bool:
        """Whether a slow worker had better not begin its own next chunk: one who is busy now is through with it sooner.

        Only where one job has the workers and every shard counts in its round: else others may be busy elsewhere, or
        nobody waits for the slow one.
        """
        ours_s, typical_s = job.seconds_for(worker.id, chunk.rows), job.pace_s * chunk.rows
        if ours_s is None or ours_s < self.limits.straggler_ratio * typical_s or not self.limits.help:
            return False
        if len(self.state.active) > 1 or not job.synchrony.exact:
            return False
        assert job.round is not None
        if not worker.tasks and worker.id not in job.round.answered_by:
            return False  # one chunk a round shows whether it is still slow
        through_s = self.forecast.left_in_hand(worker, now) + ours_s
        clearly_sooner_s = through_s - typical_s
        return any(
            self.forecast.until_through(job, other, now) + self.forecast.ours_s(job, other, chunk)
            < clearly_sooner_s
            for other in self._helpers_of(job, worker, chunk)
        )

    def _helpers_of(self, job: Job, worker: Worker, chunk: Chunk) -> Iterator[Worker]:
        """Busy workers that hold a chunk of another's; where few do, its neighbour in the ring."""
        assert job.plan is not None
        holders = job.holders.get(chunk.range.lo, ())
        if len(holders) < self.limits.replicas:
            holders = (*holders, job.plan.helped_by.get(worker.id, ""))
        others = (self.state.workers.get(name) for name in holders if name != worker.id)
        for other in others:
            if other is not None and other.tasks and other.takes_work and job.admits(other):
                yield other

    def _laden(self, job: Job, worker: Worker) -> Iterator[Worker]:
        """Whom to help: the neighbour in the ring, then those that have most left."""
        assert job.round is not None
        neighbour = job.plan.helps.get(worker.id) if job.plan is not None else None
        if neighbour is not None and job.round.queued_rows.get(neighbour):
            yield self.state.workers[neighbour]
        longest = job.round.longest
        while longest:
            seconds, victim = longest[0]
            left = self.forecast.seconds(job, victim, job.round.queued_rows.get(victim, 0))
            if not job.round.queues.get(victim):
                heappop(longest)
            elif left < -seconds:
                heapreplace(longest, (-left, victim))
            else:
                break
        for _, victim in longest[:LOOK_AT]:
            if victim not in (neighbour, worker.id) and job.round.queues.get(victim):
                yield self.state.workers[victim]

    def _easiest(self, job: Job, worker: Worker, victim: Worker) -> tuple[float, Chunk | None]:
        """Of the last chunks of another's queue the one that takes us least, and what it takes."""
        assert job.round is not None
        easiest: tuple[float, Chunk | None] = inf, None
        for chunk in job.round.last_of(victim.id, LOOK_AT):
            ours_s = self.forecast.ours_s(job, worker, chunk)
            if ours_s < easiest[0]:
                easiest = ours_s, chunk
        return easiest

    def ask_back(self, job: Job, worker: Worker, now: float) -> list[Command]:
        """Have a worker give up what it has not started, if it would come to it later than we are through with it."""
        for victim, given, cost_s in self._not_started(job, worker):
            theirs_s = self.forecast.left_in_hand(victim, now)
            if self.forecast.ours_s(job, worker, given.chunk) + cost_s < theirs_s:
                given.asked_back_at = now
                ref = given.chunk.holders[victim.id]
                reason = f"{worker.id} has nothing to do, {victim.id} needs {theirs_s:.2g} s to come to it"
                return [c.TakeBack(victim.id, (ref,), reason)]
        return []

    def _not_started(self, job: Job, worker: Worker) -> Iterator[tuple[Worker, Given, float]]:
        """Tasks that others may give up, and what asking costs in seconds."""
        assert job.round is not None
        for victim_id in dict.fromkeys(late_tasks(job.round).values()) if self.limits.help else ():
            victim = self.state.workers[victim_id]
            if victim is worker or len(victim.tasks) < 2:
                continue
            ref, given = next(reversed(victim.tasks.items()))
            if ref.job == job.id and given.asked_back_at is None and not given.chunk.avoid:
                yield victim, given, 2 * victim.transit_s + self.limits.chunk_min_s

    def pays_at(self, job: Job, worker: Worker) -> float:
        """From when on helping or taking back pays, if somebody's task is late until then."""
        assert job.round is not None
        times = [inf]
        for victim in self._laden(job, worker) if self.limits.help else ():
            behind_s = self.forecast.seconds(job, victim.id, job.round.queued_rows.get(victim.id, 0))
            times.append(self.forecast.late_by(victim, self._easiest(job, worker, victim)[0] - behind_s))
        for victim, given, cost_s in self._not_started(job, worker):
            times.append(
                self.forecast.late_by(victim, self.forecast.ours_s(job, worker, given.chunk) + cost_s)
            )
        return min(times)

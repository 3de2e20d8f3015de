"""Speculative copies of chunks that take too long. The source of the rule is Spark's speculation. No I/O, no clock."""

from dataclasses import dataclass

from gradloom_coordinator.scheduling.events import TaskRef
from gradloom_coordinator.scheduling.helping import late_tasks
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.rounds import Round
from gradloom_coordinator.scheduling.state import ClusterState, Given, Job, Pick, Worker


@dataclass(frozen=True, slots=True)
class Copier:
    """Decides what is copied, and when."""

    limits: Limits
    state: ClusterState

    def find(self, job: Job, worker: Worker, now: float) -> Pick | float | None:
        """The oldest task that takes too long, for a worker with nothing to do; else when the next one will."""
        round_, limits = job.round, self.limits
        assert round_ is not None
        if not (limits.speculation and job.speculation) or job.copies.rests_in(round_.number):
            return None
        slots = max(1, int(limits.copy_slots * len(self.state.workers)))
        if not round_.paces or round_.copies_in_hand >= slots:
            return None
        soonest: float | None = None
        for ref, holder in late_tasks(round_).items():
            given = self.state.workers[holder].tasks[ref]
            started = self._started(self.state.workers[holder], ref, given, now)
            if started is None:
                continue
            late_at = started + self._too_long_s(round_, given.rows)
            if not self._may_copy(job, worker, given, max(now, late_at) - started):
                continue
            if now >= late_at:
                slow = f"{now - started:.2g} s, median {round_.median_pace() * given.rows:.2g} s"
                return Pick(job, given.chunk, f"copies what takes {holder} too long: {slow}", is_copy=True)
            soonest = min(late_at, soonest or late_at)
        return soonest

    def _too_long_s(self, round_: Round, rows: int) -> float:
        """How long so many rows may take before they are copied: as the others, or until they seem to hang."""
        limits, median_s = self.limits, round_.median_pace() * rows
        if round_.shards_counted >= limits.copy_after_share * round_.n_shards:
            return max(limits.copy_min_s, limits.copy_slower * median_s)
        return max(limits.hung_min_s, limits.hung_slower * median_s)

    def _started(self, holder: Worker, ref: TaskRef, given: Given, now: float) -> float | None:
        """When a task was begun; one that was asked back in vain counts as begun when it was given."""
        if next(iter(holder.tasks)) == ref:
            return holder.computes_since
        asked = given.asked_back_at
        return given.at if asked is not None and now - asked >= self.limits.copy_min_s else None

    def _may_copy(self, job: Job, worker: Worker, given: Given, elapsed_s: float) -> bool:
        """Whether a second try has a chance: elsewhere, and through before the first one probably is."""
        if len(given.chunk.holders) > 1 or worker.id in given.chunk.holders or worker.id in given.chunk.avoid:
            return False
        holder = self.state.workers[next(iter(given.chunk.holders))]
        if worker.host and holder.host == worker.host and self._has_other_host(worker.host):
            return False
        left_s = max(given.expected_s - elapsed_s, elapsed_s)
        ours_s = job.seconds_for(worker.id, given.rows)
        if ours_s is None:
            return True
        if not job.holds(worker.id, given.chunk.range):
            ours_s += job.load_s_per_row * given.rows
        return ours_s < left_s

    def _has_other_host(self, host: str) -> bool:
        return self.state.hosts[host] < len(self.state.workers)

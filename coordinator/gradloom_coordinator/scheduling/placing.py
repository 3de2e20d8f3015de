"""Places a job's shards on workers, and decides when that is done anew. No I/O, no clock."""

from dataclasses import dataclass, replace
from zlib import crc32

from gradloom_coordinator.scheduling.commands import AnnounceNote, Command
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.plans import Plan, cut, pays_to_move, ring
from gradloom_coordinator.scheduling.policies import POLICIES, Candidate, Placement
from gradloom_coordinator.scheduling.state import ClusterState, Job, Worker

RECUT = 1.5
"""Chunks are cut anew when a row takes so many times as long, or as short, as they were cut for."""

FASTER = "others are faster now"


@dataclass(slots=True)
class Placer:
    """Keeps each job's plan good."""

    limits: Limits
    state: ClusterState

    def review(self, job: Job) -> list[Command]:
        """Make sure that the round that opens now has a plan, if there is any worker."""
        assert job.round is not None
        plan = job.plan
        if plan is None or job.replan_because:
            return self._place(job)
        if job.pace_s and not plan.pace_s:
            job.plan = self._cut(job, plan)
            return self._move_if_it_pays(job)
        if plan.shared != self._is_shared():
            job.plan = self._cut(job, plan)
        if job.round.number - plan.judged_in_round >= self.limits.replace_every_rounds:
            job.plan = replace(plan, judged_in_round=job.round.number)
            off = job.pace_s / plan.pace_s if plan.pace_s else 1.0
            if not 1 / RECUT < off < RECUT:
                job.plan = self._cut(job, job.plan)
            return self._move_if_it_pays(job)
        return []

    def takers(self, job: Job) -> list[Worker]:
        """Workers that may be given the job's shards for many rounds, by name."""
        return sorted(
            (w for w in self.state.workers.values() if w.takes_work and job.admits(w)),
            key=lambda worker: worker.id,
        )

    def _place(self, job: Job) -> list[Command]:
        takers = self.takers(job)
        if not takers:
            job.plan = None
            return self._say_starved(job)
        why, job.replan_because, job.starved = job.replan_because, "", False
        placement = self._choose(job, takers)
        before = job.placement
        nobody_new = before is not None and before.shards.keys() == {worker.id for worker in takers}
        same_policy = job.plan is not None and job.plan.policy == job.policy
        if before is not None and nobody_new and same_policy and not self._pays(job, before, placement):
            return []
        return self._adopt(job, placement, why)

    def _move_if_it_pays(self, job: Job) -> list[Command]:
        assert job.placement is not None
        if job.policy not in ("balanced", "local"):
            return []
        placement = self._choose(job, self.takers(job))
        if placement.shards == job.placement.shards or not self._pays(job, job.placement, placement):
            return []
        return self._adopt(job, placement, FASTER)

    def _choose(self, job: Job, takers: list[Worker]) -> Placement:
        had = job.placement.shards if job.placement is not None else {}
        candidates = [
            Candidate(
                worker.id,
                speed,
                had.get(worker.id, ()),
                job.held.get(worker.id, frozenset()),
            )
            for worker, speed in zip(takers, self._speeds(job, takers), strict=True)
        ]
        return POLICIES[job.policy](job.shard_rows, candidates, crc32(job.id.encode()))

    def _speeds(self, job: Job, takers: list[Worker]) -> list[float]:
        """Measured in this step; before anybody has been, in the step before, or in other jobs alike."""
        shares = [job.share(worker.id) for worker in takers]
        if any(share.rows_per_second for share in shares):
            return [share.lasting_rows_per_second or share.rows_per_second for share in shares]
        if any(share.relative_speed for share in shares):
            return [share.relative_speed for share in shares]
        return [worker.speeds.get(job.algorithm, 0.0) for worker in takers]

    def _pays(self, job: Job, before: Placement, after: Placement) -> bool:
        """Whether to move; not while nobody knows how long a row takes."""
        if not job.pace_s:
            return False
        names = before.shards.keys() | after.shards.keys()
        shares = {name: job.share(name) for name in names}
        speeds = {
            name: share.lasting_rows_per_second or share.rows_per_second or 1 / job.pace_s
            for name, share in shares.items()
        }
        return pays_to_move(self.limits, job.shard_rows, before, after, speeds, job.load_s_per_row).pays

    def _adopt(self, job: Job, placement: Placement, why: str) -> list[Command]:
        assert job.round is not None
        before = job.placement.shards if job.placement is not None else {}
        owner = {i: name for name, part in before.items() for i in part}
        for name in job.shares.keys() | placement.shards.keys():
            part = placement.shards.get(name, ())
            job.share(name).shards = len(part)
            moved = sum(owner.get(i, name) != name for i in part)
            job.counts.moved_shards += moved
            self.state.measures.rebalanced.add(job.id, _cause(why), by=moved)
        helps = ring(list(placement.shards))
        helped_by = {victim: helper for helper, victim in helps.items()}
        plan = Plan(placement, job.policy, {}, helps, helped_by, 0.0, job.round.number)
        job.plan = self._cut(job, plan)
        text = f"placed: {placement.reason}" + (f"; {why}" if why else "")
        return [AnnounceNote(job.id, text)]

    def _cut(self, job: Job, plan: Plan) -> Plan:
        send_s = job.partial_bytes / self.limits.wire_bytes_per_s
        # the answers of all workers go through the coordinator's one thread
        busy_s = len(plan.placement.shards) * self.limits.answer_s / self.limits.max_answer_share
        limits = replace(self.limits, chunk_min_s=max(self.limits.chunk_min_s, busy_s))
        paces = {worker: self._pace(job, worker) for worker in plan.placement.shards}
        shared = self._is_shared()
        orders = {
            worker: cut(shards, job.rows_before, paces[worker], send_s, limits, shared=shared)
            for worker, shards in plan.placement.shards.items()
        }
        return replace(plan, orders=orders, pace_s=sum(paces.values()) / len(paces), shared=shared)

    def _is_shared(self) -> bool:
        """Whether several jobs want the workers."""
        return len(self.state.active) > 1

    def _pace(self, job: Job, worker: str) -> float:
        speed = job.share(worker).rows_per_second
        return 1 / speed if speed else job.pace_s

    def say_if_starved(self, job: Job) -> list[Command]:
        """Once, while nobody takes work of a job that has some."""
        anybody = any(w.takes_work and job.admits(w) for w in self.state.workers.values())
        return [] if anybody else self._say_starved(job)

    def _say_starved(self, job: Job) -> list[Command]:
        if job.starved:
            return []
        job.starved = True
        labels = ", ".join(f"{name}={value}" for name, value in sorted(job.required_labels.items()))
        which = f" with {labels}" if labels else ""
        lacking = sum(job.algorithm in worker.lacks for worker in self.state.workers.values())
        why = f"; {lacking} worker(s) have no algorithm {job.algorithm!r} installed" if lacking else ""
        return [AnnounceNote(job.id, f"waiting: there is no worker{which} that takes work{why}")]


def _cause(why: str) -> str:
    """Why shards are placed anew, in one of few words."""
    if why == FASTER:
        return "speed"
    if why.startswith("the policy"):
        return "policy"
    return "worker_came" if why.endswith((" joined", " back", " again", " back in")) else "worker_went"

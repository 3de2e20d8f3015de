"""Who computes which chunk next.

A worker is given chunks bit by bit, so that it has a little more in hand than it can compute while an answer is on
its way. It takes its own chunks first, then what nobody has, then the last of those that another would come to much
later. When nothing is left that has not been handed out, workers with nothing to do have others give up what those
have not started (``TakeBack``; the thief starts only once the victim has answered), and at last a chunk that takes
too long is copied: the first result counts.

Of several jobs the one that was given least for its weight comes first. No I/O, no clock.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from heapq import heapify, heappop, heapreplace
from itertools import islice
from math import inf

from gradloom.canonical import Range
from gradloom.jobs import WorkerState
from gradloom_coordinator import commands as c
from gradloom_coordinator.closing import behind
from gradloom_coordinator.commands import Command, TaskOrder
from gradloom_coordinator.events import TaskRef, WorkerId
from gradloom_coordinator.limits import Limits
from gradloom_coordinator.rounds import Chunk, Round
from gradloom_coordinator.state import ClusterState, Given, Job, Worker

SOON_S = 0.001
"""After the moment from which on something pays: then it does so whatever rounding made of the times."""
LOOK_AT = 4
"""Of the oldest and of the newest tasks in hand, when there is something to steal or to copy: a bound on the cost."""


LOOK_AGAIN = 64
"""Workers that could take more, whenever time passes: the same for a cluster of any size."""


@dataclass(frozen=True, slots=True)
class Pick:
    """A chunk for a worker, and why it gets it."""

    job: Job
    chunk: Chunk
    reason: str
    is_copy: bool = False


@dataclass(slots=True)
class Dealer:
    """Hands out chunks of open rounds."""

    limits: Limits
    state: ClusterState

    def open(
        self, job: Job, carried: Mapping[TaskRef, WorkerId], missed: Mapping[Range, Chunk], now: float
    ) -> list[Command]:
        """Queue the plan's chunks of a new round and hand out the first of them.

        ``carried``: tasks of rounds that ended without them; what they compute is counted in this one. ``missed``: the
        chunks that the round before ended without; whoever owns more than it can do comes to the last ones too.
        """
        assert job.round is not None
        assert job.plan is not None
        round_ = job.round
        taken = {ref.range: ref for ref in carried}
        for worker_id, orders in job.plan.orders.items():
            for order in sorted(orders, key=lambda order: -behind(job, order.range)) if missed else orders:
                chunk = Chunk(order, job.rows_in(order.range))
                if order.range in missed:
                    chunk.remember(missed[order.range])
                if order.range in taken:
                    self._carry(round_, chunk, taken.pop(order.range), carried)
                else:
                    round_.put(chunk, worker_id)
        commands = self.call_off({ref: carried[ref] for ref in carried if ref not in round_.in_hand})
        for worker_id, rows in round_.queued_rows.items():
            round_.longest.append((-self._seconds(job, worker_id, rows), worker_id))
        heapify(round_.longest)
        for worker_id in job.plan.orders:
            commands += self.deal(self.state.workers[worker_id], now)
        return commands + self.feed(now)

    def _carry(self, round_: Round, chunk: Chunk, ref: TaskRef, carried: Mapping[TaskRef, WorkerId]) -> None:
        """A chunk whose old task is still being computed: one copy of it at most."""
        holder = self.state.workers[carried[ref]]
        given = holder.tasks[ref]
        given.chunk = chunk
        round_.copies_in_hand += given.is_copy
        chunk.holders[holder.id] = ref
        round_.chunks[chunk.range] = chunk
        round_.in_hand[ref] = holder.id

    def call_off(self, tasks: Mapping[TaskRef, WorkerId]) -> list[Command]:
        """Nobody needs these tasks any more."""
        commands: list[Command] = []
        for ref, holder in list(tasks.items()):
            self.state.take_from(self.state.workers[holder], ref)
            commands.append(c.CancelTasks(holder, (ref,), "its round is over"))
        return commands

    def feed(self, now: float, *, orphans_only: bool = False) -> list[Command]:
        """Hand out what there is to the workers that could take more; ``orphans_only`` stops when nobody's is left."""
        if orphans_only and not self._any_orphans():
            return []
        commands: list[Command] = []
        workers = self.state.workers
        for worker_id in sorted(
            self.state.hungry, key=lambda name: bool(workers[name].tasks)
        ):  # idle ones first
            if orphans_only and not self._any_orphans():
                break
            commands += self.feed_one(worker_id, now)
        return commands

    def look_again(self, now: float) -> list[Command]:
        """As time passes tasks come to be late: let some of the workers that have nothing to do see whether they are.

        Some are enough, since all of them see the same tasks; next time it is others' turn.
        """
        commands: list[Command] = []
        for worker_id in list(islice(self.state.hungry, LOOK_AGAIN)):
            commands += self.feed_one(worker_id, now)
        return commands

    def _any_orphans(self) -> bool:
        return any(job.round is not None and job.round.orphans for job in self.state.active.values())

    def feed_one(self, worker_id: WorkerId, now: float) -> list[Command]:
        """Hand out what there is to a worker that takes work from now on."""
        worker = self.state.workers.get(worker_id)
        return self.deal(worker, now) if worker is not None else []

    def deal(self, worker: Worker, now: float) -> list[Command]:
        """Give a worker as much as it should have in hand."""
        self.state.hungry.pop(worker.id, None)
        picks: list[Pick] = []
        while self._wants_more(worker):
            pick = self._next(worker, now)
            if pick is None:
                self.state.hungry[worker.id] = None
                break
            self._hand_over(pick, worker, now)
            picks.append(pick)
        commands = self._orders(worker, picks)
        if not worker.tasks and worker.id in self.state.hungry:
            commands += self._look_for_late(worker, now)
        return commands

    def _wants_more(self, worker: Worker) -> bool:
        if not worker.takes_work:
            return False
        if not worker.tasks:
            return True
        if worker.state is WorkerState.PROBING or len(worker.tasks) >= self.limits.max_in_hand:
            return False
        ahead_s = worker.expected_s
        if len(self.state.active) == 1:  # else what one job has lying about would stand in another's way
            ahead_s -= next(iter(worker.tasks.values())).expected_s
        return ahead_s < self.limits.lead_s + 2 * worker.transit_s

    def _jobs_for(self, worker: Worker) -> list[Job]:
        jobs = [
            job
            for job in self.state.active.values()
            # a newer round's Compute would take back what a worker still computes for an older one
            if job.open_round is not None and job.admits(worker) and not _has_carried(job, worker)
        ]
        return sorted(jobs, key=lambda job: job.charged_s) if len(jobs) > 1 else jobs

    def _next(self, worker: Worker, now: float) -> Pick | None:
        jobs = self._jobs_for(worker)
        for job in jobs:
            assert job.round is not None
            assert job.plan is not None or not job.round.queues
            if chunk := job.round.draw_own(worker.id):
                assert job.plan is not None
                return Pick(job, chunk, job.plan.placement.reason)
            if chunk := job.round.draw_orphan(partial(self.state.may_try, job, worker)):
                return Pick(job, chunk, "nobody had it")
        for job in jobs if self.limits.help else ():
            if pick := self._help(job, worker, now):
                return pick
        return None

    # ---- helping

    def _help(self, job: Job, worker: Worker, now: float) -> Pick | None:
        """The last chunk of another's queue, if that one would come to it later than we would be through with it."""
        for victim in self._laden(job, worker):
            assert job.round is not None
            if not job.pace_s and not victim.tasks:
                continue  # it is about to be given its first
            ours_s, chunk = self._easiest(job, worker, victim)
            theirs_s = self._until_through(job, victim, now)
            if chunk is not None and self._left_in_hand(worker, now) + ours_s < theirs_s:
                job.round.draw(chunk, victim.id)
                job.counts.helped += 1
                late = f"would need {theirs_s:.2g} s to come to it" if job.pace_s else "has more to do"
                return Pick(job, chunk, f"helps {victim.id}, which {late}")
        return None

    def _laden(self, job: Job, worker: Worker) -> Iterator[Worker]:
        """Whom to help: the neighbour in the ring, then those that have most left."""
        assert job.round is not None
        neighbour = job.plan.helps.get(worker.id) if job.plan is not None else None
        if neighbour is not None and job.round.queued_rows.get(neighbour):
            yield self.state.workers[neighbour]
        longest = job.round.longest
        while longest:
            seconds, victim = longest[0]
            left = self._seconds(job, victim, job.round.queued_rows.get(victim, 0))
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
            ours_s = self._ours_s(job, worker, chunk)
            if ours_s < easiest[0]:
                easiest = ours_s, chunk
        return easiest

    def _ours_s(self, job: Job, worker: Worker, chunk: Chunk) -> float:
        """What another's chunk would take us, loading included; 0 while nobody knows, infinite where we may not."""
        if worker.id in chunk.avoid:
            return inf
        seconds = job.seconds_for(worker.id, chunk.rows)
        load_s = 0.0
        if not job.holds(worker.id, chunk.range):
            if job.n_holders.get(chunk.range.lo, 0) >= self.limits.replicas:
                return inf
            load_s = job.load_s_per_row * chunk.rows
        return 0.0 if seconds is None else seconds + load_s + worker.transit_s

    def _until_through(self, job: Job, victim: Worker, now: float) -> float:
        """When a worker will be through with all that it has in hand and in its queue, in seconds from now."""
        assert job.round is not None
        return self._left_in_hand(victim, now) + self._seconds(
            job, victim.id, job.round.queued_rows.get(victim.id, 0)
        )

    def _left_in_hand(self, worker: Worker, now: float) -> float:
        """What its tasks in hand will still take; one that is late by so much will be late by as much again."""
        if not worker.tasks:
            return 0.0
        first = next(iter(worker.tasks.values()))
        elapsed_s = now - worker.computes_since
        return worker.expected_s - first.expected_s + abs(first.expected_s - elapsed_s)

    def _seconds(self, job: Job, worker: WorkerId, rows: int) -> float:
        """What so many rows will take; where nobody knows, as if each took a second: only comparisons count."""
        seconds = job.seconds_for(worker, rows)
        return float(rows) if seconds is None else seconds

    # ---- stealing and copying

    def _look_for_late(self, worker: Worker, now: float) -> list[Command]:
        """Have a task given up, or copy one; where neither pays yet, look again when it may."""
        commands: list[Command] = []
        for job in self._jobs_for(worker):
            if found := self._ask_back(job, worker, now):
                return found
            commands += self._copy(job, worker, now)
            if worker.tasks:
                return commands
            pays_at = self._pays_at(job, worker)
            if now < pays_at < inf:
                commands.append(c.WakeAt(pays_at))
        return commands

    def _pays_at(self, job: Job, worker: Worker) -> float:
        """From when on helping or taking back pays, if somebody's task is late until then."""
        assert job.round is not None
        times = [inf]
        for victim in self._laden(job, worker) if self.limits.help else ():
            behind_s = self._seconds(job, victim.id, job.round.queued_rows.get(victim.id, 0))
            times.append(self._late_by(victim, self._easiest(job, worker, victim)[0] - behind_s))
        for victim, given, cost_s in self._not_started(job, worker):
            times.append(self._late_by(victim, self._ours_s(job, worker, given.chunk) + cost_s))
        return min(times)

    def _late_by(self, worker: Worker, seconds: float) -> float:
        """When all that a worker has in hand will be late by so much, if its first task goes on until then."""
        if not worker.tasks:
            return inf
        first = next(iter(worker.tasks.values()))
        return worker.computes_since + 2 * first.expected_s - worker.expected_s + seconds + SOON_S

    def _late_tasks(self, round_: Round) -> dict[TaskRef, WorkerId]:
        """The oldest tasks in hand, and the newest."""
        return dict(
            [
                *islice(round_.in_hand.items(), LOOK_AT),
                *((task, round_.in_hand[task]) for task in islice(reversed(round_.in_hand), LOOK_AT)),
            ]
        )

    def _ask_back(self, job: Job, worker: Worker, now: float) -> list[Command]:
        """Have a worker give up what it has not started, if it would come to it later than we are through with it."""
        for victim, given, cost_s in self._not_started(job, worker):
            theirs_s = self._left_in_hand(victim, now)
            if self._ours_s(job, worker, given.chunk) + cost_s < theirs_s:
                given.asked_back_at = now
                ref = given.chunk.holders[victim.id]
                reason = f"{worker.id} has nothing to do, {victim.id} needs {theirs_s:.2g} s to come to it"
                return [c.TakeBack(victim.id, (ref,), reason)]
        return []

    def _not_started(self, job: Job, worker: Worker) -> Iterator[tuple[Worker, Given, float]]:
        """Tasks that others may give up, and what asking costs in seconds."""
        assert job.round is not None
        for victim_id in dict.fromkeys(self._late_tasks(job.round).values()) if self.limits.help else ():
            victim = self.state.workers[victim_id]
            if victim is worker or len(victim.tasks) < 2:
                continue
            ref, given = next(reversed(victim.tasks.items()))
            if ref.job == job.id and given.asked_back_at is None and not given.chunk.avoid:
                yield victim, given, 2 * victim.transit_s + self.limits.chunk_min_s

    def _copy(self, job: Job, worker: Worker, now: float) -> list[Command]:
        """Copy the oldest task that takes too long; the source of the rule is Spark's speculation."""
        round_, limits = job.round, self.limits
        assert round_ is not None
        if not (limits.speculation and job.speculation) or job.copies.rests_in(round_.number):
            return []
        if not round_.paces or round_.copies_in_hand >= max(
            1, int(limits.copy_slots * len(self.state.workers))
        ):
            return []
        soonest = None
        for ref, holder in self._late_tasks(round_).items():
            given = self.state.workers[holder].tasks[ref]
            started = self._started(self.state.workers[holder], ref, given, now)
            if started is None:
                continue
            late_at = started + self._too_long_s(round_, given.rows)
            if not self._may_copy(job, worker, given, max(now, late_at) - started):
                continue
            if now >= late_at:
                slow = f"{now - started:.2g} s, median {round_.median_pace() * given.rows:.2g} s"
                pick = Pick(job, given.chunk, f"copies what takes {holder} too long: {slow}", is_copy=True)
                self._hand_over(pick, worker, now)
                return self._orders(worker, [pick])
            soonest = min(late_at, soonest or late_at)
        return [c.WakeAt(soonest)] if soonest is not None else []

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

    # ---- handing over

    def _hand_over(self, pick: Pick, worker: Worker, now: float) -> None:
        job, chunk = pick.job, pick.chunk
        assert job.round is not None
        ref = TaskRef(job.id, job.round.number, chunk.range, chunk.order.attempt)
        seconds = job.seconds_for(worker.id, chunk.rows)
        expected_s = self.limits.lead_s if seconds is None else seconds
        given = Given(chunk, now, chunk.rows, expected_s, pick.is_copy)
        worker.take(ref, given)
        job.round.in_hand[ref] = worker.id
        job.charged_s += expected_s / job.share_weight
        job.starved = False
        if pick.is_copy:
            job.round.copies_in_hand += 1
            job.copies.launched += 1

    def _orders(self, worker: Worker, picks: list[Pick]) -> list[Command]:
        """One message for each job and reason; the plan's own tuple where a whole share goes out at once."""
        commands: list[Command] = []
        for (job_id, reason), group in _grouped(picks):
            job = group[0].job
            assert job.round is not None
            planned = job.plan.orders.get(worker.id, ()) if job.plan is not None else ()
            orders = tuple(pick.chunk.order for pick in group)
            whole_share = len(orders) == len(planned) and all(map(_is, orders, planned))
            commands.append(
                c.SendTasks(worker.id, job_id, job.round.number, planned if whole_share else orders, reason)
            )
        for pick in picks:
            order = pick.chunk.order
            pick.chunk.order = TaskOrder(order.range, order.attempt + 1)
        return commands


def _grouped(picks: list[Pick]) -> Iterable[tuple[tuple[str, str], list[Pick]]]:
    """By job and reason, in the order of the first of each."""
    if len(picks) == 1:
        return [((picks[0].job.id, picks[0].reason), picks)]
    groups: dict[tuple[str, str], list[Pick]] = {}
    for pick in picks:
        groups.setdefault((pick.job.id, pick.reason), []).append(pick)
    return groups.items()


def _has_carried(job: Job, worker: Worker) -> bool:
    assert job.round is not None
    if not worker.tasks or job.synchrony.exact:
        return False
    return any(task.job == job.id and task.round != job.round.number for task in worker.tasks)


def _is(a: TaskOrder, b: TaskOrder) -> bool:
    return a is b

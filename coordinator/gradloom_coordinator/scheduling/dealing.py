"""Who computes which chunk next.

A worker is given chunks bit by bit, so that it has a little more in hand than it can compute while an answer is on
its way. It takes its own chunks first, then what nobody has, then the last of those that another would come to much
later; one that is slow leaves its last ones to others who will be through with them sooner. When nothing is left that
has not been handed out, workers with nothing to do have others give up what those have not started (``TakeBack``; the
thief starts only once the victim has answered), and at last a chunk that takes too long is copied: the first result
counts.

Of several jobs the one that was given least for its weight comes first. No I/O, no clock.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from heapq import heapify
from itertools import islice
from math import inf

from gradloom.canonical import Range
from gradloom.jobs import WorkerState
from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling.closing import behind
from gradloom_coordinator.scheduling.commands import Command, TaskOrder
from gradloom_coordinator.scheduling.copying import Copier
from gradloom_coordinator.scheduling.events import TaskRef, WorkerId
from gradloom_coordinator.scheduling.forecast import Forecast
from gradloom_coordinator.scheduling.helping import Helper
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.measures import Lost
from gradloom_coordinator.scheduling.rounds import Chunk, Round
from gradloom_coordinator.scheduling.state import ClusterState, Given, Job, Pick, Worker

LOOK_AGAIN = 64
"""Workers that could take more, whenever time passes: the same for a cluster of any size."""


@dataclass(slots=True)
class Dealer:
    """Hands out chunks of open rounds."""

    limits: Limits
    state: ClusterState
    _forecast: Forecast = field(init=False)
    _helper: Helper = field(init=False)
    _copier: Copier = field(init=False)

    def __post_init__(self) -> None:
        self._forecast = Forecast(self.limits)
        self._helper = Helper(self.limits, self.state, self._forecast)
        self._copier = Copier(self.limits, self.state)

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
            round_.longest.append((-self._forecast.seconds(job, worker_id, rows), worker_id))
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
            self.state.discard(self.state.workers[holder], ref, Lost.ROUND_OVER)
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
            chunk = job.round.next_own(worker.id)
            if chunk is not None and not self._helper.leaves(job, worker, chunk, now):
                assert job.plan is not None
                job.round.draw_own(worker.id)
                return Pick(job, chunk, job.plan.placement.reason)
            if chunk := job.round.draw_orphan(partial(self.state.may_try, job, worker)):
                return Pick(job, chunk, "nobody had it")
        for job in jobs if self.limits.help else ():
            if pick := self._helper.help(job, worker, now):
                return pick
        return None

    def _look_for_late(self, worker: Worker, now: float) -> list[Command]:
        """Have a task given up, or copy one; where neither pays yet, look again when it may."""
        commands: list[Command] = []
        for job in self._jobs_for(worker):
            if found := self._helper.ask_back(job, worker, now):
                return found
            match self._copier.find(job, worker, now):
                case Pick() as pick:
                    self._hand_over(pick, worker, now)
                    return [*commands, *self._orders(worker, [pick])]
                case float() as late_at:
                    commands.append(c.WakeAt(late_at))
            pays_at = self._helper.pays_at(job, worker)
            if now < pays_at < inf:
                commands.append(c.WakeAt(pays_at))
        return commands

    # ---- handing over

    def _hand_over(self, pick: Pick, worker: Worker, now: float) -> None:
        job, chunk = pick.job, pick.chunk
        assert job.round is not None
        ref = TaskRef(job.id, job.round.number, chunk.range, chunk.order.attempt)
        seconds = job.seconds_for(worker.id, chunk.rows)
        expected_s = self.limits.lead_s if seconds is None else seconds
        given = Given(chunk, now, chunk.rows, expected_s, pick.is_copy, pick.reason)
        worker.take(ref, given)
        job.round.in_hand[ref] = worker.id
        job.charged_s += expected_s / job.share_weight
        self.state.measures.assignments.add(job.policy, worker.id)
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

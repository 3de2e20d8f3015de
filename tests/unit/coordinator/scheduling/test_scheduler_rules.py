"""The scheduler under anything that may happen, in any order: its invariants hold and every job comes to an end."""

import os
from collections import Counter
from collections.abc import Iterable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from builders.scheduling import Desk, answer, failure
from gradloom.canonical import Range
from gradloom.jobs import JobState, RetryReason, WorkerState
from gradloom.synchrony import SYNCHRONOUS, Synchrony, SynchronyKind, parse_synchrony
from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.policies import POLICIES
from gradloom_coordinator.scheduling.scheduler import Scheduler
from gradloom_coordinator.scheduling.state import JOB_STEPS

LIMITS = Limits(
    task_timeout_s=8.0, max_running_jobs=2, backoff_limit_s=2.0, exclude_limit_s=20.0, copy_after_share=0.3
)
ROUNDS = 3
MAX_WORKERS = 5
EXAMPLES = int(os.environ.get("GRADLOOM_RULES_EXAMPLES", "200"))

synchronies = st.just(SYNCHRONOUS) | st.sampled_from(
    [
        parse_synchrony(text)
        for text in ("backup:1", "backup:3", "bounded:1", "bounded:2", "asynchronous", "local:4")
    ]
)
names = st.sampled_from([f"w{i}" for i in range(MAX_WORKERS)])
jobs = st.sampled_from(["one", "two", "three"])
LABELS = {"w0": {"gpu": "yes"}, "w1": {"gpu": "yes"}}
HOSTS = {"w0": "x", "w2": "x", "w3": "y"}
REQUIRED = {"two": {"gpu": "yes"}}
WEIGHTS = {"three": 3.0}


class Cluster(RuleBasedStateMachine):
    """Plays runtime, workers and people; believes only what the scheduler's commands say."""

    @initialize(
        rows=st.lists(st.integers(0, 50), min_size=1, max_size=12),
        policy=st.sampled_from([*POLICIES]),
        synchrony=synchronies,
    )
    def begin(self, rows: list[int], policy: str, synchrony: Synchrony) -> None:
        self.desk = Desk(Scheduler(LIMITS))
        self.rows, self.policy, self.synchrony = tuple(rows), policy, synchrony
        self.states: dict[str, JobState] = {}
        self.to_plan: list[str] = []
        self.rounds_to_open: list[tuple[str, int]] = []
        self.to_finish: list[str] = []
        self.sent: list[tuple[str, e.TaskRef]] = []
        self.counted: Counter[tuple[str, int, int]] = Counter()
        self.left_out: dict[str, set[int]] = {}
        for worker in ("w0", "w1"):
            self.join(worker)
        self.submit("one")
        self.plan(True)
        self.open_round()

    # ---- what the scheduler wants

    def tell(self, event: e.Event) -> None:
        for command in self.desk.tell(event):
            self._obey(command)

    def _obey(self, command: c.Command) -> None:
        workers = self.desk.scheduler.state.workers
        match command:
            case c.StartPlanning():
                self.to_plan.append(command.job)
            case c.StartRounds():
                self.rounds_to_open.append((command.job, 1))
            case c.SendTasks():
                self._sent(command)
            case c.MergePartial():
                self._count(command.task, command.staleness)
            case c.AcceptOffer():
                assert command.worker in workers
                assert not self._any_counted(command.task)
            case c.CloseRound():
                self._closed(command.job, command.round, command.missing_shards)
            case c.AnnounceState():
                assert command.state in JOB_STEPS[self.states[command.job]]
                assert command.reason
                self.states[command.job] = command.state
            case c.ReleaseJob():
                assert self.states[command.job].final
            case c.EndSession() | c.ForgetWorker():
                assert command.worker not in workers
            case c.TakeBack():
                assert all(ref in workers[command.worker].tasks for ref in command.tasks)
                assert command.reason
            case c.CancelTasks():
                assert not any(ref in workers[command.worker].tasks for ref in command.tasks)
                assert command.reason
            case c.WakeAt():
                assert command.at > self.desk.now, "a wake-up that is due at once would never end"
            case c.DrainWorker():
                assert command.worker in workers
            case c.DropPartial() | c.AnnounceRetry() | c.AnnounceNote():
                pass

    def _sent(self, command: c.SendTasks) -> None:
        assert self.states[command.job] is JobState.RUNNING
        labels = LABELS.get(command.worker, {})
        assert REQUIRED.get(command.job, {}).items() <= labels.items(), "the worker lacks a label"
        assert command.reason
        for order in command.tasks:
            ref = e.TaskRef(command.job, command.round, order.range, order.attempt)
            assert not self._any_counted(ref)
            assert ref not in {known for _, known in self.sent}, "each try has a number of its own"
            self.sent.append((command.worker, ref))

    def _shards(self, ref: e.TaskRef) -> Iterable[tuple[str, int, int]]:
        return ((ref.job, ref.round, i) for i in range(*ref.range))

    def _any_counted(self, ref: e.TaskRef) -> bool:
        return any(self.counted[shard] for shard in self._shards(ref))

    def _count(self, ref: e.TaskRef, staleness: int) -> None:
        synchrony = self.desk.job(ref.job).synchrony
        if synchrony.exact or synchrony.kind is SynchronyKind.BACKUP:
            assert staleness == 0
        if synchrony.kind is SynchronyKind.BOUNDED:
            assert staleness <= synchrony.number
        shards = list(self._shards(ref._replace(round=ref.round + staleness)))
        self.counted.update(shards)
        assert all(self.counted[shard] == 1 for shard in shards), f"{ref} is counted twice"

    def _closed(self, job: str, number: int, missing: int) -> None:
        synchrony = self.desk.job(job).synchrony
        left_out = {i for i in range(len(self.rows)) if not self.counted[job, number, i]}
        assert len(left_out) == missing
        if synchrony.exact:
            assert not left_out
        if synchrony.kind is SynchronyKind.BACKUP:
            assert missing <= synchrony.number
            assert not left_out & self.left_out.get(job, set()), "a shard is left out twice in a row"
        self.left_out[job] = left_out
        if number < ROUNDS:
            self.rounds_to_open.append((job, number + 1))
        else:
            self.to_finish.append(job)

    # ---- workers

    @rule(worker=names)
    def join(self, worker: str) -> None:
        if worker not in self.desk.scheduler.state.workers:
            self.tell(e.WorkerJoined(worker, HOSTS.get(worker, ""), LABELS.get(worker, {})))

    @rule(worker=names)
    def leave(self, worker: str) -> None:
        self.tell(e.WorkerLeft(worker, "SIGTERM"))

    @rule(worker=names)
    def break_off(self, worker: str) -> None:
        self.tell(e.StreamBroken(worker, "reset"))

    def away(self) -> list[str]:
        state = self.desk.scheduler.state
        return [name for name, worker in state.workers.items() if worker.state is WorkerState.AWAY]

    @precondition(lambda self: self.away())
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self.away()))
        had: list[e.TaskRef | None] = [None, *(ref for given_to, ref in self.sent if given_to == worker)]
        self.tell(e.WorkerResumed(worker, data.draw(st.sampled_from(had))))

    @rule(worker=names)
    def ask_to_drain(self, worker: str) -> None:
        self.tell(e.DrainRequested(worker, "an operator"))

    @rule(worker=names)
    def drain(self, worker: str) -> None:
        self.tell(e.WorkerDraining(worker, "SIGTERM"))

    @rule(worker=names)
    def beat(self, worker: str) -> None:
        self.tell(e.HeartbeatReceived(worker))

    # ---- time

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.3, 1.0, 3.5, 6.0]))
    def wait(self, seconds: float) -> None:
        self.desk.now += seconds
        self.tell(e.Tick())

    @rule(seconds=st.integers(1, 12))
    def wait_while_all_are_alive(self, seconds: int) -> None:
        for _ in range(seconds):
            self.desk.now += 1.0
            for worker in [*self.desk.scheduler.state.workers]:
                self.tell(e.HeartbeatReceived(worker))
            self.tell(e.Tick())

    @rule(seconds=st.sampled_from([1.0, 30.0]))
    def stall(self, seconds: float) -> None:
        self.desk.now += seconds
        self.tell(e.Stalled(seconds))

    # ---- people and the runtime

    @rule(job=jobs)
    def submit(self, job: str) -> None:
        if job not in self.states:
            self.states[job] = JobState.QUEUED
            weight, labels = WEIGHTS.get(job, 1.0), REQUIRED.get(job, {})
            self.tell(
                e.JobSubmitted(
                    job,
                    self.policy,
                    "logistic",
                    share_weight=weight,
                    required_labels=labels,
                    synchrony=self.synchrony,
                )
            )

    @precondition(lambda self: self.to_plan)
    @rule(found=st.booleans())
    def plan(self, found: bool) -> None:
        job = self.to_plan.pop(0)
        self.tell(e.JobPlanned(job, self.rows) if found else e.JobBroken(job, "no such file"))

    @precondition(lambda self: self.rounds_to_open)
    @rule()
    def open_round(self) -> None:
        self.tell(e.RoundReady(*self.rounds_to_open.pop(0)))

    @precondition(lambda self: self.to_finish)
    @rule()
    def finish(self) -> None:
        self.tell(e.JobFinished(self.to_finish.pop(0), "done"))

    @rule(job=jobs, really=st.integers(0, 3))
    def cancel(self, job: str, really: int) -> None:
        if job in self.states and really == 0:
            self.tell(e.CancelRequested(job, "enough"))

    @rule(job=jobs, policy=st.none() | st.sampled_from([*POLICIES]), synchrony=st.none() | synchronies)
    def change(self, job: str, policy: str | None, synchrony: Synchrony | None) -> None:
        self.tell(e.JobChanged(job, policy, synchrony, speculation=policy is None, share_weight=2.0))

    @rule(job=jobs)
    def pause(self, job: str) -> None:
        self.tell(e.PauseRequested(job, "lunch"))

    @rule(job=jobs)
    def go_on(self, job: str) -> None:
        self.tell(e.ResumeRequested(job, "lunch is over"))

    # ---- tasks

    def in_hand(self) -> list[tuple[str, e.TaskRef]]:
        return [
            (name, ref) for name, worker in self.desk.scheduler.state.workers.items() for ref in worker.tasks
        ]

    @precondition(lambda self: self.in_hand())
    @rule(data=st.data(), seconds=st.sampled_from([0.0, 0.001, 0.1, 2.0]))
    def answer_what_is_in_hand(self, data: st.DataObject, seconds: float) -> None:
        worker, ref = data.draw(st.sampled_from(self.in_hand()))
        rows = sum(self.rows[i] for i in range(*ref.range))
        job = self.desk.job(ref.job)
        exact, open_ = job.synchrony.exact, job.open_round is not None
        self.tell(answer(worker, ref, rows, seconds))
        if exact:
            assert open_
            assert self._any_counted(ref), "an answer that somebody waits for counts"

    @precondition(lambda self: self.in_hand())
    @rule(data=st.data(), reason=st.sampled_from(RetryReason))
    def fail_what_is_in_hand(self, data: st.DataObject, reason: RetryReason) -> None:
        worker, ref = data.draw(st.sampled_from(self.in_hand()))
        self.tell(failure(worker, ref, reason))

    @precondition(lambda self: self.in_hand())
    @rule(data=st.data())
    def give_up_what_is_in_hand(self, data: st.DataObject) -> None:
        """Asked or not, one or all."""
        worker, ref = data.draw(st.sampled_from(self.in_hand()))
        everything = tuple(self.desk.in_hand(worker))
        self.tell(e.TasksGivenUp(worker, data.draw(st.sampled_from([(ref,), everything, (ref, ref)]))))

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), attempt=st.none() | st.integers(0, 9), worker=st.none() | names)
    def say_something_about_a_task_of_old(
        self, data: st.DataObject, attempt: int | None, worker: str | None
    ) -> None:
        """A duplicate, a late answer, the wrong attempt, or somebody else's task."""
        given_to, ref = data.draw(st.sampled_from(self.sent))
        ref = ref._replace(attempt=ref.attempt if attempt is None else attempt)
        speaker = worker or given_to
        words: list[e.Event] = [
            answer(speaker, ref),
            e.PartialOffered(speaker, ref),
            failure(speaker, ref),
            e.TasksGivenUp(speaker, (ref,)),
        ]
        self.tell(data.draw(st.sampled_from(words)))

    @rule(worker=names, job=jobs, lo=st.integers(0, 9), size=st.integers(0, 9))
    def answer_what_nobody_asked(self, worker: str, job: str, lo: int, size: int) -> None:
        known = self.desk.scheduler.state.jobs.get(job)
        number = known.round.number if known and known.round else 1
        self.tell(answer(worker, e.TaskRef(job, number, Range(lo, lo + size), 1)))

    # ---- what must hold

    @invariant()
    def states_agree(self) -> None:
        known = {name: job.state for name, job in self.desk.scheduler.state.jobs.items()}
        assert known == self.states

    @invariant()
    def no_more_jobs_are_started_than_are_allowed(self) -> None:
        waiting = [job for job, state in self.states.items() if state is JobState.QUEUED]
        active = [j for j, state in self.states.items() if state in (JobState.PLANNING, JobState.RUNNING)]
        assert not waiting or len(active) >= LIMITS.max_running_jobs, f"{waiting} wait for nothing"

    @invariant()
    def each_copy_is_accounted_for(self) -> None:
        for job in self.desk.scheduler.state.jobs.values():
            copies = job.copies
            ended = copies.won + copies.lost + copies.cancelled
            assert copies.launched == ended + (job.round.copies_in_hand if job.round else 0)
            assert copies.saved_s >= 0
            assert copies.wasted_s >= 0

    def teardown(self) -> None:
        """With workers that do their work, every job comes to its end."""
        for _ in range(200):
            if all(state.final for state in self.states.values()):
                return
            for worker in ("w0", "w1"):
                known = self.desk.scheduler.state.workers.get(worker)
                if known is not None and known.state is WorkerState.DRAINING:
                    self.leave(worker)
                self.join(worker)
            self.wait_while_all_are_alive(1)
            for job in self.states:
                self.go_on(job)
            while self.to_plan:
                self.plan(True)
            while self.rounds_to_open:
                self.open_round()
            while held := self.in_hand():
                self.tell(answer(*held[0]))
            while self.to_finish:
                self.finish()
        raise AssertionError(f"a job never ends: {self.states}")


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=EXAMPLES, stateful_step_count=60, deadline=None)

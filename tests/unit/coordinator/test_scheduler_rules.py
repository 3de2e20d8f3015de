"""The scheduler under anything that may happen, in any order: its invariants hold and every job comes to an end."""

from collections import Counter
from collections.abc import Iterable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from builders.scheduling import Desk, answer, failure
from gradloom.canonical import Range
from gradloom.jobs import JobState, RetryReason
from gradloom_coordinator import commands as c
from gradloom_coordinator import events as e
from gradloom_coordinator.limits import Limits
from gradloom_coordinator.policies import POLICIES
from gradloom_coordinator.scheduler import Scheduler
from gradloom_coordinator.state import JOB_STEPS

LIMITS = Limits(task_timeout_s=8.0, max_running_jobs=1, backoff_limit_s=2.0)
ROUNDS = 3
MAX_WORKERS = 5

names = st.sampled_from([f"w{i}" for i in range(MAX_WORKERS)])
jobs = st.sampled_from(["one", "two"])


class Cluster(RuleBasedStateMachine):
    """Plays runtime, workers and people; believes only what the scheduler's commands say."""

    @initialize(
        rows=st.lists(st.integers(0, 50), min_size=1, max_size=9), policy=st.sampled_from([*POLICIES])
    )
    def begin(self, rows: list[int], policy: str) -> None:
        self.desk = Desk(Scheduler(LIMITS))
        self.rows, self.policy = tuple(rows), policy
        self.states: dict[str, JobState] = {}
        self.to_plan: list[str] = []
        self.rounds_to_open: list[tuple[str, int]] = []
        self.to_finish: list[str] = []
        self.sent: list[tuple[str, e.TaskRef]] = []
        self.counted: Counter[tuple[str, int, int]] = Counter()
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
        match command:
            case c.StartPlanning():
                self.to_plan.append(command.job)
            case c.StartRounds():
                self.rounds_to_open.append((command.job, 1))
            case c.SendTasks():
                self._sent(command)
            case c.MergePartial():
                self._count(command.task)
            case c.AcceptOffer():
                assert command.worker in self.desk.scheduler.state.workers
                assert not self._any_counted(command.task)
            case c.CloseRound():
                self._closed(command.job, command.round)
            case c.AnnounceState():
                before = self.states[command.job]
                assert command.state in JOB_STEPS[before]
                assert command.reason
                self.states[command.job] = command.state
            case c.ReleaseJob():
                assert self.states[command.job].final
            case c.EndSession():
                assert command.worker not in self.desk.scheduler.state.workers
            case c.DropPartial() | c.AnnounceRetry() | c.AnnounceNote():
                pass

    def _sent(self, command: c.SendTasks) -> None:
        assert self.states[command.job] is JobState.RUNNING
        assert command.worker in self.desk.scheduler.state.workers
        assert command.reason
        for order in command.tasks:
            ref = e.TaskRef(command.job, command.round, order.range, order.attempt)
            assert not self._any_counted(ref)
            self.sent.append((command.worker, ref))

    def _shards(self, ref: e.TaskRef) -> Iterable[tuple[str, int, int]]:
        return ((ref.job, ref.round, i) for i in range(*ref.range))

    def _any_counted(self, ref: e.TaskRef) -> bool:
        return any(self.counted[shard] for shard in self._shards(ref))

    def _count(self, ref: e.TaskRef) -> None:
        self.counted.update(self._shards(ref))
        assert all(self.counted[shard] == 1 for shard in self._shards(ref)), f"{ref} is counted twice"

    def _closed(self, job: str, number: int) -> None:
        assert all(self.counted[job, number, i] == 1 for i in range(len(self.rows)))
        if number < ROUNDS:
            self.rounds_to_open.append((job, number + 1))
        else:
            self.to_finish.append(job)

    # ---- what may happen

    @rule(worker=names)
    def join(self, worker: str) -> None:
        if worker not in self.desk.scheduler.state.workers:
            self.tell(e.WorkerJoined(worker))

    @rule(worker=names)
    def leave(self, worker: str) -> None:
        self.tell(e.WorkerLeft(worker, "SIGTERM"))

    @rule(worker=names)
    def break_off(self, worker: str) -> None:
        self.tell(e.StreamBroken(worker, "reset"))

    @rule(worker=names)
    def beat(self, worker: str) -> None:
        self.tell(e.HeartbeatReceived(worker))

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 3.5, 6.0]))
    def wait(self, seconds: float) -> None:
        self.desk.now += seconds
        self.tell(e.Tick())

    @rule(seconds=st.integers(1, 10))
    def wait_while_all_are_alive(self, seconds: int) -> None:
        for _ in range(seconds):
            self.desk.now += 1.0
            for worker in [*self.desk.scheduler.state.workers]:
                self.tell(e.HeartbeatReceived(worker))
            self.tell(e.Tick())

    @rule(job=jobs)
    def submit(self, job: str) -> None:
        if job not in self.states:
            self.states[job] = JobState.QUEUED
            self.tell(e.JobSubmitted(job, self.policy))

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

    def in_hand(self) -> list[tuple[str, e.TaskRef]]:
        return [
            (name, ref) for name, worker in self.desk.scheduler.state.workers.items() for ref in worker.tasks
        ]

    @precondition(lambda self: self.in_hand())
    @rule(data=st.data())
    def answer_what_is_in_hand(self, data: st.DataObject) -> None:
        worker, ref = data.draw(st.sampled_from(self.in_hand()))
        self.tell(answer(worker, ref))
        assert self._any_counted(ref), "an answer that somebody waits for counts"

    @precondition(lambda self: self.in_hand())
    @rule(data=st.data(), reason=st.sampled_from(RetryReason))
    def fail_what_is_in_hand(self, data: st.DataObject, reason: RetryReason) -> None:
        worker, ref = data.draw(st.sampled_from(self.in_hand()))
        self.tell(failure(worker, ref, reason))

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), attempt=st.none() | st.integers(0, 9), worker=st.none() | names)
    def say_something_about_a_task_of_old(
        self, data: st.DataObject, attempt: int | None, worker: str | None
    ) -> None:
        """A duplicate, a late answer, the wrong attempt, or somebody else's task."""
        given_to, ref = data.draw(st.sampled_from(self.sent))
        ref = ref._replace(attempt=ref.attempt if attempt is None else attempt)
        speaker = worker or given_to
        words: list[e.Event] = [answer(speaker, ref), e.PartialOffered(speaker, ref), failure(speaker, ref)]
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
    def waiting_shards_are_missing(self) -> None:
        for job in self.desk.scheduler.state.jobs.values():
            waiting = [i for waits in job.waiting for i in range(*waits.range)]
            assert len(waiting) == len(set(waiting))
            if waiting:
                assert job.round is not None
                assert not any(self.counted[job.id, job.round.number, i] for i in waiting)

    def teardown(self) -> None:
        """With workers that do their work, every job comes to its end."""
        for _ in range(200):
            if all(state.final for state in self.states.values()):
                return
            self.join("w0")
            self.join("w1")
            self.wait_while_all_are_alive(1)
            while self.to_plan:
                self.plan(True)
            while self.rounds_to_open:
                self.open_round()
            for worker, ref in self.in_hand():
                self.tell(answer(worker, ref))
            while self.to_finish:
                self.finish()
        raise AssertionError(f"a job never ends: {self.states}")


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)

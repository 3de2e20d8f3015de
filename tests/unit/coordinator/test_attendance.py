"""Who is here, who may come back, and what each of them is told. The scheduler is the real one; there is no gRPC."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from gradloom.algorithms import versions
from gradloom.canonical import Range
from gradloom.errors import ChecksumMismatch, FrameRefused, Overloaded
from gradloom.jobs import JobState, WorkerState
from gradloom.settings import CoordinatorSettings
from gradloom.v1 import tensor_pb2, worker_pb2
from gradloom.wire.bundles import bundle_of, encode
from gradloom.wire.frames import FrameKind, parse_frame
from gradloom_coordinator.attendance import PACKED_BYTES, Attendance, plausible
from gradloom_coordinator.links import Given, Incoming, WorkerLink
from gradloom_coordinator.monitoring.metrics import CoordinatorMetrics
from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.rounds import Refusal
from gradloom_coordinator.scheduling.scheduler import Scheduler

TASK = e.TaskRef("job-1", 3, Range(0, 1), 2)
KEY = worker_pb2.TaskKey(job_id="job-1", round=3, lo=0, hi=1, attempt=2)


@dataclass
class Cluster:
    """An attendance and the scheduler that it tells of what happens; time stands still unless told."""

    max_workers: int = 1024
    now: float = 100.0
    told: list[e.Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(Limits())
        settings = CoordinatorSettings(max_workers=self.max_workers)
        self.attendance = Attendance(settings, self.scheduler.state, {}, CoordinatorMetrics(), self.dispatch)

    def dispatch(self, event: e.Event) -> None:
        self.told.append(event)
        for command in self.scheduler.handle(event, self.now):
            if not isinstance(command, c.WakeAt):
                self.attendance.execute(command)  # type: ignore[arg-type]
        self.scheduler.state.check()

    def join(self, name: str = "w", **hello: object) -> WorkerLink:
        return self.attendance.join(worker_pb2.Hello(name=name, algorithms=versions(), **hello))  # type: ignore[arg-type]

    def cut(self, link: WorkerLink) -> None:
        self.attendance.leave(link, "reset", goodbye=False)

    def names(self) -> list[str]:
        return [view.worker for view in self.attendance.views(self.now)]


def said(link: WorkerLink) -> list[worker_pb2.CoordinatorMessage]:
    """What waits to be written to a worker's session."""
    return [worker_pb2.CoordinatorMessage.FromString(message) for message in link.session._messages]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


# ---- names


def test_workers_of_one_name_are_told_apart_and_a_full_cluster_takes_no_more() -> None:
    cluster = Cluster(max_workers=2)
    links = [cluster.join() for _ in range(2)]
    assert [link.worker for link in links] == ["w", "w-2"]
    assert cluster.names() == ["w", "w-2"]
    with pytest.raises(Overloaded, match="2 workers"):
        cluster.join()
    cluster.attendance.leave(links[0], "bye", goodbye=True)
    assert cluster.join().worker == "w"


def test_odd_names_of_workers_are_as_good_as_others(cluster: Cluster) -> None:
    names = ["gpu-²", "w-" + "9" * 5000, "", "-", "ü-1"]
    welcomed = [cluster.join(name).worker for name in names]
    assert welcomed == ["gpu-²", ("w-" + "9" * 5000)[:100], "worker", "-", "ü-1"]


def test_the_scheduler_and_people_hear_what_a_worker_says_of_itself(cluster: Cluster) -> None:
    link = cluster.join(host="rack-7", cores=2.5, memory_bytes=10, labels={"zone": "a"})
    assert cluster.told == [e.WorkerJoined(link.worker, "rack-7", {"zone": "a"}, 2.5, 10)]
    (view,) = cluster.attendance.views(cluster.now)
    assert (view.host, view.cores, view.memory_bytes, view.labels) == ("rack-7", 2.5, 10, {"zone": "a"})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1.0, 1e300])
def test_numbers_that_can_t_be_true_are_not_believed(cluster: Cluster, number: float) -> None:
    link = cluster.join("liar", cores=number)
    assert plausible(number) == 0.0
    times = worker_pb2.TaskTimes(load_seconds=number, compute_seconds=number, encode_seconds=number)
    cluster.attendance.arrived(link, TASK, worker_pb2.Partial(rows=2**64 - 1, times=times), {})
    arrived = cluster.told[-1]
    assert isinstance(arrived, e.PartialArrived)
    assert arrived.times == e.TaskTimes()
    (view,) = cluster.attendance.views(cluster.now)
    assert (view.rows, view.rows_per_second) == (0, 0.0)


# ---- breaking off and coming back


def test_a_worker_that_comes_back_keeps_its_name(cluster: Cluster) -> None:
    link = cluster.join(host="rack-7")
    cluster.cut(link)
    assert cluster.told[1:] == [e.StreamBroken("w", "reset")]
    assert [view.state for view in cluster.attendance.views(cluster.now)] == [WorkerState.AWAY]
    again = cluster.join("another wish", resume_token=link.token, computing=KEY)
    assert cluster.told[2:] == [e.WorkerResumed("w", TASK)]
    assert (again.worker, again.token) == ("w", link.token)
    (welcome,) = [message.welcome for message in said(again)]
    assert (welcome.worker, welcome.session_token, welcome.resumed) == ("w", link.token, True)
    assert not again.given, "setup, shards and broadcasts are sent anew"
    assert cluster.attendance.link_with_token(link.token) is again


def test_a_worker_that_was_doing_nothing_says_so(cluster: Cluster) -> None:
    link = cluster.join()
    cluster.cut(link)
    cluster.join(resume_token=link.token)
    assert cluster.told[-1] == e.WorkerResumed("w", None)


def test_the_name_of_a_worker_that_may_come_back_is_taken(cluster: Cluster) -> None:
    cluster.cut(cluster.join())
    assert cluster.join().worker == "w-2"


def test_a_process_that_was_started_anew_has_the_name_of_its_predecessor(cluster: Cluster) -> None:
    cluster.cut(cluster.join("w", host="h", pid=1))
    link = cluster.join("w", host="h", pid=2)
    assert link.worker == "w"
    assert e.WorkerLeft("w", "its process was started anew") in cluster.told
    assert cluster.names() == ["w"]


def test_of_two_streams_with_one_token_the_newer_counts(cluster: Cluster) -> None:
    older = cluster.join()
    newer = cluster.join(resume_token=older.token)
    assert older.closing.is_set()
    assert older.close_reason == "its worker has resumed the session on a newer stream"
    assert [type(event) for event in cluster.told] == [e.WorkerJoined, e.StreamBroken, e.WorkerResumed]
    cluster.attendance.leave(older, "its session ended", goodbye=False)
    assert cluster.attendance.links == {"w": newer}
    assert len(cluster.told) == 3, "nobody hears of the older one's end"


def test_after_the_grace_time_the_session_can_t_go_on(cluster: Cluster) -> None:
    link = cluster.join()
    cluster.cut(link)
    cluster.now += Limits().resume_grace_s + 0.1
    cluster.dispatch(e.Tick())
    assert cluster.names() == []
    late = cluster.join(resume_token=link.token)
    assert late.worker == "w"
    assert late.token != link.token
    assert not said(late)[0].welcome.resumed


def test_a_worker_that_said_goodbye_can_t_resume(cluster: Cluster) -> None:
    link = cluster.join()
    cluster.attendance.leave(link, "SIGTERM", goodbye=True)
    assert cluster.told[-1] == e.WorkerLeft("w", "SIGTERM")
    assert cluster.join(resume_token=link.token).token != link.token


@pytest.mark.parametrize("away", [False, True])
def test_a_session_that_the_scheduler_ends_is_over_here_or_away(cluster: Cluster, away: bool) -> None:
    link = cluster.join()
    if away:
        cluster.cut(link)
    cluster.attendance.execute(c.EndSession("w", "it took too long"))
    assert link.close_reason == ("reset" if away else "it took too long")
    assert cluster.attendance.link_with_token(link.token) is None
    assert not cluster.attendance.links


@pytest.mark.parametrize("token", ["", "made up"])
def test_a_token_that_nobody_has_is_no_session(cluster: Cluster, token: str) -> None:
    link = cluster.join()
    assert cluster.attendance.link_with_token(token) is None
    assert cluster.join(resume_token=token).worker == "w-2"
    assert cluster.attendance.links["w"] is link


def test_an_answer_that_is_said_again_after_a_break_proves_nothing_of_what_came_since() -> None:
    before, tasks = Given(), [TASK, TASK._replace(range=Range(1, 2))]
    before.sent(TASK.round, tasks)
    assert not before.broadcast_arrived
    after = Given()
    again = tasks[0]._replace(attempt=3)
    after.sent(TASK.round, [again])
    assert not after.answered(tasks[0]), "it was sent on the link before"
    assert not after.broadcast_arrived
    assert after.answered(again)
    assert after.broadcast_arrived
    assert after.answered(tasks[1]), "by now it is there"
    after.sent(TASK.round, [tasks[1]])
    assert after.broadcast_arrived
    late = TASK._replace(round=4)
    after.sent(4, [late])
    assert not after.answered(again), "of the round before"
    assert not after.broadcast_arrived
    assert after.answered(late)


# ---- what a worker is told


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            c.TakeBack("w", (TASK,), "others are through"),
            worker_pb2.CoordinatorMessage(take_back=worker_pb2.TakeBack(tasks=[KEY])),
        ),
        (
            c.CancelTasks("w", (TASK,), "another was faster"),
            worker_pb2.CoordinatorMessage(cancel=worker_pb2.Cancel(tasks=[KEY])),
        ),
        (
            c.DrainWorker("w", "the machine is needed"),
            worker_pb2.CoordinatorMessage(drain=worker_pb2.Drain(reason="the machine is needed")),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_commands_become_messages_for_whoever_is_here(
    cluster: Cluster,
    command: c.TakeBack | c.CancelTasks | c.DrainWorker,
    message: worker_pb2.CoordinatorMessage,
) -> None:
    link = cluster.join()
    cluster.attendance.execute(command)
    assert said(link)[1:] == [message]
    cluster.cut(link)
    cluster.attendance.execute(command)
    assert len(said(link)) == 2, "nobody is there to hear it"


def offer(link: WorkerLink, job: str = TASK.job) -> None:
    partial = worker_pb2.Partial(bundle=tensor_pb2.Bundle(transfer_id=7))
    link.incoming[7] = Incoming(TASK._replace(job=job), partial)


def refused(link: WorkerLink) -> list[int]:
    frames = [parse_frame(message) for message in link.bulk._control]
    return [frame.transfer_id for frame in frames if frame.kind is FrameKind.REFUSAL]


@pytest.mark.parametrize(
    "stop",
    [
        lambda attendance: attendance.execute(c.CancelTasks("w", (TASK,), "another was faster")),
        lambda attendance: attendance.execute(c.DropPartial("w", TASK, Refusal.DUPLICATE)),
    ],
    ids=["cancelled", "dropped"],
)
def test_a_big_partial_that_nobody_needs_is_sent_no_further(
    cluster: Cluster, stop: Callable[[Attendance], None]
) -> None:
    link = cluster.join()
    offer(link)
    stop(cluster.attendance)
    assert not link.incoming
    assert refused(link) == [7]


def test_an_answer_for_a_job_that_is_over_is_followed_by_its_release(cluster: Cluster) -> None:
    link = cluster.join()
    cluster.attendance.execute(c.DropPartial("w", TASK, Refusal.UNKNOWN_JOB))
    assert [message.WhichOneof("kind") for message in said(link)] == ["welcome", "release"]


def test_given_up_tasks_reach_the_scheduler_as_they_are_named(cluster: Cluster) -> None:
    link = cluster.join()
    cluster.attendance.given_up(link, [KEY])
    cluster.attendance.given_up(link, [])
    assert cluster.told[-2:] == [e.TasksGivenUp("w", (TASK,)), e.TasksGivenUp("w", ())]


# ---- answers that come with their bytes

OPEN = e.TaskRef("job-1", 1, Range(0, 1), 1)


def bomb(n_bytes: int) -> tensor_pb2.Bundle:
    """Nothing at all, which says that it is so many bytes of zeros once it is decoded."""
    spec = tensor_pb2.TensorSpec(
        name="gradient",
        dtype=tensor_pb2.DTYPE_FLOAT64,
        shape=[n_bytes // 8],
        codec=tensor_pb2.CODEC_SPARSE,
    )
    bundle = bundle_of(encode({}), 1)
    bundle.tensors.append(spec)
    return bundle


def with_open_round(cluster: Cluster) -> WorkerLink:
    """A worker with the one task of a round in its hands."""
    cluster.attendance._runs = {
        "job-1": SimpleNamespace(broadcast=None, training=None, state=JobState.RUNNING)
    }  # type: ignore[dict-item]
    link = cluster.join()
    cluster.scheduler.handle(e.JobSubmitted("job-1", "balanced"), cluster.now)
    cluster.scheduler.handle(e.JobPlanned("job-1", (10,)), cluster.now)
    cluster.scheduler.handle(e.RoundReady("job-1", 1), cluster.now)
    assert OPEN in cluster.scheduler.state.workers["w"].tasks
    return link


def test_answers_that_nobody_wants_are_not_decoded(cluster: Cluster) -> None:
    link = with_open_round(cluster)
    bundle = bomb(PACKED_BYTES)
    bundle.inline.checksum += 1
    for task, refusal in (
        (OPEN._replace(job="nobody's"), Refusal.UNKNOWN_JOB),
        (OPEN._replace(round=2), Refusal.LATE),
        (OPEN._replace(range=Range(0, 2)), Refusal.FOREIGN),
    ):
        assert cluster.attendance.decoded(link, task, bundle) is refusal
    with pytest.raises(ChecksumMismatch):
        cluster.attendance.decoded(link, OPEN, bundle)
    cluster.attendance.arrived(link, TASK, worker_pb2.Partial(), Refusal.LATE)
    assert isinstance(cluster.told[-1], e.PartialArrived), "the scheduler says itself what it refuses"


def test_a_few_bytes_can_not_fill_the_memory(cluster: Cluster) -> None:
    link = with_open_round(cluster)
    with pytest.raises(FrameRefused, match=f"at most {PACKED_BYTES} may"):
        cluster.attendance.decoded(link, OPEN, bomb(PACKED_BYTES + 8))
    run = SimpleNamespace(broadcast=SimpleNamespace(raw_bytes=PACKED_BYTES))
    cluster.attendance._runs = {"job-1": run}  # type: ignore[dict-item]
    with pytest.raises(FrameRefused, match=f"at most {4 * PACKED_BYTES} may"):
        cluster.attendance.decoded(link, OPEN, bomb(4 * PACKED_BYTES + 8))
    found = cluster.attendance.decoded(link, OPEN, bundle_of(encode({"g": np.ones(3)}), 1))
    assert isinstance(found, dict)
    np.testing.assert_array_equal(found["g"], np.ones(3))


def test_a_big_partial_that_would_grow_without_end_is_refused_when_it_is_offered(cluster: Cluster) -> None:
    link = with_open_round(cluster)
    run = SimpleNamespace(broadcast=None, collector=object(), job_id="job-1")
    cluster.attendance._runs = {"job-1": run}  # type: ignore[dict-item]
    bundle = bomb(PACKED_BYTES + 8)
    bundle.transfer_id = 7
    link.incoming[7] = Incoming(OPEN, worker_pb2.Partial(bundle=bundle))
    cluster.attendance.execute(c.AcceptOffer("w", OPEN))
    assert refused(link) == [7]
    assert isinstance(cluster.told[-1], e.TaskFailed)


# ---- uploads at the end


async def test_a_goodbye_waits_for_uploads_that_are_wanted_and_no_longer_than_it_may(
    cluster: Cluster,
) -> None:
    link = cluster.join()
    offer(link)
    await link.uploads_end(10.0)  # it was offered, and nobody said that it is wanted
    link.incoming[7].upload = object()  # type: ignore[assignment]
    await link.uploads_end(0.001)
    assert link.incoming
    link.refuse([TASK])
    await link.uploads_end(10.0)

"""Who is here, who may come back, and what each of them is told. The scheduler is the real one; there is no gRPC."""

import re

import pytest

from builders.attended import KEY, TASK, Cluster, said
from gradloom.canonical import Range
from gradloom.errors import NotAllowed, Overloaded
from gradloom.jobs import WorkerState
from gradloom.v1 import worker_pb2
from gradloom_coordinator.answers import plausible
from gradloom_coordinator.links import Given
from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.limits import Limits


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
    cluster.answers.arrived(link, TASK, worker_pb2.Partial(rows=2**64 - 1, times=times), {})
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


def test_a_name_is_theirs_who_held_it_first_for_as_long_as_it_is_remembered(cluster: Cluster) -> None:
    first = cluster.join(owner="ann")
    words = "the name 'w' belongs to a worker of 'ann', and 'bob' can't take it; start this one with another --name"
    with pytest.raises(NotAllowed, match=re.escape(words)):
        cluster.join(owner="bob")
    cluster.cut(first)
    for hello in ({}, {"host": "h", "pid": 7}, {"resume_token": first.token}):
        with pytest.raises(NotAllowed, match=re.escape(words)):
            cluster.join(owner="bob", **hello)
    assert cluster.join(owner="ann", resume_token=first.token).worker == "w"
    assert cluster.join(owner="ann").worker == "w-2", "several of one owner are told apart"
    with pytest.raises(NotAllowed):
        cluster.join("w-2", owner="bob")
    assert cluster.join("b", owner="bob").worker == "b"


def test_a_name_that_nobody_remembers_is_anybodys(cluster: Cluster) -> None:
    link = cluster.join(owner="ann")
    cluster.attendance.leave(link, "bye", goodbye=True)
    assert cluster.join(owner="bob").worker == "w"


def test_a_name_that_is_cut_short_is_the_same_name(cluster: Cluster) -> None:
    cluster.join("x" * 100, owner="ann")
    with pytest.raises(NotAllowed):
        cluster.join("x" * 101, owner="bob")


def test_a_session_s_bulk_stream_is_its_owners(cluster: Cluster) -> None:
    link = cluster.join(owner="ann")
    assert cluster.attendance.link_with_token(link.token, "ann") is link
    assert cluster.attendance.link_with_token(link.token, "bob") is None


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


def test_given_up_tasks_reach_the_scheduler_as_they_are_named(cluster: Cluster) -> None:
    link = cluster.join()
    cluster.attendance.given_up(link, [KEY])
    cluster.attendance.given_up(link, [])
    assert cluster.told[-2:] == [e.TasksGivenUp("w", (TASK,)), e.TasksGivenUp("w", ())]

"""The life of a job, told as what happens and what the scheduler then wants done."""

import pytest

from builders.scheduling import Desk, answer, note, order, sent, state, task
from gradloom.jobs import JobState
from gradloom.steps import Step
from gradloom_coordinator.scheduling.commands import (
    CloseRound,
    Command,
    DropPartial,
    MergePartial,
    ReleaseJob,
    SendTasks,
    StartPlanning,
    StartRounds,
)
from gradloom_coordinator.scheduling.events import (
    CancelRequested,
    JobBroken,
    JobChanged,
    JobFinished,
    JobForgotten,
    JobPlanned,
    JobSubmitted,
    PauseRequested,
    ResumeRequested,
    RoundReady,
    WorkerJoined,
    WorkerLeft,
)
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.rounds import Refusal
from gradloom_coordinator.scheduling.scheduler import Scheduler

EVEN = "2 shards over 2 workers in equal shares"


def test_a_job_from_its_submission_to_its_end() -> None:
    desk = Desk()
    desk.join("a", "b")
    assert desk.tell(JobSubmitted("job", "balanced")) == [
        state(JobState.PLANNING, "looking at the files"),
        StartPlanning("job"),
    ]
    assert desk.tell(JobPlanned("job", (10, 10))) == [
        state(JobState.RUNNING, "20 rows in 2 shards"),
        StartRounds("job"),
    ]
    assert desk.tell(RoundReady("job", 1)) == [
        note(f"placed: {EVEN}"),
        SendTasks("a", "job", 1, (order(0, 1),), EVEN),
        SendTasks("b", "job", 1, (order(1, 2),), EVEN),
    ]
    assert desk.tell(answer("b", task(1, 2))) == [MergePartial("b", task(1, 2))]
    assert desk.tell(answer("a", task(0, 1))) == [MergePartial("a", task(0, 1)), CloseRound("job", 1)]
    assert desk.tell(RoundReady("job", 2)) == [
        SendTasks("a", "job", 2, (order(0, 1),), EVEN),
        SendTasks("b", "job", 2, (order(1, 2),), EVEN),
    ]
    desk.answer_all()
    assert desk.tell(JobFinished("job", "converged")) == [
        state(JobState.COMPLETED, "converged"),
        ReleaseJob("job"),
    ]
    assert desk.tick() == []


def test_unequal_shards_become_the_nodes_of_the_tree_that_hold_them() -> None:
    desk = Desk.of("a", "b")
    desk.start([60, 10, 10, 10, 10])
    assert list(desk.round().chunks) == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)], (
        "an unknown share is cut in four"
    )
    assert desk.in_hand("a")[0] == task(0, 1)
    assert desk.in_hand("b")[0] == task(1, 2)


def test_round_robin_sends_single_shards_because_neighbours_part() -> None:
    desk = Desk()
    desk.join("a", "b")
    commands = desk.start([10] * 4, policy="round_robin")
    assert sent(commands) == [
        ("a", task(0, 1)),
        ("a", task(2, 3)),
        ("b", task(1, 2)),
        ("b", task(3, 4)),
    ]


def test_a_job_without_workers_waits_and_says_so_once() -> None:
    desk = Desk()
    assert desk.start([10] * 2) == [note("waiting: there is no worker that takes work")]
    assert desk.tick(1.0) == []
    assert desk.tick(60.0) == []
    assert sent(desk.join("a")) == [("a", task(0, 1)), ("a", task(1, 2))]
    assert desk.answer_all()[-1] == CloseRound("job", 1)


def test_jobs_beyond_the_limit_wait_for_their_turn() -> None:
    desk = Desk(Scheduler(Limits(max_running_jobs=2)))
    for name in ("one", "two"):
        assert StartPlanning(name) in desk.tell(JobSubmitted(name, "balanced"))
    for name in ("three", "four"):
        assert desk.tell(JobSubmitted(name, "balanced")) == []
    assert desk.tell(JobBroken("one", "no such file")) == [
        state(JobState.FAILED, "no such file", "one"),
        ReleaseJob("one"),
        state(JobState.PLANNING, "looking at the files", "three"),
        StartPlanning("three"),
    ]
    desk.tell(JobPlanned("two", (5,)))
    assert StartPlanning("four") in desk.tell(CancelRequested("two", "enough"))


def test_two_jobs_share_the_workers() -> None:
    desk = Desk.of("a")
    desk.start([10], "one")
    desk.start([20], "two")
    assert desk.in_hand("a") == [task(0, 1, job="one")], "the other's would only wait behind it"
    assert CloseRound("one", 1) in desk.tell(answer("a", task(0, 1, job="one")))
    assert desk.in_hand("a") == [task(0, 1, job="two")]
    assert desk.tell(answer("a", task(0, 1, job="two")))[-1] == CloseRound("two", 1)


# ---- labels


def desk_with_one_gpu() -> Desk:
    desk = Desk()
    desk.tell(WorkerJoined("gpu", labels={"gpu": "yes", "zone": "a"}), WorkerJoined("plain"))
    return desk


def start_with_labels(desk: Desk, **labels: str) -> list[Command]:
    planned = JobPlanned("job", (10,) * 8)
    submitted = JobSubmitted("job", "balanced", required_labels=labels)
    return desk.tell(submitted, planned, RoundReady("job", 1))


def test_a_job_that_requires_labels_goes_only_to_workers_that_have_them() -> None:
    desk = desk_with_one_gpu()
    start_with_labels(desk, gpu="yes")
    commands = desk.answer_all()
    assert {worker for worker, _ in sent(commands)} == {"gpu"}
    assert desk.round().over
    assert desk.worker("plain").rows == 0


def test_a_job_whose_labels_nobody_has_waits_and_names_them() -> None:
    desk = desk_with_one_gpu()
    commands = start_with_labels(desk, gpu="yes", zone="b")
    assert commands == [note("waiting: there is no worker with gpu=yes, zone=b that takes work")]
    desk.tell(WorkerJoined("right", labels={"gpu": "yes", "zone": "b"}))
    desk.answer_all()
    assert desk.worker("right").rows == 80


def test_what_a_labelled_worker_leaves_behind_waits_for_another_with_its_labels() -> None:
    desk = desk_with_one_gpu()
    start_with_labels(desk, gpu="yes")
    commands = desk.tell(WorkerLeft("gpu", "SIGTERM"))
    assert sent(commands) == []
    assert commands[-1] == note("waiting: there is no worker with gpu=yes that takes work")
    desk.tell(WorkerJoined("another", labels={"gpu": "yes"}))
    desk.answer_all()
    assert desk.round().over


# ---- pausing


def test_a_paused_job_stands_still_after_the_round_that_is_open() -> None:
    desk = Desk.of("a", "b")
    desk.start([10] * 4)
    assert desk.tell(PauseRequested("job", "lunch")) == []
    assert CloseRound("job", 1) in desk.answer_all(), "what has begun is finished"
    assert desk.next_round() == [state(JobState.PAUSED, "lunch")]
    assert desk.in_hand("a") == []


def test_a_resumed_job_goes_on_with_the_round_that_it_stood_before() -> None:
    desk = Desk.of("a", "b")
    desk.start([10] * 4)
    desk.tell(PauseRequested("job", "lunch"))
    desk.answer_all()
    desk.next_round()
    commands = desk.tell(ResumeRequested("job", "lunch is over"))
    assert commands[0] == state(JobState.RUNNING, "lunch is over")
    assert {ref.round for _, ref in sent(commands)} == {2}
    assert CloseRound("job", 2) in desk.answer_all()


def test_resuming_before_the_round_is_over_is_as_if_nothing_had_been_said() -> None:
    desk = Desk.of("a", "b")
    desk.start([10] * 4)
    desk.tell(PauseRequested("job", "lunch"))
    assert desk.tell(ResumeRequested("job", "no hunger")) == []
    desk.answer_all()
    assert len(sent(desk.next_round())) > 0


def test_a_job_can_be_paused_before_it_has_begun() -> None:
    desk = Desk.of("a")
    desk.tell(JobSubmitted("job", "balanced"), PauseRequested("job", "not yet"))
    desk.tell(JobPlanned("job", (10,)))
    assert desk.tell(RoundReady("job", 1)) == [state(JobState.PAUSED, "not yet")]
    assert sent(desk.tell(ResumeRequested("job", "now"))) == [("a", task(0, 1))]


def test_a_paused_job_makes_room_for_one_that_waits() -> None:
    desk = Desk.of("a", limits=Limits(max_running_jobs=1))
    desk.start([10])
    desk.tell(JobSubmitted("next", "balanced"), PauseRequested("job", "lunch"))
    desk.answer_all()
    assert StartPlanning("next") in desk.next_round()


def test_a_queued_job_that_is_paused_does_not_take_the_place_of_a_paused_one() -> None:
    desk = Desk.of("a", limits=Limits(max_running_jobs=1))
    desk.start([10])
    desk.tell(JobSubmitted("next", "balanced"))
    desk.tell(PauseRequested("job", "no database"), PauseRequested("next", "no database"))
    desk.answer_all()
    assert StartPlanning("next") not in desk.next_round()
    assert StartPlanning("next") in desk.tell(ResumeRequested("next", "it is back")), "the place is free"


def test_another_policy_holds_from_the_next_round_on() -> None:
    desk = Desk.of("a", "b")
    desk.start([10] * 4)
    desk.answer_all()
    desk.tell(JobChanged("job", placement="round_robin"))
    commands = desk.next_round()
    assert desk.job().placement.shards == {"a": (0, 2), "b": (1, 3)}
    assert note("placed: 4 shards dealt in turn to 2 workers; the policy is round_robin now") in commands


def test_pausing_a_job_that_has_ended_or_is_paused_changes_nothing() -> None:
    desk = Desk.of("a")
    desk.start([10])
    desk.tell(PauseRequested("job", "lunch"))
    assert desk.tell(PauseRequested("job", "again"), ResumeRequested("nobody", "")) == []
    desk.answer_all()
    assert desk.next_round() == [state(JobState.PAUSED, "lunch")]
    desk.tell(CancelRequested("job", "enough"))
    assert desk.tell(PauseRequested("job", "too late"), ResumeRequested("job", "too late")) == []


# ---- ending


def queued(desk: Desk) -> None:
    desk.scheduler.limits = Limits(max_running_jobs=0)
    desk.tell(JobSubmitted("job", "balanced"))


def planning(desk: Desk) -> None:
    desk.tell(JobSubmitted("job", "balanced"))


def running(desk: Desk) -> None:
    desk.start([10] * 4)


def between_rounds(desk: Desk) -> None:
    desk.start([10] * 4)
    desk.answer_all()


def starved(desk: Desk) -> None:
    desk.start([10] * 4)
    desk.tick(60.0)


def paused(desk: Desk) -> None:
    between_rounds(desk)
    desk.tell(PauseRequested("job", "lunch"))
    desk.next_round()


@pytest.mark.parametrize("in_state", [queued, planning, running, between_rounds, starved, paused])
def test_a_job_is_cancelled_in_any_state_and_its_workers_are_free(in_state: object) -> None:
    assert callable(in_state)
    desk = Desk()
    desk.join("a", "b")
    in_state(desk)
    assert desk.tell(CancelRequested("job", "a better idea")) == [
        state(JobState.CANCELLED, "a better idea"),
        ReleaseJob("job"),
    ]
    assert desk.tell(CancelRequested("job", "again")) == []
    assert all(not worker.tasks for worker in desk.scheduler.state.workers.values())
    assert desk.tick(0.1) == []


def test_cancelling_without_a_reason_says_that_somebody_did() -> None:
    desk = Desk()
    desk.tell(JobSubmitted("job", "balanced"))
    assert state(JobState.CANCELLED, "cancelled by request") in desk.tell(CancelRequested("job", ""))


def test_what_comes_for_a_cancelled_job_changes_nothing() -> None:
    desk = Desk()
    desk.join("a", "b")
    desk.start([10] * 4)
    desk.tell(CancelRequested("job", ""))
    dropped = DropPartial("a", task(0, 1), Refusal.UNKNOWN_JOB)
    assert desk.tell(answer("a", task(0, 1))) == [dropped]
    for late in (
        JobPlanned("job", (1,)),
        RoundReady("job", 2),
        JobFinished("job", "done"),
        JobBroken("job", "no"),
    ):
        assert desk.tell(late) == []
    assert desk.job().state is JobState.CANCELLED


def test_a_round_may_not_open_before_the_last_is_closed() -> None:
    desk = Desk()
    desk.join("a")
    desk.start([10])
    with pytest.raises(AssertionError):
        desk.tell(RoundReady("job", 2))


def test_what_each_worker_did_is_added_up() -> None:
    desk = Desk.of("a", "b", limits=Limits(help=False))
    desk.start([10] * 4, policy="round_robin")
    desk.answer_all(seconds_per_row={"a": 0.1, "b": 0.2})
    desk.open(2, step=Step.TRAIN)
    desk.answer_all(seconds_per_row={"a": 0.1, "b": 0.2})
    shares = desk.job().shares
    assert [shares["a"].rows, shares["a"].busy_s] == pytest.approx([40, 4.0])
    assert [shares["b"].rows, shares["b"].busy_s] == pytest.approx([40, 8.0])
    assert [desk.worker(name).rows_per_second for name in ("a", "b")] == pytest.approx([10.0, 5.0])


def test_speed_is_a_moving_average_that_trusts_the_past() -> None:
    desk = Desk.of("a", limits=Limits(speed_memory=0.75))
    desk.start([200])
    desk.answer_all(seconds_per_row={"a": 0.01})
    desk.next_round()
    desk.answer_all(seconds_per_row={"a": 0.005})
    assert desk.worker("a").rows_per_second == pytest.approx(0.75 * 100 + 0.25 * 200)


def test_a_worker_is_not_believed_more_rows_than_its_shards_have() -> None:
    desk = Desk.of("a")
    desk.start([10, 20])
    for ref in desk.in_hand("a"):
        desk.tell(answer("a", ref, rows=2**64 - 1))
    assert (desk.job().shares["a"].rows, desk.worker("a").rows) == (30, 30)


def test_speed_is_measured_for_each_job_by_itself() -> None:
    desk = Desk()
    desk.join("a", "b")
    for job in ("one", "other"):
        desk.tell(
            JobSubmitted(job, "balanced", algorithm=job), JobPlanned(job, (10,) * 4), RoundReady(job, 1)
        )
        desk.answer_all(seconds_per_row={"a": 0.001, "b": 4.0})
        placement = desk.job(job).placement
        assert placement is not None
        assert placement.shards == {"a": (0, 1), "b": (2, 3)}


def test_what_is_said_of_a_forgotten_job_changes_nothing() -> None:
    desk = Desk()
    desk.start([10])
    desk.tell(CancelRequested("job", ""))
    assert desk.tell(JobForgotten("job")) == []
    assert "job" not in desk.scheduler.state.jobs
    late = (
        JobPlanned("job", (10,)),
        RoundReady("job", 2),
        JobBroken("job", "too late"),
        JobFinished("job", ""),
    )
    assert [desk.tell(event) for event in late] == [[]] * 4

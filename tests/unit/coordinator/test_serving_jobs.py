"""Jobs that serve: rounds on demand, workers that die in them, and how they end."""

from builders.scheduling import Desk, answer, sent, state, task
from gradloom.jobs import JobState
from gradloom.steps import Step
from gradloom_coordinator.scheduling.commands import (
    CloseRound,
    DropPartial,
    MergePartial,
    ReleaseJob,
    StartPlanning,
)
from gradloom_coordinator.scheduling.events import (
    CancelRequested,
    JobBroken,
    JobPlanned,
    JobServes,
    JobSubmitted,
    PauseRequested,
    ResumeRequested,
    RoundReady,
    WorkerLeft,
)
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.rounds import Refusal
from gradloom_coordinator.scheduling.scheduler import Scheduler


def serving(*workers: str) -> Desk:
    """A job of two shards that has been trained in one round and serves."""
    desk = Desk()
    desk.join(*workers)
    desk.tell(JobSubmitted("job", "balanced"))
    desk.tell(JobPlanned("job", (10, 10)))
    for worker, ref in sent(desk.tell(RoundReady("job", 1))):
        desk.tell(answer(worker, ref))
    assert desk.tell(JobServes("job", "ready")) == [state(JobState.SERVING, "ready")]
    return desk


def test_a_round_is_opened_whenever_somebody_asks() -> None:
    desk = serving("a", "b")
    for number in (2, 3):
        given = sent(desk.tell(RoundReady("job", number, Step.QUERY)))
        assert sorted(given) == [("a", task(0, 1, round=number)), ("b", task(1, 2, round=number))]
        assert desk.tell(answer(*given[0])) == [MergePartial(*given[0])]
        assert desk.tell(answer(*given[1])) == [MergePartial(*given[1]), CloseRound("job", number)]


def test_a_worker_that_dies_in_a_round_of_answers_costs_only_its_tasks() -> None:
    desk = serving("a", "b")
    given = dict(sent(desk.tell(RoundReady("job", 2, Step.QUERY))))
    desk.tell(answer("a", given["a"]))
    again = sent(desk.tell(WorkerLeft("b", "gone")))
    assert again == [("a", task(1, 2, 2, round=2))]
    assert CloseRound("job", 2) in desk.tell(answer(*again[0]))


def test_a_job_that_serves_takes_no_ones_turn() -> None:
    desk = Desk(Scheduler(Limits(max_running_jobs=1)))
    desk.join("a")
    desk.tell(JobSubmitted("job", "balanced"))
    desk.tell(JobSubmitted("next", "balanced"))
    desk.tell(JobPlanned("job", (10,)))
    desk.tell(RoundReady("job", 1))
    desk.tell(answer("a", task(0, 1)))
    assert desk.tell(JobServes("job", "ready")) == [
        state(JobState.SERVING, "ready"),
        state(JobState.PLANNING, "looking at the files", job="next"),
        StartPlanning("next"),
    ]


def test_a_job_that_has_served_for_long_gives_a_new_one_no_credit() -> None:
    desk = serving("a")
    desk.scheduler.state.jobs["job"].charged_s = 0.0
    desk.tell(JobSubmitted("old", "balanced"))
    desk.tell(JobPlanned("old", (10,)))
    desk.scheduler.state.jobs["old"].charged_s = 500.0
    desk.tell(JobSubmitted("new", "balanced"))
    desk.tell(JobPlanned("new", (10,)))
    assert desk.scheduler.state.jobs["new"].charged_s == 500.0


def test_ending_it_completes_it_since_its_model_is_there() -> None:
    desk = serving("a", "b")
    given = sent(desk.tell(RoundReady("job", 2, Step.QUERY)))
    assert desk.tell(CancelRequested("job", "not needed")) == [
        state(JobState.COMPLETED, "stopped serving: not needed"),
        ReleaseJob("job"),
    ]
    assert desk.tell(answer(*given[0])) == [DropPartial(*given[0], Refusal.UNKNOWN_JOB)]
    assert desk.tell(RoundReady("job", 3, Step.QUERY)) == []
    assert desk.tell(CancelRequested("job", "again")) == []


def test_it_can_fail_and_it_never_stands_still() -> None:
    desk = serving("a", "b")
    desk.tell(PauseRequested("job", "the database is away"))
    assert len(sent(desk.tell(RoundReady("job", 2, Step.QUERY)))) == 2
    assert desk.tell(ResumeRequested("job", "the database is back")) == []
    assert state(JobState.FAILED, "broken") in desk.tell(JobBroken("job", "broken"))


def test_it_serves_only_what_has_been_trained() -> None:
    desk = Desk()
    assert desk.tell(JobServes("job", "ready")) == []
    desk.tell(JobSubmitted("job", "balanced"))
    assert desk.tell(JobServes("job", "ready")) == []
    desk.tell(CancelRequested("job", ""))
    assert desk.tell(JobServes("job", "ready")) == []

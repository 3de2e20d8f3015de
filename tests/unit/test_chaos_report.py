"""What a report says of the events of a job. The fault happens at 100 s."""

from dataclasses import replace
from itertools import count

import pytest

from gradloom.cli.chaos_report import Experiment, JobUnderFault, Watching, markdown
from gradloom.faults import Fault, FaultKind
from gradloom.jobs import (
    JobEvent,
    JobHappening,
    JobState,
    Note,
    RetryReason,
    RoundCompleted,
    StateChanged,
    TaskRetried,
)

AT = 100.0
KILL = Fault(FaultKind.KILL)
Timed = tuple[float, JobHappening]


def a_round(end: float, seconds: float) -> Timed:
    return end, RoundCompleted(1, 9, None, None, None, None, seconds, 0.0, 2, 0.0)


def a_retry(at: float, worker: str = "w") -> Timed:
    return at, TaskRetried(RetryReason.STREAM_RESET, worker, "0", 2, "")


def seen(*events: Timed, fault: Fault = KILL, observe_s: float = 10.0) -> tuple[Watching, JobUnderFault]:
    watching, numbers = Watching("w", fault, AT, observe_s), count(1)
    for at, what in sorted(events, key=lambda event: event[0]):
        watching.see(JobEvent(next(numbers), at, what))
    return watching, watching.result("j1")


def test_rounds_are_parted_by_the_fault_and_by_the_first_round_that_began_after_it() -> None:
    _, job = seen(
        a_round(98.0, 1.0),
        a_round(99.0, 1.0),
        a_retry(100.5),
        a_round(102.0, 3.0),
        a_round(103.0, 1.0),
        a_round(104.0, 1.0),
    )
    assert (job.before.rounds, job.during.rounds, job.after.rounds) == (2, 2, 1)
    assert (job.during.p50_s, job.during.p99_s) == (3.0, 3.0)
    assert job.retries == {"stream_reset": 1}
    assert (job.detection_s, job.recovery_s, job.longest_gap_s) == (0.5, 2.0, 2.0)
    assert job.went_on


def test_a_fault_that_lasts_is_over_when_a_round_began_after_its_time() -> None:
    slow = Fault(FaultKind.SLOW, 5.0, 2.0)
    watching, job = seen(a_round(101.0, 1.0), a_round(105.5, 1.0), a_round(106.5, 1.0), fault=slow)
    assert (watching.over_at, job.during.rounds, job.after.rounds) == (106.5, 3, 0)
    assert job.detection_s is None
    assert job.recovery_s == 1.0


def test_what_was_long_before_is_left_out() -> None:
    _, job = seen(a_round(80.0, 1.0), a_round(95.0, 1.0), a_round(101.0, 1.0))
    assert job.before.rounds == 1


def test_it_is_through_once_enough_was_seen_after_the_fault() -> None:
    until_then = [a_round(100.0 + i, 1.0) for i in range(1, 11)]
    assert not seen(*until_then)[0].through
    assert seen(*until_then, a_round(111.0, 1.0))[0].through


def test_a_worker_that_is_mentioned_again_is_not_over_yet() -> None:
    watching, _ = seen(a_round(101.5, 1.0), (102.0, Note("worker w is gone: its session ended")))
    assert watching.over_at is None


def test_a_job_that_stands_still_has_not_gone_on() -> None:
    _, job = seen(a_round(99.0, 1.0), a_retry(101.0))
    assert (job.went_on, job.recovery_s, job.longest_gap_s) == (False, None, None)
    assert "no round was done after the fault" in markdown(Experiment("w", "kill", AT, (job,)))


def test_others_are_not_mistaken_for_the_worker() -> None:
    _, job = seen(a_retry(101.0, worker="w-2"), (101.0, Note("worker w-2 joined")))
    assert (job.detection_s, job.notes) == (None, ())


def test_the_report_can_be_read() -> None:
    events = [a_round(99.0, 0.02), a_retry(100.004), a_round(100.05, 0.06), a_round(100.1, 0.02)]
    _, job = seen(*events, (100.2, StateChanged(JobState.COMPLETED, "")))
    assert markdown(Experiment("w", "kill", AT, (replace(job, notes=("+0.00 s: gone",)),))).splitlines() == [
        "# w: kill",
        "",
        "## j1",
        "",
        "The job is completed: its rounds went on.",
        "",
        "| rounds | number | p50 | p99 |",
        "|---|---|---|---|",
        "| before | 1 | 20 ms | 20 ms |",
        "| during | 2 | 60 ms | 60 ms |",
        "| after | 0 | - | - |",
        "",
        "- retries: 1 stream_reset",
        "- noticed after: 4 ms",
        "- first round after that: 50 ms",
        "- longest time without a finished round: 50 ms",
        "",
        "    +0.00 s: gone",
    ]


def test_without_a_job_there_is_nothing_to_report() -> None:
    assert "No job was running" in markdown(Experiment("w", "kill", AT, ()))


@pytest.mark.parametrize("n", [1, 200])
def test_the_99th_percentile_is_one_of_the_rounds(n: int) -> None:
    _, job = seen(*(a_round(91.0 + i / 100, float(i)) for i in range(n)))
    assert job.before.p99_s == float(int(0.99 * n))

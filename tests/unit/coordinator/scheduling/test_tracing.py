"""What a job's trace remembers of rounds, tasks and workers: told as scenarios, and how little room it takes."""

import sys

from builders.scheduling import Desk, answer, failure, task
from gradloom.canonical import Range
from gradloom.jobs import RetryReason
from gradloom.steps import Step
from gradloom.traces import JobTrace, WorkerTotals
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.copies import CopyLedger
from gradloom_coordinator.scheduling.events import TaskRef, TaskTimes
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.tracing import MAX_JOBS, MAX_ROUNDS, MAX_TASKS, TraceBook, Traces

EPOCH = 1000.0
NO_HELP = Limits(help=False, speculation=False)


def read(desk: Desk, job: str = "job") -> JobTrace:
    state = desk.scheduler.state
    book = state.traces.of(job)
    assert book is not None
    reading = book.read(EPOCH, desk.now, state.workers.keys())
    rounds = tuple(span for page in reading.rounds() for span in page)
    return JobTrace(reading.head, rounds, tuple(span for page in reading.tasks() for span in page))


def totals(desk: Desk, worker: str) -> WorkerTotals:
    return next(one for one in read(desk).head.workers if one.worker == worker)


def test_a_task_that_counts_is_a_span_with_its_phases() -> None:
    desk = Desk.of("w")
    desk.now = 5.0
    desk.start([10, 20])
    ref = desk.in_hand("w")[0]
    desk.now = 9.0
    desk.tell(
        e.PartialArrived("w", ref, 10, TaskTimes(queue_s=0.5, load_s=1.0, compute_s=2.0, encode_s=0.25))
    )
    (span,) = read(desk).tasks
    assert (span.worker, span.lo, span.hi, span.attempt, span.rows) == ("w", *ref.range, 1, 10)
    assert (span.given_at, span.ended_at) == (EPOCH + 5.0, EPOCH + 9.0)
    assert (span.queue_s, span.load_s, span.compute_s, span.encode_s) == (0.5, 1.0, 2.0, 0.25)
    assert span.transit_s == 0.25
    assert span.counted
    assert not span.is_copy


def test_rounds_say_which_round_of_training_they_are() -> None:
    desk = Desk.of("w")
    desk.tell(e.JobSubmitted("job", "balanced"), e.JobPlanned("job", (10,)))
    desk.tell(e.RoundReady("job", 1, Step.PROFILE))
    desk.answer("w", after_s=1.0)
    desk.now += 0.5
    desk.tell(e.RoundReady("job", 2, Step.TRAIN, 7))
    desk.answer("w", after_s=2.0)
    profile, train = read(desk).rounds
    assert (profile.step, profile.training_round, profile.seconds) == ("profile", 0, 1.0)
    assert (train.step, train.training_round, train.opened_at) == ("train", 7, EPOCH + 1.5)
    head = read(desk).head
    assert (head.training_rounds, head.training_s) == (1, 2.0)


def test_who_was_awaited_and_who_waited() -> None:
    desk = Desk.of("a", "b", limits=NO_HELP)
    desk.start([10, 10])
    desk.answer("a", after_s=1.0)
    desk.answer("b", after_s=4.0, took_s=5.0)
    a, b = totals(desk, "a"), totals(desk, "b")
    assert (a.wait_s, a.rounds_last, a.awaited_s) == (4.0, 0, 0.0)
    assert (b.wait_s, b.rounds_last, b.awaited_s) == (0.0, 1, 4.0)
    assert (a.useful_s, b.useful_s) == (1.0, 5.0)
    assert dict(b.slow_rounds) == {"compute": 1}


def test_a_failed_try_is_time_in_vain_with_its_reason() -> None:
    desk = Desk.of("a", "b")
    desk.start([10, 10])
    desk.now = 2.0
    ref = desk.in_hand("a")[0]
    desk.tell(failure("a", ref, RetryReason.NONFINITE))
    (span,) = read(desk).tasks
    assert (span.lost_because, span.compute_s, span.counted) == ("nonfinite", 2.0, False)
    assert dict(totals(desk, "a").lost_s) == {"nonfinite": 2.0}
    assert totals(desk, "a").useful_s == 0.0


def test_a_late_answer_whose_task_was_taken_away_still_has_its_times() -> None:
    desk = Desk.of("a", "b", limits=NO_HELP)
    desk.start([10, 10])
    ref = desk.in_hand("a")[0]
    desk.tell(e.StreamBroken("a", "reset"))
    desk.now = 4.0
    desk.tell(e.WorkerResumed("a"))
    desk.tell(answer("a", ref, compute_s=3.0))
    span = next(one for one in read(desk).tasks if one.counted)
    assert (span.given_at, span.ended_at, span.compute_s) == (EPOCH + 1.0, EPOCH + 4.0, 3.0)


def test_workers_are_held_while_the_job_runs_and_not_while_it_is_paused() -> None:
    desk = Desk.of("w")
    desk.start([10])
    desk.tell(e.PauseRequested("job", "lunch"))
    desk.answer("w", after_s=2.0)
    desk.next_round()
    desk.now += 100.0
    assert totals(desk, "w").held_s == 2.0
    desk.tell(e.ResumeRequested("job", "back"))
    desk.answer("w", after_s=3.0)
    assert totals(desk, "w").held_s == 5.0
    desk.tell(e.JobFinished("job", "done"))
    desk.now += 100.0
    assert totals(desk, "w").held_s == 5.0


def test_a_worker_that_left_was_held_until_its_last_task() -> None:
    desk = Desk.of("a", "b", limits=NO_HELP)
    desk.start([10, 10])
    desk.answer("a", after_s=1.0)
    desk.now += 1.0
    desk.tell(e.WorkerLeft("b", "bye"))
    desk.now += 50.0
    assert totals(desk, "b").held_s == 2.0
    assert dict(totals(desk, "b").lost_s) == {"worker_lost": 2.0}


def test_copies_are_marked_and_their_ledger_is_in_the_head() -> None:
    desk = Desk.of(
        "a", "b", "c", limits=Limits(help=False, copy_min_s=0.1, copy_slots=1.0, copy_after_share=0.5)
    )
    desk.start([10, 10, 10])
    desk.answer("a", after_s=1.0)
    desk.answer("b", took_s=1.0)
    desk.tick_while_alive(3.0, "a", "b", "c")
    copier = next(name for name in "ab" if desk.in_hand(name))
    desk.answer(copier, after_s=0.5)
    spans = [span for span in read(desk).tasks if span.is_copy or not span.counted]
    assert [(span.is_copy, span.lost_because) for span in spans] == [(True, ""), (False, "superseded")]
    assert read(desk).head.copies.won == 1


def test_a_query_is_no_part_of_training() -> None:
    desk = Desk.of("w")
    desk.start([10])
    desk.answer("w", after_s=1.0)
    desk.tell(e.JobServes("job", "trained"))
    desk.open(2, step=Step.QUERY)
    desk.answer("w", after_s=5.0)
    assert totals(desk, "w").useful_s == 1.0
    assert totals(desk, "w").held_s == 1.0
    assert [span.step for span in read(desk).rounds] == ["train", "query"]


def test_a_job_that_is_forgotten_takes_its_trace_along() -> None:
    desk = Desk.of("w")
    desk.start([10])
    desk.tell(e.CancelRequested("job", ""), e.JobForgotten("job"))
    assert desk.scheduler.state.traces.of("job") is None


# ---- bounds


def test_only_the_last_spans_are_kept_and_those_that_went_are_counted() -> None:
    book = TraceBook(CopyLedger(), 0.0)
    for number in range(MAX_ROUNDS + 3):
        book.opened(number, Step.TRAIN, number, float(number))
        book.closed(number + 0.5)
    for number in range(MAX_TASKS + 5):
        book.counted("w", task(number, number + 1), 0.0, 1, TaskTimes(), 1.0, is_copy=False)
    reading = book.read(0.0, 9.0, ())
    spans = [span for page in reading.tasks() for span in page]
    assert (len(spans), spans[0].lo, spans[-1].lo) == (MAX_TASKS, 5, MAX_TASKS + 4)
    assert (reading.head.dropped_tasks, reading.head.dropped_rounds) == (5, 3)
    assert sum(len(page) for page in reading.rounds()) == MAX_ROUNDS
    assert reading.head.workers[0].tasks == MAX_TASKS + 5, "totals go on"


def test_all_books_together_take_40_megabytes_at_most() -> None:
    book = TraceBook(CopyLedger(), 0.0)
    ref = TaskRef("job", 2**40, Range(10**6, 10**6 + 1), 3)
    times = TaskTimes(0.1, 0.2, 0.3, 0.4)
    for _ in range(MAX_TASKS):
        book.counted("w", ref, 0.0, 1, times, 1.0, is_copy=False)
    for number in range(MAX_ROUNDS):
        book.opened(number, Step.TRAIN, number, 0.0)
        book.closed(1.0)
    packed = [*book._tasks, *book._rounds]
    taken = sum(map(sys.getsizeof, packed)) + sys.getsizeof(book._tasks) + sys.getsizeof(book._rounds)

    assert MAX_JOBS * taken < 40e6


def test_the_job_that_ran_longest_ago_makes_room() -> None:
    traces = Traces()
    for number in range(MAX_JOBS):
        traces.begin(f"job-{number}", CopyLedger(), 0.0).opened(1, Step.TRAIN, 1, float(number))
    traces.begin("job-0", CopyLedger(), 0.0).opened(2, Step.TRAIN, 2, 99.0)
    traces.begin("new", CopyLedger(), 100.0)
    assert traces.of("job-0") is not None
    assert traces.of("job-1") is None
    assert traces.of("new") is not None


def test_pages_are_small() -> None:
    book = TraceBook(CopyLedger(), 0.0)
    for _ in range(1200):
        book.counted("w", task(0, 1), 0.0, 1, TaskTimes(), 1.0, is_copy=False)
    assert [len(page) for page in book.read(0.0, 1.0, ()).tasks()] == [200] * 6

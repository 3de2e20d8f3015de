"""Answers that may have to be said again, within a limit of memory."""

import numpy as np

from gradloom.canonical import Range
from gradloom.jobs import RetryReason
from gradloom_worker.answers import Answers
from gradloom_worker.events import Task
from gradloom_worker.executor import Failed
from gradloom_worker.work import Computed


def task(lo: int) -> Task:
    return Task("job", 1, Range(lo, lo + 1), 1)


def computed(nbytes: int) -> Computed:
    return Computed({"sum": np.zeros(nbytes, dtype=np.uint8)}, rows=1, load_s=0.0, compute_s=0.0)


def test_the_oldest_answers_go_when_they_take_too_much() -> None:
    answers = Answers(limit_bytes=100)
    for lo in range(4):
        answers.keep(task(lo), computed(40))
        answers.trim()
    assert [lo for lo in range(4) if answers.get(task(lo))] == [2, 3]
    assert answers.nbytes == 80


def test_an_answer_of_any_size_is_there_until_it_was_said() -> None:
    answers = Answers(limit_bytes=100)
    answers.keep(task(0), computed(1000))
    assert answers.get(task(0)) is not None
    answers.trim()
    assert answers.get(task(0)) is None
    assert answers.nbytes == 0


def test_a_failure_takes_no_room_and_takes_the_place_of_what_could_not_be_sent() -> None:
    answers = Answers(limit_bytes=100)
    answers.keep(task(0), computed(40))
    failed = Failed(RetryReason.OUT_OF_MEMORY, "out of memory", "")
    answers.keep(task(0), failed)
    kept = answers.get(task(0))
    assert kept is not None
    assert kept.outcome is failed
    assert answers.nbytes == 0


def test_what_is_not_kept_can_be_forgotten() -> None:
    assert Answers().forget(task(0)) is None

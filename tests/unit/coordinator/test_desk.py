"""Queries that wait, and which of them a round of answers takes on."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from gradloom.algorithms import build
from gradloom.algorithms.serving import Posed, ServesQueries, serving_part
from gradloom.errors import Conflict, InvalidInput, Overloaded
from gradloom.nearest.answers import Answer, Ask, Predictions, Question
from gradloom_coordinator.desk import MAX_WAITING_ROWS, Desk, Waiting

NEAREST, WITHIN = Question(Ask.NEIGHBORS, 3), Question(Ask.WITHIN, radius=1.0)


@pytest.fixture
def knn() -> ServesQueries:
    return serving_part(build("neighbors"))


def query(rows: int, question: Question = NEAREST) -> Waiting:
    return Waiting(Posed(question, np.zeros((rows, 2))), asyncio.get_running_loop().create_future())


def sizes(tile: Sequence[Posed]) -> list[int]:
    return [len(posed) for posed in tile]


def answer(value: float) -> Answer:
    return Predictions(np.array([value]))


async def test_a_round_takes_those_that_come_first_and_fit(knn: ServesQueries) -> None:
    desk = Desk()
    assert desk.next_tile(knn) == []
    desk.put([query(1000), query(20)])
    desk.put([query(4), query(1), query(1)])
    assert sizes(desk.next_tile(knn)) == [1000, 20, 4]
    assert sizes(desk.next_tile(knn)) == [1, 1]
    assert desk.next_tile(knn) == []
    assert desk.rows == 0


async def test_one_that_is_larger_than_a_tile_has_a_round_of_its_own(knn: ServesQueries) -> None:
    desk = Desk()
    desk.put([query(5000), query(1)])
    assert sizes(desk.next_tile(knn)) == [5000]
    assert sizes(desk.next_tile(knn)) == [1]


async def test_who_wants_many_neighbours_makes_the_round_small_for_those_who_come_after(
    knn: ServesQueries,
) -> None:
    desk, many = Desk(), Question(Ask.NEIGHBORS, 10_000)
    desk.put([query(100, many), query(4), query(1), query(1000), query(20, many)])
    assert [sizes(desk.next_tile(knn)) for _ in range(3)] == [[100, 4], [1, 1000], [20]]


async def test_questions_that_can_not_share_a_round_wait_for_the_next(knn: ServesQueries) -> None:
    desk = Desk()
    desk.put([query(1), query(2, WITHIN), query(3)])
    assert [sizes(desk.next_tile(knn)) for _ in range(3)] == [[1], [2], [3]]


async def test_those_who_no_longer_wait_are_passed_over(knn: ServesQueries) -> None:
    desk = Desk()
    waiting = [query(n) for n in (1, 2, 3)]
    desk.put(waiting)
    waiting[0].answer.cancel()
    waiting[2].answer.cancel()
    assert sizes(desk.next_tile(knn)) == [2]
    waiting[1].answer.cancel()
    desk.settle([answer(1.0)])  # nobody is told, and nothing is wrong
    assert desk.asked == ()


async def test_answers_and_refusals_go_to_those_who_asked(knn: ServesQueries) -> None:
    desk = Desk()
    first, second = query(1), query(1)
    desk.put([first, second])
    desk.next_tile(knn)
    told = answer(7.0)
    desk.settle([told, InvalidInput("radius", "is too large")])
    assert await first.answer is told
    with pytest.raises(InvalidInput, match="too large"):
        await second.answer


async def test_more_rows_than_may_wait_are_refused_all_of_them() -> None:
    desk = Desk()
    desk.put([query(2 * MAX_WAITING_ROWS)])  # nobody waits yet
    late = [query(1), query(1)]
    with pytest.raises(Overloaded, match=f"{2 * MAX_WAITING_ROWS} rows of queries wait already"):
        desk.put(late)
    assert len(desk.waiting) == 1


async def test_when_the_job_ends_everybody_hears_so(knn: ServesQueries) -> None:
    desk = Desk()
    waiting = [query(1024), query(1)]
    desk.put(waiting)
    desk.next_tile(knn)
    desk.refuse(Conflict("it has ended"))
    for one in waiting:
        with pytest.raises(Conflict, match="has ended"):
            await one.answer
    assert desk.next_tile(knn) == []

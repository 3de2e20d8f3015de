"""The curves and the story of a job stay small, and tell the truth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.rooms import a_round, numbered
from gradloom.jobs import JobState, Note, RetryReason, StateChanged, TaskRetried
from gradloom_dashboard.series import MAX_POINTS, Series
from gradloom_dashboard.story import MAX_ENTRIES, Entry, Story


def series_of(*numbers: int) -> Series:
    series = Series()
    for number in numbers:
        series.add(a_round(number))
    return series


def test_few_rounds_are_all_shown() -> None:
    assert [point.round for point in series_of(*range(1, 500)).points] == list(range(1, 500))


@pytest.mark.parametrize("last", [599, 600, 601, 1_199, 1_200, 1_201, 10_000])
def test_many_rounds_take_no_more_room_and_the_first_and_the_newest_stay(last: int) -> None:
    points = series_of(*range(1, last + 1)).points
    assert MAX_POINTS / 2 <= len(points) <= MAX_POINTS
    assert (points[0].round, points[-1].round) == (1, last)
    assert [point.loss for point in points] == [1.0 / point.round for point in points]


def test_one_slow_round_among_thousands_stays_in_sight() -> None:
    series = Series()
    for number in range(1, 10_001):
        series.add(a_round(number, seconds=5.0 if number == 7_013 else 0.01))
    slow = [point.round for point in series.points if point.seconds == 5.0]
    assert len(slow) == 1
    assert 7_013 - series.stride < slow[0] <= 7_013


def test_rounds_that_are_done_again_take_the_place_of_the_first_try() -> None:
    series = series_of(*range(1, 101))
    series.add(a_round(41, loss=9.0))
    series.add(a_round(42, loss=8.0))
    assert [(p.round, p.loss) for p in series.points[-3:]] == [(40, 1 / 40), (41, 9.0), (42, 8.0)]


def test_nothing_is_shown_of_nothing() -> None:
    assert Series().points == ()


@given(st.lists(st.tuples(st.integers(1, 400), st.integers(1, 900)), max_size=12))
def test_rounds_rise_and_end_with_the_newest_whatever_is_done_again(runs: list[tuple[int, int]]) -> None:
    series, newest = Series(), 0
    for first, count in runs:
        for newest in range(first, first + count):
            series.add(a_round(newest))
    rounds = [point.round for point in series.points]
    assert rounds == sorted(set(rounds))
    assert len(rounds) <= MAX_POINTS
    assert not runs or rounds[-1] == newest


def test_a_story_keeps_rounds_as_curves_and_the_rest_as_sentences() -> None:
    story = Story()
    for event in numbered(
        [
            StateChanged(JobState.RUNNING, "200 rows in 2 shards"),
            a_round(1),
            TaskRetried(RetryReason.WORKER_LOST, "worker-2", "3", 2, ""),
            Note("ann: hello"),
            a_round(2),
        ]
    ):
        story.take(event)
    told = story.told()
    assert [point.round for point in told.points] == [1, 2]
    assert told.newest is not None
    assert told.newest.round == 2
    assert [entry.kind for entry in told.entries] == ["note", "retry", "running"]
    assert "shards 3 of worker-2 are computed again" in told.entries[1].words
    assert (story.seen, story.ended, story.is_as(told)) == (5, False, True)
    story.take(numbered([StateChanged(JobState.FAILED, "why")], 6)[0])
    assert (story.ended, story.is_as(told)) == (True, False)
    assert story.told().entries[0] == Entry(6, 1_700_000_000.0, "failed", "failed: why")


def test_a_long_story_forgets_its_oldest_sentences() -> None:
    story = Story()
    for event in numbered(Note(str(i)) for i in range(2 * MAX_ENTRIES)):
        story.take(event)
    entries = story.told().entries
    assert len(entries) == MAX_ENTRIES
    assert entries[0].words == str(2 * MAX_ENTRIES - 1)

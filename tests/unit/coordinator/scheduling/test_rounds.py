"""The ledger of a round: each chunk is in one place, and what is counted is counted once."""

import pytest

from gradloom.canonical import Range
from gradloom.steps import Step
from gradloom_coordinator.scheduling.commands import TaskOrder
from gradloom_coordinator.scheduling.rounds import Chunk, Round


def chunk(lo: int, hi: int) -> Chunk:
    return Chunk(TaskOrder(Range(lo, hi), 1), rows=10 * (hi - lo))


def ledger_of(*queues: tuple[str, int, int]) -> Round:
    """A round over four shards, with chunks in the queues of workers."""
    ledger = Round(3, Step.TRAIN, 4, opened_at=0.0)
    for worker, lo, hi in queues:
        ledger.put(chunk(lo, hi), worker)
    ledger.check()
    return ledger


def test_a_chunk_is_counted_once() -> None:
    ledger = ledger_of(("a", 0, 2), ("b", 2, 4))
    first, second = ledger.chunks.values()
    ledger.count(first)
    assert ledger.shards_counted == 2
    with pytest.raises(AssertionError, match="shards 0-1 were counted before"):
        ledger.count(first)
    assert ledger.missing() == [second]
    ledger.count(second)
    assert ledger.complete
    ledger.check()


def test_a_worker_draws_its_own_chunks_in_order_and_its_helper_the_last() -> None:
    ledger = ledger_of(("a", 0, 1), ("a", 1, 2), ("a", 2, 3), ("a", 3, 4))
    drawn = ledger.draw_own("a")
    last, before = ledger.last_of("a", 2)
    assert drawn is ledger.chunks[Range(0, 1)]
    assert (last.range, before.range) == ((3, 4), (2, 3))
    ledger.draw(last, "a")
    assert ledger.queued_rows["a"] == 20
    assert ledger.draw_own("stranger") is None


def test_what_is_counted_is_drawn_by_nobody() -> None:
    ledger = ledger_of(("a", 0, 1), ("a", 1, 2), ("a", 2, 4))
    for chunk_ in list(ledger.chunks.values())[::2]:
        ledger.count(chunk_)
    [last] = ledger.last_of("a", 4)
    assert last.range == (1, 2)
    assert ledger.queued_rows["a"] == 20, "shards 0 and 1 are still in the queue, 2 and 3 are out of it"
    ledger.orphan_queue("a")
    assert [chunk_.range for chunk_ in ledger.orphans] == [(1, 2)]
    ledger.check()


def test_an_orphan_goes_to_the_first_that_may_try_it() -> None:
    ledger = ledger_of(("a", 0, 2), ("a", 2, 4))
    ledger.orphan_queue("a")
    assert ledger.draw_orphan(lambda chunk_: False) is None
    assert len(ledger.orphans) == 2, "nobody took one"
    drawn = ledger.draw_orphan(lambda chunk_: chunk_.range.lo == 2)
    assert drawn is ledger.chunks[Range(2, 4)]


def test_what_is_held_back_is_an_orphan_once_its_time_has_come() -> None:
    ledger = ledger_of(("a", 0, 2), ("a", 2, 4))
    late, early = ledger.draw_own("a"), ledger.draw_own("a")
    assert late is not None
    assert early is not None
    ledger.hold_back(late, 2.0)
    ledger.hold_back(early, 1.0)
    ledger.check()
    ledger.release_due(1.0)
    assert list(ledger.orphans) == [early]
    ledger.count(late)
    ledger.release_due(2.0)
    assert list(ledger.orphans) == [early], "it was counted while it was held back"
    assert not ledger.delayed


def test_a_chunk_with_nobody_or_in_two_places_is_noticed() -> None:
    ledger = ledger_of(("a", 0, 2), ("b", 2, 4))
    drawn = ledger.draw_own("a")
    with pytest.raises(AssertionError, match=r"round 3: shards .* are with nobody"):
        ledger.check()
    assert drawn is not None
    ledger.orphans.extend([drawn, drawn])
    with pytest.raises(AssertionError, match="round 3: a chunk is in two places"):
        ledger.check()


def test_the_median_is_that_of_the_answers_but_for_the_latest_few() -> None:
    ledger = ledger_of(("a", 0, 4))
    assert ledger.median_pace() == 0.0
    ledger.paces = [3.0, 1.0, 2.0]
    assert ledger.median_pace() == 2.0
    ledger.paces = [1.0] * 100
    assert ledger.median_pace() == 1.0
    ledger.paces += [9.0] * 5
    assert ledger.median_pace() == 1.0, "five more of a hundred: not sorted anew"
    ledger.paces += [9.0] * 200
    assert ledger.median_pace() == 9.0

"""The ledger of a round: what is counted is counted once."""

import pytest

from gradloom.canonical import Range
from gradloom_coordinator.rounds import Round


def test_shards_are_counted_once_and_only_when_all_of_them_are_missing() -> None:
    ledger = Round(1, 4)
    assert ledger.count(Range(1, 3))
    assert not ledger.count(Range(1, 3))
    assert not ledger.count(Range(0, 2)), "a half of it is counted"
    assert [i for i in range(4) if not ledger.counted(Range(i, i + 1))] == [0, 3]
    assert [ledger.count(Range(0, 1)), ledger.closed, ledger.count(Range(3, 4)), ledger.closed] == [
        True,
        False,
        True,
        True,
    ]


def test_failed_tries_are_tallied_by_shard_not_by_range() -> None:
    ledger = Round(1, 4)
    assert ledger.failed(Range(0, 4), "a") == 1
    assert ledger.failed(Range(0, 2), "b") == 2
    assert ledger.failed(Range(3, 4), "a") == 2
    assert ledger.avoid(Range(0, 4)) == {"a", "b"}
    assert ledger.avoid(Range(2, 4)) == {"a"}
    assert ledger.died_on(Range(3, 4), "a") == 1, "lost workers are another tally"
    assert ledger.died_on(Range(3, 4), "a") == 1, "a worker that comes back to be lost again counts once"
    assert ledger.died_on(Range(0, 4), "b") == 2


def test_a_shard_with_nobody_is_noticed() -> None:
    ledger = Round(3, 4)
    ledger.count(Range(0, 2))
    ledger.check([Range(2, 4)])
    with pytest.raises(AssertionError, match="round 3: shard 3 is with nobody"):
        ledger.check([Range(2, 3)])

"""A storage that is away is waited for, and not for ever."""

import pytest

from gradloom.errors import DataUnreachable, StorageAway
from gradloom_worker.patience import LIMIT_S, MAX_PAUSE_S, patiently


class Time:
    def __init__(self) -> None:
        self.now, self.pauses = 0.0, list[float]()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)

    def clock(self) -> float:
        return self.now


def test_a_storage_that_comes_back_is_read() -> None:
    time, answers = Time(), [StorageAway("s3://b/x", "can't be read now: it burns")] * 3

    def read() -> str:
        if answers:
            raise answers.pop()
        return "rows"

    assert patiently(read, time.wait, time.clock) == "rows"
    assert time.pauses == [0.5, 1.0, 2.0]


def test_one_that_stays_away_is_given_up() -> None:
    time = Time()

    def read() -> str:
        raise StorageAway("s3://b/x", "can't be read now: it burns")

    with pytest.raises(StorageAway, match="it burns"):
        patiently(read, time.wait, time.clock)
    assert LIMIT_S - MAX_PAUSE_S <= time.now <= LIMIT_S
    assert max(time.pauses) == MAX_PAUSE_S


def test_what_is_not_there_is_not_waited_for() -> None:
    time = Time()

    def read() -> str:
        raise DataUnreachable("s3://b/x", "no such file")

    with pytest.raises(DataUnreachable, match="no such file"):
        patiently(read, time.wait, time.clock)
    assert time.pauses == []

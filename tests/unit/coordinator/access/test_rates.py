"""Calls a second and open streams, without a clock."""

import pytest

from gradloom_coordinator.access.rates import OpenStreams, Rates


def test_a_burst_goes_through_then_the_rate() -> None:
    rates = Rates(10.0, burst=3)
    assert [rates.take("ann", 5.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert rates.take("ann", 5.0) == pytest.approx(0.1)
    assert rates.take("ann", 5.05) == pytest.approx(0.05)
    assert rates.take("ann", 5.1) == 0.0
    assert rates.take("ann", 5.1) > 0.0


def test_one_callers_flood_is_not_anothers() -> None:
    rates = Rates(1.0, burst=1)
    assert rates.take("ann", 0.0) == 0.0
    assert rates.take("ann", 0.0) > 0.0
    assert rates.take("bob", 0.0) == 0.0


def test_a_rest_fills_no_more_than_the_burst() -> None:
    rates = Rates(10.0, burst=2)
    assert [rates.take("ann", 0.0), rates.take("ann", 1e6), rates.take("ann", 1e6)] == [0.0, 0.0, 0.0]
    assert rates.take("ann", 1e6) > 0.0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    rates = Rates(10.0, burst=1)
    assert rates.take("ann", 100.0) == 0.0
    assert rates.take("ann", 50.0) > 0.0


def test_no_rate_is_no_limit_and_keeps_nothing() -> None:
    rates = Rates(0.0, burst=0)
    assert all(rates.take("ann", 0.0) == 0.0 for _ in range(1000))
    assert not rates._buckets


def test_a_flood_of_callers_does_not_fill_the_memory_and_the_active_ones_stay() -> None:
    rates = Rates(1.0, burst=1, max_keys=10)
    rates.take("ann", 0.0)
    for number in range(1000):
        assert rates.take("ann", 0.0) > 0.0
        rates.take(f"stranger {number}", 0.0)
    assert len(rates._buckets) == 10


def test_streams_are_bounded_for_each_and_for_all() -> None:
    streams = OpenStreams(each=2, together=3)
    assert [streams.open(key) for key in ("ann", "ann", "bob")] == ["", "", ""]
    assert streams.open("ann") == "ann has 2 streams open already, as many as one caller may"
    assert streams.open("eve") == "3 streams are open already, as many as this coordinator holds"
    streams.close("ann")
    assert streams.open("eve") == ""
    for key in ("ann", "bob", "eve"):
        streams.close(key)
    assert (streams.count, streams._open) == (0, {})

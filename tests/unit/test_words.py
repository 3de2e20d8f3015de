"""Numbers, sizes and moments in words."""

import time
from collections.abc import Iterator

import pytest

from gradloom import words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0.0, "0 s"), (0.00042, "0.42 ms"), (0.42, "420 ms"), (0.9994, "999 ms"), (0.9996, "1 s")),
        *((2.145, "2.15 s"), (12.4, "12.4 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s")),
        *((185, "3 min 05 s"), (3599.6, "1 h 00 min"), (7800, "2 h 10 min"), (360_000, "100 h 00 min")),
    ],
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert words.seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        *((0, "0 B"), (999, "999 B"), (999.7, "1 kB"), (1000, "1 kB"), (48_000, "48 kB"), (1.5e6, "1.5 MB")),
        *(
            (999_499, "999 kB"),
            (999_500, "1 MB"),
            (2.346e9, "2.35 GB"),
            (7e12, "7 TB"),
            (1.2e16, "12,000 TB"),
        ),
    ],
)
def test_what_travels_is_counted_in_powers_of_ten(count: float, text: str) -> None:
    assert words.bytes_text(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        *((0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (2**20 - 1, "1.0 MiB"), (100 * 2**20, "100.0 MiB")),
        *((2**30 - 1, "1.0 GiB"), (8 * 2**30, "8.0 GiB"), (3 * 2**41, "6.0 TiB")),
    ],
)
def test_memory_is_counted_in_powers_of_two(count: float, text: str) -> None:
    assert words.memory_text(count) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        *((0.0, "0 rows/s"), (950.4, "950 rows/s"), (1500.0, "1.5 k rows/s")),
        *((999_600.0, "1 M rows/s"), (2.346e9, "2.35 G rows/s")),
    ],
)
def test_rates_are_short(rate: float, text: str) -> None:
    assert words.rate_text(rate) == text


def test_numbers_and_shares() -> None:
    assert [words.number_text(value) for value in (None, 0.1234567, 0.0)] == ["-", "0.123457", "0"]
    assert words.share_text(0.1234) == "12.3 %"
    assert [words.counted(n, "round") for n in (0, 1, 1200)] == ["0 rounds", "1 round", "1,200 rounds"]
    assert words.pairs_text({"disk": "ssd", "zone": 1}) == "disk=ssd, zone=1"
    assert words.pairs_text({}) == ""


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as there:
        there.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("tokyo")
def test_moments_are_told_in_local_time() -> None:
    assert words.time_text(1_772_323_200.9) == "2026-03-01 09:00:00"
    assert words.clock_text(1_772_323_200.9) == "09:00:00"

"""What workers hear of their answers, what is added up of them, and what ``auto`` picks from it."""

from dataclasses import replace

import pytest

from builders.scheduling import of_round
from gradloom.codecs import Account
from gradloom.jobs import Compression
from gradloom.words import bytes_text
from gradloom_coordinator.compression.ledger import Ledger, restored_ledger
from gradloom_coordinator.compression.pick import AGAIN_AFTER, ROUNDS, Picker, pick
from gradloom_coordinator.compression.traffic import Traffic
from gradloom_coordinator.compression.verdicts import Verdicts


def test_a_worker_is_told_until_it_shows_that_it_has_heard() -> None:
    verdicts = Verdicts(tracks=True)
    verdicts.count("w", of_round(1))
    verdicts.count("w", of_round(1, shard=3))
    verdicts.count("other", of_round(1, shard=5))
    assert verdicts.tell("w", 2) == [of_round(1), of_round(1, shard=3)]
    assert verdicts.tell("w", 3) == [of_round(1), of_round(1, shard=3)]
    verdicts.answered("w", of_round(2))  # it may not have heard what it was told in round 3
    assert verdicts.tell("w", 3) == [of_round(1), of_round(1, shard=3)]
    verdicts.count("w", of_round(3))
    verdicts.answered("w", of_round(3))
    assert verdicts.tell("w", 4) == [of_round(3)]
    assert verdicts.tell("other", 4) == [of_round(1, shard=5)]


def test_nothing_is_tracked_while_nobody_leaves_anything_out() -> None:
    verdicts = Verdicts()
    verdicts.count("w", of_round(1))
    assert verdicts.tell("w", 2) == []
    assert not verdicts.gone("w")


def test_a_worker_that_is_gone_takes_something_along_only_once() -> None:
    traffic = Traffic(verdicts=Verdicts(tracks=True), _remembers=True)
    traffic.counted("w", of_round(1), Account(), {})
    assert traffic.worker_gone("w")
    assert not traffic.worker_gone("w")
    assert not traffic.worker_gone("stranger")
    assert traffic.ledger.resets == 1


def test_a_worker_that_has_sent_all_it_had_loses_nothing() -> None:
    verdicts = Verdicts(tracks=True)
    verdicts.count("w", of_round(1))
    verdicts.count("w", of_round(2), left_over=False)
    assert verdicts.tell("w", 3) == [of_round(1), of_round(2)]
    assert not verdicts.gone("w")


def test_the_ledger_adds_up_by_direction_and_codec() -> None:
    ledger = Ledger()
    ledger.arrived("none", 100, 100, 0.5, 0.5)
    ledger.arrived("int8", 400, 100, 0.25, 0.125)
    ledger.sent("bfloat16", 1000, 500)
    ledger.counted(Account(square_error=1.0, square_norm=100.0, square_residual=9.0))
    ledger.counted(Account(square_error=3.0, square_norm=300.0, square_residual=16.0))
    assert ledger.view("int8", "bfloat16", "").relative_error is None
    ledger.end_round()
    ledger.counted(Account(square_residual=4.0))
    ledger.end_round()  # the error is measured now and then only
    assert ledger.view("int8", "bfloat16", "why") == Compression(
        codec="int8",
        downlink="bfloat16",
        reason="why",
        raw_bytes_up=500,
        wire_bytes_up=200,
        raw_bytes_down=1000,
        wire_bytes_down=500,
        encode_seconds=0.25,
        decode_seconds=0.125,
        relative_error=0.1,
        residual_norm=2.0,
        resets=0,
    )
    assert replace(
        restored_ledger(ledger.save()).view("int8", "bfloat16", "why"), relative_error=0.1, residual_norm=2.0
    ) == ledger.view("int8", "bfloat16", "why")


@pytest.mark.parametrize(
    ("megabytes_per_s", "sparse_suits", "codec"),
    [
        (5000.0, True, "none"),
        (300.0, True, "bfloat16"),
        (40.0, False, "int8"),
        (4.0, True, "topk:0.01"),
        (4.0, False, "int8"),
    ],
)
def test_the_slower_the_answers_come_the_less_is_sent(
    megabytes_per_s: float, sparse_suits: bool, codec: str
) -> None:
    found, reason = pick(8_000_000, 8, megabytes_per_s * 1e6, 0.1, sparse_suits=sparse_suits)
    assert found == codec
    assert f"8 MB come at {bytes_text(megabytes_per_s * 1e6)}/s" in reason


def test_a_sparse_codec_is_taken_only_where_sending_is_most_of_a_round() -> None:
    assert pick(8_000_000, 8, 4e6, 60.0, sparse_suits=True)[0] == "int8"


def test_auto_measures_first_and_says_what_it_has_picked() -> None:
    picker = Picker()
    said = []
    for _ in range(ROUNDS + AGAIN_AFTER):
        picker.measured(8_000_000, 8_000_000, 0.5)
        said.append(picker.end_round(0.52, element_bytes=8, sparse_suits=True))
    told = [words for words in said if words]
    assert len(told) == 1
    assert said[ROUNDS - 1] == told[0]
    assert told[0].startswith("codec topk:0.01: answers of 8 MB come at 16 MB/s")


def test_auto_leaves_small_answers_alone() -> None:
    picker = Picker()
    for _ in range(ROUNDS):
        picker.arrived(48_000)
        said = picker.end_round(0.01, element_bytes=8, sparse_suits=True)
    assert said == "codec none: answers of 48 kB are too small for a codec to pay"


def test_an_answer_that_proves_nothing_says_nothing_about_what_was_heard() -> None:
    traffic = Traffic(verdicts=Verdicts(tracks=True))
    traffic.counted("w", of_round(1), Account(), {})
    assert traffic.verdicts.tell("w", 2) == [of_round(1)]
    traffic.arrived("w", of_round(2), 1, 1, 0.0, 0.0, heard=False)
    assert traffic.verdicts.tell("w", 2) == [of_round(1)]
    traffic.arrived("w", of_round(2), 1, 1, 0.0, 0.0)
    assert traffic.verdicts.tell("w", 3) == []

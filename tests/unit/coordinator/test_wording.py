"""Failures in words for people."""

from gradloom.errors import DataError
from gradloom_coordinator.wording import MAX_CHARACTERS, sentence_of, with_last_lines

TRACEBACK = """Traceback (most recent call last):
  File "work.py", line 90, in compute
    partial = fold(shards, leaf)
              ^^^^^^^^^^^^^^^^^^
  File "mine.py", line 3, in map
    raise ValueError("no such column")
ValueError: no such column"""


def test_a_failure_carries_the_last_lines_that_say_more_than_its_sentence() -> None:
    assert with_last_lines("ValueError: no such column", TRACEBACK) == (
        "ValueError: no such column "
        '[partial = fold(shards, leaf) | File "mine.py", line 3, in map | raise ValueError("no such column")]'
    )


def test_a_sentence_that_is_whole_stays_as_it_is() -> None:
    assert with_last_lines("a.csv: line 7 is short", "") == "a.csv: line 7 is short"


def test_words_without_end_are_cut() -> None:
    words = with_last_lines("x" * 5000, TRACEBACK)
    assert len(words) == MAX_CHARACTERS
    assert words.endswith("...")


def test_every_sentence_can_be_sent_and_stored_whatever_a_file_is_called() -> None:
    assert sentence_of(DataError("caf\udce9.csv", "is\0 empty")) == "caf?.csv: is empty"

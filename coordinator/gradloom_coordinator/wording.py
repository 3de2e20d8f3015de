"""Errors in words for people: one sentence, bounded, with the last lines of a traceback where it has one."""

import logging

from gradloom.errors import GradloomError

log = logging.getLogger(__name__)

LAST_LINES = 3
MAX_CHARACTERS = 1000
_MARKS = set("^~ ")
"""What Python underlines the place of an error with."""


def sentence_of(error: Exception) -> str:
    """What is said of an error; one that is not of our making is logged with its traceback."""
    if isinstance(error, GradloomError):
        return plain(error.message)
    log.error("unexpected", exc_info=error)
    return plain(f"{type(error).__name__}: {error}")


def plain(words: str) -> str:
    """Words that can be sent and stored: names of files may hold bytes that are no text."""
    return words.replace("\0", "").encode("utf-8", "replace").decode()


def with_last_lines(message: str, traceback: str) -> str:
    """A worker's sentence, followed by the last lines of its traceback that say more than it."""
    lines = [line.strip() for line in traceback.splitlines()]
    telling = [line for line in lines if set(line) - _MARKS and line not in message]
    last = " | ".join(telling[-LAST_LINES:])
    words = f"{message} [{last}]" if last else message
    return words if len(words) <= MAX_CHARACTERS else f"{words[: MAX_CHARACTERS - 3]}..."

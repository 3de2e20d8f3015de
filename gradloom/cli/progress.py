"""A job's events on stderr while it runs, in words and lines; ``live`` is for terminals. No calls are made here."""

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from math import ceil
from typing import Protocol

from gradloom.cli.output import say
from gradloom.jobs import JobEvent, Note, RoundCompleted, StateChanged, TaskRetried
from gradloom.words import counted, number_text, seconds_text

LINE_INTERVAL_S = 1.0


class Screen(Protocol):
    """Where progress is shown."""

    def round_done(self, done: RoundCompleted) -> None:
        """Show where training stands."""
        ...

    def line(self, sentence: str) -> None:
        """Show a sentence that stays."""
        ...

    def close(self) -> None:
        """Leave the screen as it should stay."""
        ...


def follow(events: Iterable[JobEvent], screen: Screen) -> None:
    """Show a job's events as they come, to the end."""
    with ExitStack() as stack:
        stack.callback(screen.close)
        for event in events:
            if isinstance(event.what, RoundCompleted):
                screen.round_done(event.what)
            else:
                screen.line(sentence_of(event.what))


def sentence_of(what: StateChanged | TaskRetried | Note) -> str:
    """An event in words."""
    match what:
        case StateChanged(state, reason):
            return f"{state}: {reason}" if reason else str(state)
        case TaskRetried(reason, worker, shards, attempt, detail):
            sentence = f"retry: shards {shards} of {worker} are computed again, try {attempt} ({reason})"
            return f"{sentence}: {detail}" if detail else sentence
        case Note(text):
            return text


def round_text(done: RoundCompleted) -> str:
    """A round in words, without its number."""
    parts = [f"loss {number_text(done.loss)}"]
    if done.validation_loss is not None:
        parts.append(f"validation {number_text(done.validation_loss)}")
    parts += [
        f"{done.rows_per_second:,.0f} rows/s",
        counted(done.workers, "worker"),
        f"at most {seconds_text(ceil(done.eta_seconds))} left",
    ]
    return "  ".join(parts)


class LineScreen:
    """Plain lines for pipes and logs: rounds at most every LINE_INTERVAL_S, and always the last one."""

    def __init__(self, write: Callable[[str], None] = say, now: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._now = now
        self._shown_at = -LINE_INTERVAL_S
        self._waiting: RoundCompleted | None = None

    def round_done(self, done: RoundCompleted) -> None:
        """Show the round, or keep it for later."""
        self._waiting = done
        if self._now() - self._shown_at >= LINE_INTERVAL_S:
            self._show_waiting()

    def line(self, sentence: str) -> None:
        """Show the sentence, after the last round before it."""
        self._show_waiting()
        self._write(sentence)

    def close(self) -> None:
        """Show the last round."""
        self._show_waiting()

    def _show_waiting(self) -> None:
        if self._waiting is not None:
            self._write(
                f"round {self._waiting.round}/{self._waiting.max_rounds}  {round_text(self._waiting)}"
            )
            self._waiting = None
            self._shown_at = self._now()

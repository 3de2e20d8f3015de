"""Spans of a trace, packed: a hundred bytes each, and nothing for the garbage collector to look at."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import TypeVar

from gradloom.steps import Step
from gradloom.traces import RoundSpan, TaskSpan, TraceHead
from gradloom_coordinator.scheduling.events import TaskRef, TaskTimes, WorkerId

S = TypeVar("S", TaskSpan, RoundSpan)

PAGE = 200
"""Spans that are unpacked at a time."""
_TASK = Struct("<IQIIIBBQ6d")
_ROUND = Struct("<QBQ2d")
_STEPS = tuple(Step)


def packed_round(number: int, step: Step, training_round: int, opened_at: float, closed_at: float) -> bytes:
    """A round; times are by the scheduler's clock."""
    return _ROUND.pack(number, _STEPS.index(step), training_round, opened_at, closed_at)


def packed_task(
    worker: int,
    task: TaskRef,
    reason: int,
    rows: int,
    given_at: float,
    now: float,
    times: TaskTimes,
    is_copy: bool,
) -> bytes:
    """A task that came to its end now; worker and reason as numbers."""
    _, round_, (lo, hi), attempt = task
    queue_s, load_s, compute_s, encode_s = times.queue_s, times.load_s, times.compute_s, times.encode_s
    seconds = (given_at, now, queue_s, load_s, compute_s, encode_s)
    return _TASK.pack(worker, round_, lo, hi, attempt, is_copy, reason, rows, *seconds)


@dataclass(frozen=True, slots=True)
class TraceReading:
    """A trace as it stood when it was read; spans are unpacked as they are asked for."""

    head: TraceHead
    _epoch: float
    _rounds: tuple[bytes, ...]
    _tasks: tuple[bytes, ...]
    _workers: tuple[WorkerId, ...]
    _reasons: tuple[str, ...]

    def rounds(self) -> Iterator[tuple[RoundSpan, ...]]:
        """The rounds, some at a time."""
        return _pages(self._rounds, lambda packed: _round_of(packed, self._epoch))

    def tasks(self) -> Iterator[tuple[TaskSpan, ...]]:
        """The tasks, some at a time."""
        return _pages(self._tasks, lambda packed: _task_of(packed, self._workers, self._reasons, self._epoch))


def _pages(packed: Sequence[bytes], unpack: Callable[[bytes], S]) -> Iterator[tuple[S, ...]]:
    for start in range(0, len(packed), PAGE):
        yield tuple(map(unpack, packed[start : start + PAGE]))


def _round_of(packed: bytes, epoch: float) -> RoundSpan:
    number, step, training_round, opened_at, closed_at = _ROUND.unpack(packed)
    return RoundSpan(number, _STEPS[step].value, training_round, epoch + opened_at, epoch + closed_at)


def _task_of(packed: bytes, workers: Sequence[WorkerId], reasons: Sequence[str], epoch: float) -> TaskSpan:
    worker, round_, lo, hi, attempt, is_copy, reason, rows, given_at, ended_at, *seconds = _TASK.unpack(
        packed
    )
    queue_s, load_s, compute_s, encode_s = seconds
    return TaskSpan(
        worker=workers[worker],
        round=round_,
        lo=lo,
        hi=hi,
        attempt=attempt,
        is_copy=bool(is_copy),
        rows=rows,
        given_at=epoch + given_at,
        ended_at=epoch + ended_at,
        queue_s=queue_s,
        load_s=load_s,
        compute_s=compute_s,
        encode_s=encode_s,
        lost_because=reasons[reason],
    )

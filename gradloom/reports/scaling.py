"""From how many workers on a job is faster than one machine, by what its own rounds took. Pure.

Of the rounds of training whose tasks are all known, medians of

    C    seconds of loading and computing of all workers together: what one machine would need for the round
    r    how uneven it was: W times the longest that one worker was busy, over C
    H    overhead: what the round took beyond r C / W, so that T(W) is what was measured; messages, bytes on the wire,
         the coordinator
    W    workers that took part

give the time of a round with n workers, in two ways, because rounds of one cluster size do not tell how the overhead
grows:

    T(n) = r C / n + H          the overhead stays what it is
    T(n) = r C / n + H n / W    every worker adds the same to it

and the answer lies between the smallest n with T(n) < C of the one and of the other. The form is Ernest's (Venkataraman
et al., NSDI 2016) without its logarithm; the question is McSherry's: the configuration that outperforms a single thread
(COST, HotOS 2015). Updating the parameters takes either of them the same, and is left out.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from statistics import median

from gradloom.synchrony import parse_synchrony
from gradloom.traces import TRAINING, JobTrace, RoundSpan, TaskSpan
from gradloom.words import counted

MIN_ROUNDS = 3
"""Fewer say nothing: the first one loads the data."""
FAR = 100_000
"""So many workers nobody has."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """The usual round, and what follows from it. Seconds."""

    rounds: int
    """That were looked at."""
    workers: int
    compute_s: float
    """C."""
    unevenness: float
    """r."""
    overhead_s: float
    """H."""
    round_s: float

    @property
    def speedup(self) -> float:
        """How many times as fast as one machine a round was."""
        return self.compute_s / self.round_s if self.round_s else 1.0

    @property
    def if_fixed(self) -> int | None:
        """From so many workers on it is faster, if the overhead stays what it is; None = never."""
        gain_s = self.compute_s - self.overhead_s
        if gain_s <= 0:
            return None
        return max(2, math.floor(self.unevenness * self.compute_s / gain_s) + 1)

    @property
    def if_growing(self) -> tuple[int, int] | None:
        """From so many to so many, if every worker adds the same overhead; None = never."""
        each_s = self.overhead_s / self.workers
        if each_s <= 0:
            return None if (first := self.if_fixed) is None else (first, FAR)
        root = self.compute_s**2 - 4 * each_s * self.unevenness * self.compute_s
        if root <= 0:
            return None
        low = (self.compute_s - math.sqrt(root)) / (2 * each_s)
        high = (self.compute_s + math.sqrt(root)) / (2 * each_s)
        first, last = max(2, math.floor(low) + 1), math.ceil(high) - 1
        return (first, last) if first <= last else None

    @property
    def answer(self) -> str:
        """In words: ``It beats one machine ...``."""
        fixed, growing = self.if_fixed, self.if_growing
        if fixed is None and growing is None:
            return "with no number of workers: a round's overhead is longer than computing it on one machine"
        if growing is None:
            return (
                f"from {fixed} workers on, if the overhead of a round stays what it is; with none if it grows"
            )
        first, last = growing
        limit = f", up to {last:,} if every worker adds overhead" if last < FAR else ""
        if fixed is None:
            return f"from {first} workers on{limit}; with none if the overhead stays what it is"
        low, high = sorted((fixed, first))
        return (f"from {low} workers on" if low == high else f"from {low} to {high} workers on") + limit

    def seconds_with(self, workers: int, *, growing: bool) -> float:
        """What a round would take."""
        if workers == 1:
            return self.compute_s
        overhead_s = self.overhead_s * workers / self.workers if growing else self.overhead_s
        return self.unevenness * self.compute_s / workers + overhead_s


def scaling_of(trace: JobTrace | None, synchrony: str) -> Scaling | str:
    """What the trace says, or why it can't be known."""
    if trace is None:
        return "there is no trace of this run"
    if not parse_synchrony(synchrony).exact:
        return f"rounds of {synchrony} end before all have answered: they can't be set against one machine's"
    tasks = defaultdict(list)
    for task in trace.tasks:
        if task.counted:
            tasks[task.round].append(task)
    known = [r for r in trace.rounds if r.step == TRAINING and tasks[r.number]]
    if trace.head.dropped_tasks:  # the oldest round that is left may lack some
        known = known[1:]
    if len(known) < MIN_ROUNDS:
        return f"the trace holds {counted(len(known), 'whole round')} of training; {MIN_ROUNDS} are needed"
    return _usual([_measured(round_, tasks[round_.number]) for round_ in known])


def _measured(round_: RoundSpan, tasks: list[TaskSpan]) -> tuple[int, float, float, float]:
    """Workers, seconds of all, of the busiest, and of the round."""
    busy: dict[str, float] = defaultdict(float)
    for task in tasks:
        busy[task.worker] += task.load_s + task.compute_s
    return len(busy), sum(busy.values()), max(busy.values()), round_.seconds


def _usual(rounds: list[tuple[int, float, float, float]]) -> Scaling | str:
    compute_s = median(all_s for _, all_s, _, _ in rounds)
    if compute_s <= 0:
        return "its workers did not say how long they computed"
    workers = max(1, round(median(workers for workers, _, _, _ in rounds)))
    unevenness = max(1.0, median(n * longest / all_s for n, all_s, longest, _ in rounds if all_s))
    round_s = median(seconds for _, _, _, seconds in rounds)
    return Scaling(
        rounds=len(rounds),
        workers=workers,
        compute_s=compute_s,
        unevenness=unevenness,
        overhead_s=max(0.0, round_s - unevenness * compute_s / workers),
        round_s=round_s,
    )

"""Who was slow in a round, by how much and why. Pure: tallies in, words out.

A worker's time per row is compared with the median of the others; only what it did itself counts (loading,
computing, encoding, and the way there and back), so one that waits for others is no straggler. A worker with more
rows is not slow for that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from gradloom_coordinator.scheduling.events import WorkerId
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.rounds import Tally

REMEMBERED_ROUNDS = 10


class Cause(StrEnum):
    """What makes a straggler slow."""

    COMPUTE = "compute"
    DATA = "data"
    """Loading shards that it has not had before."""
    MEMORY = "memory"
    """Loading shards again that it had: they do not fit into its cache."""
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class Blame:
    """How one worker did in one round beside the others."""

    slowdown: float
    """Its seconds per row over the median of all."""
    cause: Cause | None
    """What made it slow; None = it was not."""


def judge_round(limits: Limits, tallies: Mapping[WorkerId, Tally]) -> dict[WorkerId, Blame]:
    """Compare those that computed rows in a round, or began to; nothing can be said of fewer than two."""
    working = {worker: tally for worker, tally in tallies.items() if tally.rows or tally.outrun_rows}
    if len(working) < 2:
        return {}
    parts = {worker: _parts(tally) for worker, tally in working.items()}
    typical = {cause: median(part[cause] for part in parts.values()) for cause in Cause}
    pace = median(sum(part.values()) for part in parts.values())
    return {
        worker: _blame(limits, parts[worker], typical, pace, _rows(working[worker])) for worker in working
    }


def _parts(tally: Tally) -> dict[Cause, float]:
    """Seconds per row by what they were spent on; what others were faster with counts as computing."""
    rows = _rows(tally)
    return {
        Cause.COMPUTE: (tally.compute_s + tally.encode_s + tally.outrun_s) / rows,
        Cause.DATA: (tally.load_s - tally.reload_s) / rows,
        Cause.MEMORY: tally.reload_s / rows,
        Cause.NETWORK: tally.transit_s / rows,
    }


def _rows(tally: Tally) -> int:
    return tally.rows + tally.outrun_rows


def _blame(
    limits: Limits, part: Mapping[Cause, float], typical: Mapping[Cause, float], pace: float, rows: int
) -> Blame:
    own = sum(part.values())
    slowdown = own / pace if pace else 1.0
    if slowdown < limits.straggler_ratio or (own - pace) * rows < limits.straggler_min_s:
        return Blame(slowdown, None)
    return Blame(slowdown, max(Cause, key=lambda cause: part[cause] - typical[cause]))


def remember(slow_rounds: int, slow: bool) -> int:
    """The last ten rounds as bits, with the one that has just closed."""
    return (slow_rounds << 1 | slow) & ((1 << REMEMBERED_ROUNDS) - 1)


def in_words(limits: Limits, blame: Blame, slow_rounds: int, rows_share: float) -> str:
    """Why a worker is a straggler, and what follows; empty if it is none."""
    if blame.cause is None:
        return ""
    often = slow_rounds.bit_count()
    what = f"{blame.cause}: {blame.slowdown:.1f} times the median"
    if often < limits.chronic_rounds:
        return f"{what}, a one-off"
    return (
        f"{what}, chronic ({often} of the last {REMEMBERED_ROUNDS} rounds): has {rows_share:.0%} of the rows"
    )

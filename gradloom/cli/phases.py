"""Where the time of workers goes, in parts and in words, since their start or of late. Pure.

A worker says how many seconds it has spent in each phase since its start; together they are its wall time. So what it
did of late is the difference of two sayings, and the time between them is known without any clock.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from gradloom.jobs import WorkerActivity, WorkerPhases

PHASES = ("compute", "load", "decode", "encode", "send", "queue", "wait", "idle")
"""In the order in which they are shown: work first, then what it costs to work together, then nothing."""
WORDS = {
    "compute": "computes",
    "load": "loads data",
    "decode": "waits for parameters",
    "encode": "encodes",
    "send": "sends",
    "queue": "hands over",
    "wait": "waits for others",
    "idle": "has nothing to do",
}
SHORT_AT_MOST = 3
Trail = tuple[WorkerPhases, ...]
"""What a worker has said, one after the other."""
WINDOW_S = 10.0


@dataclass(frozen=True, slots=True)
class Part:
    """A phase, and how much of the time it took."""

    phase: str
    percent: int


def wall_seconds(phases: WorkerPhases) -> float:
    """All phases together."""
    return float(sum(astuple(phases)))


def parts(phases: WorkerPhases | None) -> tuple[Part, ...]:
    """The phases that took one per cent or more, in the order in which they are shown; together about 100."""
    total = wall_seconds(phases) if phases is not None else 0.0
    if phases is None or total <= 0:
        return ()
    shares = ((name, round(100 * max(0.0, getattr(phases, name)) / total)) for name in PHASES)
    return tuple(Part(name, percent) for name, percent in shares if percent)


def sentence(shares: Sequence[Part]) -> str:
    """``computes 62 %, waits for others 30 %``."""
    return ", ".join(f"{WORDS[part.phase]} {part.percent} %" for part in shares)


def short(phases: WorkerPhases | None) -> str:
    """The longest ones: ``compute 62 % · wait 30 %``."""
    longest = sorted(parts(phases), key=lambda part: -part.percent)[:SHORT_AT_MOST]
    return " · ".join(f"{part.phase} {part.percent} %" for part in longest)


def activity_text(activity: WorkerActivity | None) -> str:
    """``logistic-1 round 12, shards 3-4``; empty for nothing. A copy says so, and so does a second try."""
    if activity is None:
        return ""
    where = f"round {activity.round}" if activity.round else activity.step
    last = activity.hi - 1
    shards = f"shard {activity.lo}" if activity.lo == last else f"shards {activity.lo}-{last}"
    extra = (
        " (a copy)" if activity.speculative else f" (try {activity.attempt})" if activity.attempt > 1 else ""
    )
    return f"{activity.job_id} {where}, {shards}{extra}"


def longer(trail: Trail, said: WorkerPhases | None) -> Trail:
    """The trail with what was said now; what is older than the window goes, and all of it after a new start."""
    if said is None:
        return ()
    if trail and said == trail[-1]:
        return trail
    wall_s = wall_seconds(said)
    if trail and wall_s < wall_seconds(trail[-1]):
        return (said,)
    kept = trail
    while len(kept) > 1 and wall_s - wall_seconds(kept[1]) >= WINDOW_S:
        kept = kept[1:]
    return (*kept, said)


def lately(trail: Trail) -> WorkerPhases | None:
    """What was done between the first and the last saying; since its start, if there is only one."""
    if not trail:
        return None
    if len(trail) == 1:
        return trail[0]
    return WorkerPhases(*(new - old for new, old in zip(astuple(trail[-1]), astuple(trail[0]), strict=True)))

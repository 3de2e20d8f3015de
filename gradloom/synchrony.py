"""When a round of training is over: the synchrony of a job, and what each kind guarantees.

- ``synchronous``: every shard is counted. The same bits whatever the workers are, whatever fails.
- ``backup:B``: all but B shards are counted; those that miss are dropped, but never twice in a row. The mean over the
  rows that were counted; no slow shard is waited for.
- ``bounded:S``: a worker has done its share, and no shard is more than S updates behind. No gradient is more than S
  updates older than the model that it is applied to (stale synchronous).
- ``asynchronous``: a worker has done its share. No worker waits for another; the older a gradient, the less it weighs.
- ``local:H``: every shard is counted, and has taken H steps by itself before all are averaged. The same bits whatever
  the workers are, but of another method, with one round of traffic for H steps; see ``algorithms.local_steps``.

``synchronous`` and ``local`` are reproducible: in the others the order of arrival decides what is counted when.
Sources: backup workers: Chen et al., "Revisiting Distributed Synchronous SGD", 2016; bounded staleness: Ho et al.,
NIPS 2013; damping by 1 / (1 + staleness): Zhang et al., "Staleness-aware Async-SGD", 2016.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from gradloom.errors import InvalidInput

MAX_PARAMETER = 100_000
DEFAULT_BACKUP = 1
DEFAULT_STALENESS = 3
DEFAULT_LOCAL_STEPS = 8
_FORM = re.compile(
    r"(?P<kind>[a-z]+)(?::(?P<number>[0-9]{1,18})|\((?P<name>[a-z]+)=(?P<value>[0-9]{1,18})\))?"
)


class SynchronyKind(StrEnum):
    """The rules by which a round ends."""

    SYNCHRONOUS = "synchronous"
    BACKUP = "backup"
    BOUNDED = "bounded"
    ASYNCHRONOUS = "asynchronous"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Synchrony:
    """A rule and its number."""

    kind: SynchronyKind = SynchronyKind.SYNCHRONOUS
    number: int = 0
    """Shards that may miss (backup), updates that a shard may be behind (bounded), steps between averages (local)."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.number}" if self.number else str(self.kind)

    @property
    def exact(self) -> bool:
        """Whether every shard counts in every round, so that the bits do not depend on who was fast."""
        return self.kind is SynchronyKind.SYNCHRONOUS or self.kind is SynchronyKind.LOCAL


SYNCHRONOUS = Synchrony()


def parse_synchrony(text: str) -> Synchrony:
    """``bounded:3``, ``bounded(staleness=3)``, ``synchronous(backup=1)``; empty = synchronous. Raises InvalidInput."""
    if not text:
        return SYNCHRONOUS
    form = _FORM.fullmatch(text.replace(" ", ""))
    refusal = InvalidInput(
        "synchrony",
        f"{text!r} is not allowed; it must be synchronous, backup:B, bounded:S, asynchronous or local:H",
    )
    if form is None:
        raise refusal
    number = int(form["number"] or form["value"] or -1)
    match form["kind"], form["name"], number:
        case "synchronous" | "asynchronous", None, -1:
            return Synchrony(SynchronyKind(form["kind"]))
        case ("backup", None, _) | ("synchronous", "backup", _):
            return _numbered(SynchronyKind.BACKUP, number, DEFAULT_BACKUP)
        case "bounded", None | "staleness", _:
            return _numbered(SynchronyKind.BOUNDED, number, DEFAULT_STALENESS)
        case "local", None | "steps", _:
            return _numbered(SynchronyKind.LOCAL, number, DEFAULT_LOCAL_STEPS)
    raise refusal


def _numbered(kind: SynchronyKind, number: int, default: int) -> Synchrony:
    number = default if number < 0 else number
    if number > MAX_PARAMETER:
        raise InvalidInput("synchrony", f"{number} is not allowed; it must lie in [0, {MAX_PARAMETER}]")
    if number == 0:
        return SYNCHRONOUS  # nobody may miss, or be behind: that is what synchronous means
    return Synchrony(kind, number)


def damping(staleness: int) -> float:
    """What a gradient is multiplied by that was computed so many updates ago."""
    return 1.0 / (1.0 + staleness)

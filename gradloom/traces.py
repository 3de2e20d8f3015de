"""Where a job's time went: spans of its last rounds and tasks, and totals. Values, the same for all who read them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

TRAINING = "train"
"""The step of rounds of training."""
QUERY = "query"
"""The step of rounds that answer questions to a finished model."""
COUNTED = ""
"""The reason why a task was in vain, of one that was not."""


@dataclass(frozen=True, slots=True)
class TaskSpan:
    """One task in a worker's hands, until its answer was there or nobody wanted it any more.

    Times are by the coordinator's clock, seconds since the epoch; durations are what the worker says, in seconds.
    """

    worker: str
    round: int
    """As ``RoundSpan.number``."""
    lo: int
    hi: int
    attempt: int
    is_copy: bool
    rows: int
    given_at: float
    ended_at: float
    queue_s: float = 0.0
    load_s: float = 0.0
    compute_s: float = 0.0
    """Of one that was in vain: all that the coordinator knows it spent."""
    encode_s: float = 0.0
    lost_because: str = COUNTED
    """Why it was in vain: a retry's reason, ``superseded``, ``round_over``, ...; empty = its answer counted."""

    @property
    def counted(self) -> bool:
        """Whether its answer counted."""
        return self.lost_because == COUNTED

    @property
    def busy_s(self) -> float:
        """What its worker spent on it."""
        return self.load_s + self.compute_s + self.encode_s

    @property
    def transit_s(self) -> float:
        """On the way to the worker and back; 0 of one that was in vain."""
        if not self.counted:
            return 0.0
        return max(0.0, self.ended_at - self.given_at - self.queue_s - self.busy_s)

    @property
    def shards(self) -> str:
        """In words: ``4`` or ``4-7``."""
        return str(self.lo) if self.hi == self.lo + 1 else f"{self.lo}-{self.hi - 1}"


@dataclass(frozen=True, slots=True)
class RoundSpan:
    """One round, from its opening until every shard that it needs was counted."""

    number: int
    """Of all steps, only rising; not the round that people count."""
    step: str
    """profile, train, assess or query."""
    training_round: int
    """The round of training that it works at, from 1; 0 = it is none."""
    opened_at: float
    closed_at: float

    @property
    def seconds(self) -> float:
        """How long it took, without the update."""
        return self.closed_at - self.opened_at


@dataclass(frozen=True, slots=True)
class WorkerTotals:
    """What a worker's time went to, in all steps of a job but answering queries; seconds."""

    worker: str
    first_given_at: float
    """Seconds since the epoch."""
    held_s: float
    """From then to its last answer; to now, or the job's end, if it is still there. Without pauses."""
    tasks: int = 0
    rows: int = 0
    load_s: float = 0.0
    compute_s: float = 0.0
    encode_s: float = 0.0
    transit_s: float = 0.0
    """On the way to it and back; a worker may compute one task while another travels."""
    wait_s: float = 0.0
    """With its answer given, for the others, at the ends of rounds."""
    lost_s: Mapping[str, float] = field(default_factory=dict)
    """Of tasks that did not count, by why."""
    rounds_last: int = 0
    """That ended with its answer."""
    awaited_s: float = 0.0
    """In which all others had answered and a round waited for it."""
    slow_rounds: Mapping[str, int] = field(default_factory=dict)
    """By what made it slow: compute, data, memory or network."""

    @property
    def useful_s(self) -> float:
        """Of tasks that counted."""
        return self.load_s + self.compute_s + self.encode_s

    @property
    def in_vain_s(self) -> float:
        """Of tasks that did not count."""
        return sum(self.lost_s.values())


@dataclass(frozen=True, slots=True)
class CopyTotals:
    """What speculative copies came to; seconds."""

    launched: int = 0
    won: int = 0
    lost: int = 0
    cancelled: int = 0
    saved_s: float = 0.0
    """At least."""
    wasted_s: float = 0.0


@dataclass(frozen=True, slots=True)
class TraceHead:
    """Totals since ``since``, and what is missing of the spans."""

    workers: tuple[WorkerTotals, ...] = ()
    copies: CopyTotals = CopyTotals()
    since: float = 0.0
    """Seconds since the epoch: the job's begin, or the coordinator's last start."""
    dropped_tasks: int = 0
    """That were kept once and no longer are."""
    dropped_rounds: int = 0
    training_rounds: int = 0
    training_s: float = 0.0
    """Of those rounds together."""


@dataclass(frozen=True, slots=True)
class JobTrace:
    """A job's trace as it stood at a moment; spans in the order in which they ended."""

    head: TraceHead = TraceHead()
    rounds: tuple[RoundSpan, ...] = ()
    tasks: tuple[TaskSpan, ...] = ()

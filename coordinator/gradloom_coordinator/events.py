"""What the scheduler is told. Frozen values; the runtime makes them from what really happened."""

from dataclasses import dataclass
from typing import NamedTuple

from gradloom.canonical import Range
from gradloom.jobs import RetryReason

WorkerId = str
JobId = str


@dataclass(frozen=True, slots=True)
class WorkerJoined:
    """A worker said Hello and was welcomed."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class WorkerLeft:
    """A worker said Goodbye: what it has not answered is for others."""

    worker: WorkerId
    detail: str


@dataclass(frozen=True, slots=True)
class StreamBroken:
    """A worker's session ended without a Goodbye."""

    worker: WorkerId
    detail: str


@dataclass(frozen=True, slots=True)
class HeartbeatReceived:
    """A sign of life."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class JobSubmitted:
    """A checked specification was accepted."""

    job: JobId
    placement: str


@dataclass(frozen=True, slots=True)
class JobPlanned:
    """The manifest is there: these are the rows of each shard."""

    job: JobId
    shard_rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RoundReady:
    """The broadcast of the job's next round can be sent. Rounds are numbered from 1 and only go up."""

    job: JobId
    round: int


@dataclass(frozen=True, slots=True)
class JobFinished:
    """The last round is merged and the model is stored."""

    job: JobId
    reason: str


@dataclass(frozen=True, slots=True)
class JobBroken:
    """The job can't go on for a reason outside scheduling: bad data, a diverged update."""

    job: JobId
    reason: str


@dataclass(frozen=True, slots=True)
class JobForgotten:
    """The record of a job that ended long ago is not kept any longer."""

    job: JobId


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """A person wants the job to end."""

    job: JobId
    reason: str


class TaskRef(NamedTuple):
    """Names one try at one task. A tuple, because it is looked up several times for each answer."""

    job: JobId
    round: int
    range: Range
    attempt: int


@dataclass(frozen=True, slots=True)
class PartialOffered:
    """A worker announced a big partial and waits to hear whether it is wanted."""

    worker: WorkerId
    task: TaskRef


@dataclass(frozen=True, slots=True)
class PartialArrived:
    """All bytes of a partial are here."""

    worker: WorkerId
    task: TaskRef
    rows: int
    compute_s: float
    """Of the computing alone: what the worker's speed is measured by."""
    busy_s: float
    """Loading, computing and encoding."""


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """A worker could not compute a task, or its answer was damaged on the way."""

    worker: WorkerId
    task: TaskRef
    reason: RetryReason
    message: str


@dataclass(frozen=True, slots=True)
class Stalled:
    """The coordinator itself stood still: nobody could be heard for so long, and nobody is to blame for it."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Event = (
    WorkerJoined
    | WorkerLeft
    | StreamBroken
    | HeartbeatReceived
    | JobSubmitted
    | JobPlanned
    | RoundReady
    | JobFinished
    | JobBroken
    | JobForgotten
    | CancelRequested
    | PartialOffered
    | PartialArrived
    | TaskFailed
    | Stalled
    | Tick
)

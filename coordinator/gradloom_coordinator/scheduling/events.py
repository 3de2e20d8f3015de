"""What the scheduler is told. Frozen values; the runtime makes them from what really happened."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gradloom.canonical import Range
from gradloom.jobs import RetryReason
from gradloom.steps import Step
from gradloom.synchrony import SYNCHRONOUS, Synchrony

WorkerId = str
JobId = str


class TaskRef(NamedTuple):
    """Names one try at one task. A tuple, because it is looked up several times for each answer."""

    job: JobId
    round: int
    range: Range
    attempt: int


@dataclass(frozen=True, slots=True)
class WorkerJoined:
    """A worker said Hello and was welcomed."""

    worker: WorkerId
    host: str = ""
    """Workers of one host are slow and die together; empty = a host of its own."""
    labels: Mapping[str, str] = field(default_factory=dict)
    cores: float = 1.0
    memory_bytes: int = 0
    lacks: frozenset[str] = frozenset()
    """Algorithms that we know and it can't compute."""


@dataclass(frozen=True, slots=True)
class WorkerResumed:
    """A worker whose stream had broken goes on with its session; what it had cached is still there."""

    worker: WorkerId
    computing: TaskRef | None = None
    """What it has been computing all the while."""


@dataclass(frozen=True, slots=True)
class DrainRequested:
    """An operator wants a worker to leave."""

    worker: WorkerId
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerDraining:
    """A worker is about to leave: it starts nothing more, and says Goodbye when it has finished what it computes."""

    worker: WorkerId
    reason: str


@dataclass(frozen=True, slots=True)
class TasksGivenUp:
    """A worker gave these tasks back before it had started them: the answer to TakeBack, or because it drains."""

    worker: WorkerId
    tasks: tuple[TaskRef, ...]


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
    algorithm: str = ""
    share_weight: float = 1.0
    """Its share of the workers beside other jobs."""
    required_labels: Mapping[str, str] = field(default_factory=dict)
    speculation: bool = True
    synchrony: Synchrony = SYNCHRONOUS


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
    step: Step = Step.TRAIN
    training_round: int = 0
    """The round of training that it works at, as people count; 0 = none, or unknown. For the trace."""


@dataclass(frozen=True, slots=True)
class JobChanged:
    """A person changed how a job is scheduled; None = as it was. Placement and synchrony wait for the next round."""

    job: JobId
    placement: str | None = None
    synchrony: Synchrony | None = None
    speculation: bool | None = None
    share_weight: float | None = None


@dataclass(frozen=True, slots=True)
class PauseRequested:
    """The job is to stand still after the round that is open."""

    job: JobId
    reason: str


@dataclass(frozen=True, slots=True)
class ResumeRequested:
    """A job that was paused is to go on."""

    job: JobId
    reason: str


@dataclass(frozen=True, slots=True)
class JobFinished:
    """The last round is merged and the model is stored."""

    job: JobId
    reason: str


@dataclass(frozen=True, slots=True)
class JobServes:
    """The last round of training is merged and the model is stored; workers are to answer queries from here on."""

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


@dataclass(frozen=True, slots=True)
class PartialOffered:
    """A worker announced a big partial and waits to hear whether it is wanted."""

    worker: WorkerId
    task: TaskRef


@dataclass(frozen=True, slots=True)
class TaskTimes:
    """Where the time of one task went, as its worker says; seconds."""

    queue_s: float = 0.0
    """Between its arrival at the worker and its start."""
    load_s: float = 0.0
    compute_s: float = 0.0
    """Of the computing alone: what the worker's speed is measured by."""
    encode_s: float = 0.0

    @property
    def busy_s(self) -> float:
        """All of it but the queue."""
        return self.load_s + self.compute_s + self.encode_s


@dataclass(frozen=True, slots=True)
class PartialArrived:
    """All bytes of a partial are here."""

    worker: WorkerId
    task: TaskRef
    rows: int
    times: TaskTimes
    byte_length: int = 0
    """Of the partial's arrays."""


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """A worker could not compute a task, or its answer was damaged on the way."""

    worker: WorkerId
    task: TaskRef
    reason: RetryReason
    message: str


@dataclass(frozen=True, slots=True)
class ExcludeRequested:
    """A person wants a worker of this name to get no work, whether it is here or not."""

    worker: WorkerId
    reason: str


@dataclass(frozen=True, slots=True)
class ReadmitRequested:
    """A person wants a worker that is excluded to get work again."""

    worker: WorkerId
    reason: str


@dataclass(frozen=True, slots=True)
class Stalled:
    """The coordinator itself stood still: nobody could be heard for so long, and nobody is to blame for it."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


Event = (
    WorkerJoined
    | WorkerResumed
    | DrainRequested
    | ExcludeRequested
    | ReadmitRequested
    | WorkerDraining
    | TasksGivenUp
    | WorkerLeft
    | StreamBroken
    | HeartbeatReceived
    | JobSubmitted
    | JobPlanned
    | RoundReady
    | JobFinished
    | JobServes
    | JobBroken
    | JobForgotten
    | CancelRequested
    | JobChanged
    | PauseRequested
    | ResumeRequested
    | PartialOffered
    | PartialArrived
    | TaskFailed
    | Stalled
    | Tick
)

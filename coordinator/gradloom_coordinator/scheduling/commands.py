"""What the scheduler wants done. Frozen values; the runtime carries them out, in order."""

from dataclasses import dataclass
from typing import NamedTuple

from gradloom.canonical import Range
from gradloom.jobs import JobState, RetryReason
from gradloom_coordinator.scheduling.events import JobId, TaskRef, WorkerId


@dataclass(frozen=True, slots=True)
class StartPlanning:
    """Look at the job's files and answer with JobPlanned or JobBroken."""

    job: JobId


@dataclass(frozen=True, slots=True)
class StartRounds:
    """The job runs: prepare its first broadcast and answer with RoundReady."""

    job: JobId


class TaskOrder(NamedTuple):
    """A range to compute, and which try it is. A tuple, because one is made for each task of each round."""

    range: Range
    attempt: int


@dataclass(frozen=True, slots=True)
class SendTasks:
    """Have a worker compute these ranges, with the round's broadcast if it does not have it yet."""

    worker: WorkerId
    job: JobId
    round: int
    tasks: tuple[TaskOrder, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Have a worker give up these tasks unless it has started them; it answers with TasksGivenUp."""

    worker: WorkerId
    tasks: tuple[TaskRef, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class CancelTasks:
    """Tell a worker that nobody needs these tasks any more."""

    worker: WorkerId
    tasks: tuple[TaskRef, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class DrainWorker:
    """Have a worker finish what it computes and leave."""

    worker: WorkerId
    reason: str


@dataclass(frozen=True, slots=True)
class ForgetWorker:
    """A worker whose stream broke did not come back within the grace time: its session can't go on any more."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Raise Tick at this time (or at any earlier one), besides the usual ones."""

    at: float


@dataclass(frozen=True, slots=True)
class AcceptOffer:
    """Grant credit: the partial is wanted."""

    worker: WorkerId
    task: TaskRef


@dataclass(frozen=True, slots=True)
class MergePartial:
    """Count this partial."""

    worker: WorkerId
    task: TaskRef
    staleness: int = 0
    """Updates since the parameters that it was computed with."""


@dataclass(frozen=True, slots=True)
class DropPartial:
    """Do not count this partial, offered or arrived."""

    worker: WorkerId
    task: TaskRef
    reason: str


@dataclass(frozen=True, slots=True)
class CloseRound:
    """The round is over: update, then answer with RoundReady, JobFinished or JobBroken."""

    job: JobId
    round: int
    missing_shards: int = 0
    """That were not counted: none in synchronous rounds."""


@dataclass(frozen=True, slots=True)
class ReleaseJob:
    """The job has ended: forget its arrays here and on every worker."""

    job: JobId


@dataclass(frozen=True, slots=True)
class EndSession:
    """Close a worker's streams."""

    worker: WorkerId
    reason: str


@dataclass(frozen=True, slots=True)
class AnnounceState:
    """Tell everybody that the job took a step."""

    job: JobId
    state: JobState
    reason: str


@dataclass(frozen=True, slots=True)
class AnnounceRetry:
    """Tell everybody that shards have to be computed again."""

    job: JobId
    worker: WorkerId
    range: Range
    attempt: int
    reason: RetryReason
    detail: str


@dataclass(frozen=True, slots=True)
class AnnounceNote:
    """Tell everybody something in words."""

    job: JobId
    text: str


Command = (
    StartPlanning
    | StartRounds
    | SendTasks
    | TakeBack
    | CancelTasks
    | DrainWorker
    | ForgetWorker
    | WakeAt
    | AcceptOffer
    | MergePartial
    | DropPartial
    | CloseRound
    | ReleaseJob
    | EndSession
    | AnnounceState
    | AnnounceRetry
    | AnnounceNote
)

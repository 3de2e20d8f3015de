"""What the scheduler wants done. Frozen values; the runtime carries them out, in order."""

from dataclasses import dataclass

from gradloom.canonical import Range
from gradloom.jobs import JobState, RetryReason
from gradloom_coordinator.events import JobId, TaskRef, WorkerId


@dataclass(frozen=True, slots=True)
class StartPlanning:
    """Look at the job's files and answer with JobPlanned or JobBroken."""

    job: JobId


@dataclass(frozen=True, slots=True)
class StartRounds:
    """The job runs: prepare its first broadcast and answer with RoundReady."""

    job: JobId


@dataclass(frozen=True, slots=True)
class TaskOrder:
    """A range to compute, and which try it is."""

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
class AcceptOffer:
    """Grant credit: the partial is wanted."""

    worker: WorkerId
    task: TaskRef


@dataclass(frozen=True, slots=True)
class MergePartial:
    """Count this partial."""

    worker: WorkerId
    task: TaskRef


@dataclass(frozen=True, slots=True)
class DropPartial:
    """Do not count this partial, offered or arrived."""

    worker: WorkerId
    task: TaskRef
    reason: str


@dataclass(frozen=True, slots=True)
class CloseRound:
    """Every shard has been counted once: update, then answer with RoundReady, JobFinished or JobBroken."""

    job: JobId
    round: int


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

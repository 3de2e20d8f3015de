"""What the session is told. Frozen values; the runtime makes them from what really happened."""

from dataclasses import dataclass, field

from gradloom.canonical import Range

JobId = str


@dataclass(frozen=True, slots=True)
class Task:
    """One range of one round to compute."""

    job: JobId
    round: int
    range: Range
    attempt: int
    given_at: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Connect:
    """The process is up, or the time to try again has come."""


@dataclass(frozen=True, slots=True)
class Welcomed:
    """The coordinator took us in; ``token`` names the session when it is to be resumed."""

    token: str = ""
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The streams are gone. ``refused``: the coordinator said that trying again gives the same."""

    detail: str
    refused: bool = False


@dataclass(frozen=True, slots=True)
class TasksGiven:
    """Tasks of one job and round. With a newer round, those of earlier ones that have not started can't any more:
    their message is gone."""

    tasks: tuple[Task, ...]
    message_is_here: bool = True
    """Whether they can be started; otherwise MessageArrived follows."""


@dataclass(frozen=True, slots=True)
class MessageArrived:
    """The last byte of a round's message is here."""

    job: JobId
    round: int


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """The executor is through with a task, well or badly."""

    task: Task


@dataclass(frozen=True, slots=True)
class TasksTakenBack:
    """Others could compute these tasks sooner."""

    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class TasksCancelled:
    """Nobody needs these tasks any more."""

    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class JobReleased:
    """The job is over."""

    job: JobId


@dataclass(frozen=True, slots=True)
class DrainAsked:
    """An operator wants the worker to leave."""

    reason: str


@dataclass(frozen=True, slots=True)
class LeaveRequested:
    """SIGTERM, or the parent is gone: drain. The second time: leave at once."""

    reason: str


@dataclass(frozen=True, slots=True)
class Flushed:
    """Everything that was queued has been written or refused: the answer to Flush."""


@dataclass(frozen=True, slots=True)
class DrainTimedOut:
    """Draining took too long: the answer to LimitDrain."""


Event = (
    Connect
    | Welcomed
    | SessionEnded
    | TasksGiven
    | MessageArrived
    | TaskEnded
    | TasksTakenBack
    | TasksCancelled
    | JobReleased
    | DrainAsked
    | LeaveRequested
    | Flushed
    | DrainTimedOut
)

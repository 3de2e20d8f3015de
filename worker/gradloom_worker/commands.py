"""What the session wants done. Frozen values; the runtime carries them out, in order."""

from dataclasses import dataclass

from gradloom_worker.events import Task


@dataclass(frozen=True, slots=True)
class OpenSession:
    """Connect and say Hello."""

    resume_token: str = ""
    """Of the session that broke off; empty = a new one."""
    computing: Task | None = None


@dataclass(frozen=True, slots=True)
class ConnectLater:
    """Raise Connect after a while."""

    after_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class RunTask:
    """Give a task to the executor; it is idle."""

    task: Task


@dataclass(frozen=True, slots=True)
class Answer:
    """Send what the executor made of the task, and keep it until Forget."""

    task: Task


@dataclass(frozen=True, slots=True)
class AnswerAgain:
    """Send once more what the executor made of the task, if it is still kept: it may have been lost."""

    task: Task


@dataclass(frozen=True, slots=True)
class Discard:
    """Throw away what the executor made of the task."""

    task: Task
    reason: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Keep these answers no longer."""

    tasks: tuple[Task, ...]
    unsend: bool = False
    """Whether nobody wants what of them still waits to be sent."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Tell the coordinator that these tasks had not started and are not going to."""

    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class SayDraining:
    """Tell the coordinator that we are about to leave."""

    reason: str


@dataclass(frozen=True, slots=True)
class Flush:
    """Raise Flushed once everything that is queued has been written."""


@dataclass(frozen=True, slots=True)
class LimitDrain:
    """Raise DrainTimedOut after a while."""

    after_s: float


@dataclass(frozen=True, slots=True)
class SayGoodbye:
    """Tell the coordinator that we leave on purpose."""

    reason: str


@dataclass(frozen=True, slots=True)
class Exit:
    """End the process."""

    code: int
    reason: str


Command = (
    OpenSession
    | ConnectLater
    | RunTask
    | Answer
    | AnswerAgain
    | Discard
    | Forget
    | GiveUp
    | SayDraining
    | Flush
    | LimitDrain
    | SayGoodbye
    | Exit
)

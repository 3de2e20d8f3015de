"""What is written to the database, as values; and what is read from it when a coordinator starts."""

from dataclasses import dataclass

from gradloom.data.manifest import Manifest
from gradloom.jobs import JobEvent, JobState, JobView
from gradloom.specs import JobSpec
from gradloom_coordinator.scheduling.events import JobId


@dataclass(frozen=True, slots=True)
class JobAdded:
    """A job was submitted."""

    job: JobId
    spec: JobSpec
    client_token: str
    created_at: float
    """Seconds since the epoch, as all times here."""


@dataclass(frozen=True, slots=True)
class JobPlaced:
    """Its files have been looked at: these are its shards for good."""

    job: JobId
    manifest: Manifest
    started_at: float


@dataclass(frozen=True, slots=True)
class JobStepped:
    """It took a step that is not its last."""

    job: JobId
    state: JobState
    reason: str


@dataclass(frozen=True, slots=True)
class JobEnded:
    """It took its last step; ``view`` is how people see it from now on."""

    view: JobView
    model_path: str
    """Empty = there is no model."""
    ended_at: float


@dataclass(frozen=True, slots=True)
class JobsForgotten:
    """Nothing of these jobs is kept any longer."""

    jobs: tuple[JobId, ...]


@dataclass(frozen=True, slots=True)
class EventAdded:
    """Something happened to a job."""

    job: JobId
    event: JobEvent


@dataclass(frozen=True, slots=True)
class CheckpointKept:
    """A checkpoint is complete where ``uri`` says."""

    job: JobId
    round: int
    """Updates that the algorithm has done."""
    uri: str
    sha256: str
    created_at: float


@dataclass(frozen=True, slots=True)
class CheckpointDropped:
    """A checkpoint is no longer kept, or can't be used."""

    job: JobId
    round: int


@dataclass(frozen=True, slots=True)
class Steered:
    """A person changed a setting of a live job, from this round on; or something of the cluster."""

    job: JobId
    """Empty = the cluster."""
    at_round: int
    who: str
    at: float
    field: str
    old: str
    new: str


Change = (
    JobAdded
    | JobPlaced
    | JobStepped
    | JobEnded
    | JobsForgotten
    | EventAdded
    | CheckpointKept
    | CheckpointDropped
    | Steered
)


@dataclass(frozen=True, slots=True)
class StoredJob:
    """One job as the database has it."""

    job: JobId
    spec: JobSpec
    client_token: str
    state: JobState
    reason: str
    created_at: float
    started_at: float | None
    manifest: Manifest | None
    view: JobView | None
    """Only of a job that has ended."""
    model_path: str
    events: tuple[JobEvent, ...]
    """The newest, the oldest of them first."""
    checkpoints: tuple[CheckpointKept, ...]
    """The newest first."""
    steering: tuple[Steered, ...]

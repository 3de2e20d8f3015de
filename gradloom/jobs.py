"""What people see of jobs and workers: values, the same in the coordinator, the client and on screens."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gradloom.specs import JobSpec


class JobState(StrEnum):
    """Where a job is in its life; ``gradloom_coordinator.scheduling.state`` holds the table of legal steps."""

    QUEUED = "queued"
    PLANNING = "planning"
    RUNNING = "running"
    PAUSED = "paused"
    SERVING = "serving"
    """Trained; its workers answer queries until somebody ends it."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing follows it."""
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)

    @property
    def settled(self) -> bool:
        """Whether there is nothing left to train: it has ended, or serves what was trained."""
        return self.final or self is JobState.SERVING


class WorkerState(StrEnum):
    """How a connected worker is; a lost one is no longer listed."""

    IDLE = "idle"
    BUSY = "busy"
    SUSPECT = "suspect"
    """No heartbeat for a while: gets no new work."""
    AWAY = "away"
    """Its stream broke; it may come back within the grace time."""
    DRAINING = "draining"
    """Finishes what it has and leaves."""
    EXCLUDED = "excluded"
    """Failed too often: gets no work for a while."""
    PROBING = "probing"
    """Was excluded: one task decides whether it is let back in."""


class RetryReason(StrEnum):
    """Why a task had to be computed again (or, for the last ones, why that would not help)."""

    WORKER_LOST = "worker_lost"
    HEARTBEAT_TIMEOUT = "heartbeat_timeout"
    STREAM_RESET = "stream_reset"
    DEADLINE = "deadline"
    EXCEPTION = "exception"
    OUT_OF_MEMORY = "out_of_memory"
    NONFINITE = "nonfinite"
    CHECKSUM = "checksum"
    SHARD_CHANGED = "shard_changed"
    BAD_DATA = "bad_data"


@dataclass(frozen=True, slots=True)
class WorkerShare:
    """What one worker did for one job."""

    worker: str
    shards: int
    """Shards placed on it now."""
    rows: int
    """Rows it has computed on, counted again in each round."""
    busy_fraction: float
    retries: int
    present: bool
    rounds_last: int = 0
    """Rounds that ended with its answer."""
    waited_for_s: float = 0.0
    """How long all others had waited for it in those rounds."""


@dataclass(frozen=True, slots=True)
class SteeringRecord:
    """What somebody changed of a live job."""

    at_round: int
    """The first round of training, from 1, that it has a say in."""
    who: str
    at: float
    """Seconds since the epoch."""
    field: str
    """``synchrony``, ``settings.learning_rate``, ...; or ``paused``, ``rollback``."""
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """A checkpoint that a live job can be set back to."""

    round: int
    """Rounds of training that were done when it was taken."""
    taken_at: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class SteerableField:
    """Something of a live job that may be changed."""

    field: str
    """``synchrony``, ``settings.learning_rate``, ..."""
    value: str
    """In force now, defaults written out."""


@dataclass(frozen=True, slots=True)
class Compression:
    """The ledger of what travelled in a job's rounds of training."""

    codec: str = "none"
    """In force for the gradients now; of ``auto``, what was picked."""
    downlink: str = "none"
    """In force for the parameters now."""
    reason: str = ""
    """Why this codec, where it was picked."""
    raw_bytes_up: int = 0
    """Of all partials that arrived, as their tensors stand in memory."""
    wire_bytes_up: int = 0
    raw_bytes_down: int = 0
    """Of all broadcasts, counted once for each worker that one was sent to."""
    wire_bytes_down: int = 0
    encode_seconds: float = 0.0
    """Of all workers together."""
    decode_seconds: float = 0.0
    relative_error: float | None = None
    """|decoded - wanted| / |wanted| when it was last measured."""
    residual_norm: float = 0.0
    """Of all that workers have left out in the newest round."""
    resets: int = 0
    """How often a worker took with it what it had left out."""


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as it stands."""

    job_id: str
    spec: JobSpec
    state: JobState
    reason: str
    created_at: float
    """Seconds since the epoch."""
    rounds: int = 0
    max_rounds: int = 0
    loss: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    rows_per_second: float = 0.0
    rows: int = 0
    shards: int = 0
    retries: int = 0
    parameters_sha256: str = ""
    workers: tuple[WorkerShare, ...] = ()
    etag: str = ""
    """Stands for the specification as it is: another one after every change."""
    compression: Compression | None = None
    """What travelled; None before the first round of training."""
    submitted: JobSpec | None = None
    """As it was asked for; ``spec`` is as it is now."""
    steering: tuple[SteeringRecord, ...] = ()
    """What people have changed, in order."""
    last_worker: str = ""
    """Whose answer ended the newest round; empty = there was none."""
    last_waited_s: float = 0.0
    """How long all others had waited for it then."""
    checkpoints: tuple[CheckpointInfo, ...] = ()
    """What it can be set back to, the newest first; none once it has ended."""
    steerable: tuple[SteerableField, ...] = ()
    """What can be changed now; nothing once it has ended."""


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The job took a step in its life."""

    state: JobState
    reason: str


@dataclass(frozen=True, slots=True)
class RoundCompleted:
    """A round of training is done; None where the algorithm has no such number."""

    round: int
    max_rounds: int
    loss: float | None
    gradient_norm: float | None
    validation_loss: float | None
    learning_rate: float | None
    seconds: float
    rows_per_second: float
    workers: int
    eta_seconds: float
    """Seconds to the end if every round that is allowed is needed."""


@dataclass(frozen=True, slots=True)
class TaskRetried:
    """Shards have to be computed again."""

    reason: RetryReason
    worker: str
    """The one whose try came to nothing."""
    shards: str
    attempt: int
    detail: str


@dataclass(frozen=True, slots=True)
class Note:
    """Anything else worth knowing, in words."""

    text: str


JobHappening = StateChanged | RoundCompleted | TaskRetried | Note


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One thing that happened to a job; numbered from 1 without gaps."""

    sequence: int
    at: float
    """Seconds since the epoch."""
    what: JobHappening


@dataclass(frozen=True, slots=True)
class WorkerPhases:
    """Where the time of a worker's process went, in seconds since its start; together its wall time."""

    queue: float = 0.0
    """A task was handed to the thread that computes."""
    load: float = 0.0
    decode: float = 0.0
    """It waited for the message of a round, or read it."""
    compute: float = 0.0
    encode: float = 0.0
    send: float = 0.0
    """Nothing was computed, and answers were on their way."""
    wait: float = 0.0
    """It had its part of a job done and waited for others."""
    idle: float = 0.0
    """Nobody wanted anything of it."""


@dataclass(frozen=True, slots=True)
class WorkerActivity:
    """The first of the tasks in a worker's hands."""

    job_id: str
    step: str
    """``profile``, ``train``, ``assess`` or ``query``."""
    round: int
    """The round of training, from 1; 0 in other steps."""
    lo: int
    hi: int
    """Shards [lo, hi)."""
    attempt: int
    seconds: float
    """How long it has had it."""
    speculative: bool
    """Whether it is a copy of a task that takes long elsewhere."""


@dataclass(frozen=True, slots=True)
class WorkerRuntime:
    """What a process that computes runs on; empty and 0 = it can't tell."""

    python: str
    numpy: str
    grpc: str
    protobuf: str
    blas: str
    """What multiplies matrices, its version and the kernels that it has picked for this processor."""
    blas_threads: int
    open_files: int
    """How many files and connections it may have open."""


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A connected worker as it stands."""

    worker: str
    state: WorkerState
    host: str
    pid: int
    cores: float
    memory_bytes: int
    version: str
    heartbeat_age_s: float
    tasks_in_flight: int
    shards: int
    rows: int
    rows_per_second: float
    connected_s: float
    metrics_address: str
    labels: Mapping[str, str] = field(default_factory=dict)
    slowdown_ratio: float = 0.0
    """Its time per row against the median of the others; 1 = like them, 0 = not measured yet."""
    straggler: str = ""
    """Why it is a straggler, in words; empty = it is none."""
    reason: str = ""
    """Why it is in its state, in words."""
    phases: WorkerPhases | None = None
    """As of its last heartbeat; None = it has not said."""
    activity: WorkerActivity | None = None
    """What it computes now; None = nothing."""
    runtime: WorkerRuntime | None = None
    """None = it has not said."""
    clock_offset_s: float | None = None
    """How far its clock was ahead of the coordinator's when it joined; None = it has not said."""


@dataclass(frozen=True, slots=True)
class AlgorithmDescription:
    """An algorithm that a coordinator knows."""

    name: str
    version: int
    summary: str
    settings_schema: str
    """JSON Schema."""

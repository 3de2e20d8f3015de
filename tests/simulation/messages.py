"""What goes over the simulated wire; named after the messages of worker.proto, whose meaning they have."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gradloom.canonical import Range
from gradloom.jobs import RetryReason
from gradloom.steps import Step
from gradloom_coordinator.scheduling.commands import TaskOrder
from gradloom_coordinator.scheduling.events import TaskRef, TaskTimes
from gradloom_worker.events import Task

Vector = NDArray[np.float32]

# ---- worker -> coordinator


@dataclass(frozen=True, slots=True)
class Hello:
    name: str
    host: str
    labels: Mapping[str, str]
    resume_token: str
    computing: TaskRef | None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    pass


@dataclass(frozen=True, slots=True)
class Partial:
    """Inline, or only announced: then its ``PartialBytes`` come once credit is granted."""

    task: TaskRef
    rows: int
    times: TaskTimes
    vector: Vector = field(repr=False)
    announced: bool = False
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class PartialBytes:
    partial: Partial


@dataclass(frozen=True, slots=True)
class Failed:
    task: TaskRef
    reason: RetryReason


@dataclass(frozen=True, slots=True)
class GivenUp:
    tasks: tuple[TaskRef, ...]


@dataclass(frozen=True, slots=True)
class Draining:
    reason: str


@dataclass(frozen=True, slots=True)
class Goodbye:
    reason: str


# ---- coordinator -> worker


@dataclass(frozen=True, slots=True)
class Welcome:
    worker: str
    token: str
    resumed: bool


@dataclass(frozen=True, slots=True)
class Compute:
    job: str
    round: int
    step: Step
    tasks: tuple[TaskOrder, ...]
    parameters: Vector | None = field(repr=False)
    """None where the worker has them, or gets them as a ``Broadcast``."""


@dataclass(frozen=True, slots=True)
class Broadcast:
    job: str
    round: int
    parameters: Vector = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credit:
    task: TaskRef


@dataclass(frozen=True, slots=True)
class Refusal:
    task: TaskRef


@dataclass(frozen=True, slots=True)
class Release:
    job: str


@dataclass(frozen=True, slots=True)
class TakeBack:
    tasks: tuple[TaskRef, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    tasks: tuple[TaskRef, ...]


@dataclass(frozen=True, slots=True)
class Drain:
    reason: str


Message = (
    Hello
    | Heartbeat
    | Partial
    | PartialBytes
    | Failed
    | GivenUp
    | Draining
    | Goodbye
    | Welcome
    | Compute
    | Broadcast
    | Credit
    | Refusal
    | Release
    | TakeBack
    | Cancel
    | Drain
)


def ref_of(task: Task) -> TaskRef:
    """A worker's task as the coordinator names it."""
    return TaskRef(task.job, task.round, task.range, task.attempt)


def task_of(ref: TaskRef, now: float = 0.0) -> Task:
    """The other way round."""
    return Task(ref.job, ref.round, Range(*ref.range), ref.attempt, now)

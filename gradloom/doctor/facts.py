"""What was measured, as values. A part that was not looked at is None or empty; nothing is judged here."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from gradloom.jobs import WorkerRuntime, WorkerView


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and what to do about it."""

    level: Level
    area: str
    what: str
    mend: str = ""
    """Empty = nothing is to be done."""


@dataclass(frozen=True, slots=True)
class PackageFact:
    """One package that gradloom needs, or may use."""

    name: str
    installed: str
    """Empty = it is not."""
    floor: str
    """The oldest version that will do."""
    extra: str = ""
    """What needs it: an extra of the installation; empty = everything."""


class PortState(StrEnum):
    """What was found at a port of this machine."""

    FREE = "free"
    OURS = "ours"
    TAKEN = "taken"
    FORBIDDEN = "forbidden"


@dataclass(frozen=True, slots=True)
class PortFact:
    """One port that a service takes unless it is told otherwise."""

    port: int
    service: str
    option: str
    state: PortState
    needed: bool = False
    """Whether nothing goes without it."""


@dataclass(frozen=True, slots=True)
class TlsFact:
    """The files of TLS that this side was given."""

    name: str
    issuer: str
    hosts: tuple[str, ...]
    valid_until: datetime
    key_path: str
    key_mode: int
    """Permission bits of the key's file."""
    problem: str = ""
    """Why they can't be used; then the rest is empty."""


@dataclass(frozen=True, slots=True)
class StorageFact:
    """One folder that a service writes to."""

    option: str
    uri: str
    problem: str = ""
    """Why nothing can be written there; empty = it can."""
    free_bytes: int | None = None
    """None = nobody says."""
    bytes_per_s: float = 0.0
    """Of writing, until it is safe."""


@dataclass(frozen=True, slots=True)
class MachineFact:
    """This machine, or the container that we are in."""

    python: str
    system: str
    cores: float
    machine_cores: int
    memory_bytes: int
    available_bytes: int | None
    runtime: WorkerRuntime
    coretype: str = ""
    """OPENBLAS_CORETYPE."""


@dataclass(frozen=True, slots=True)
class ClusterFact:
    """A running cluster, as this client finds it."""

    address: str
    problem: str = ""
    """Why it can't be asked; then the rest is empty."""
    away: bool = False
    """Whether that is because nobody answers there."""
    version: str = ""
    clock_offset_s: float | None = None
    """How far the coordinator's clock is ahead of ours; None = it does not say."""
    offset_error_s: float = 0.0
    """Half of the time that the question took."""
    round_trip_s: float = 0.0
    who: str = ""
    role: str = ""
    loopback: bool = True
    workers: tuple[WorkerView, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """All that was measured; ``now`` by this machine's clock."""

    now: datetime
    version: str
    machine: MachineFact
    packages: tuple[PackageFact, ...] = ()
    ports: tuple[PortFact, ...] = ()
    tls: TlsFact | None = None
    insecure: bool = False
    storage: tuple[StorageFact, ...] = ()
    store: StorageFact | None = None
    """The database, if one was named."""
    cluster: ClusterFact | None = None
    notes: tuple[str, ...] = field(default=())
    """What could not be looked at, and why."""

"""The parameters of a world, all drawn from one seed. Each kind of trouble is there in about half of the worlds."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from gradloom.synchrony import SYNCHRONOUS, Synchrony, SynchronyKind
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.policies import POLICIES
from simulation.mathematics import MAX_SHARDS

PATIENT = Limits(max_attempts=1000, max_deaths=1000, task_timeout_s=60.0)
"""No job fails, whatever happens."""
STRICT = Limits(task_timeout_s=60.0)
LOOSE = (
    Synchrony(SynchronyKind.BACKUP, 1),
    Synchrony(SynchronyKind.BACKUP, 3),
    Synchrony(SynchronyKind.BOUNDED, 2),
    Synchrony(SynchronyKind.ASYNCHRONOUS),
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """How often things go wrong: rates a second of virtual time and worker (or person), and probabilities."""

    cuts: float = 0.0
    partitions: float = 0.0
    stalls: float = 0.0
    crashes: float = 0.0
    drains: float = 0.0
    coordinator_crashes: float = 0.0
    pauses: float = 0.0
    operator_drains: float = 0.0
    death: float = 0.0
    """A worker dies over a task."""
    failure: float = 0.0
    """A task raises, runs out of memory or gives NaN."""
    stuck: float = 0.0
    """A task never ends."""
    damage: float = 0.0
    """A partial's bytes are damaged on the way."""
    spike: float = 0.0
    lost_heartbeats: float = 0.0
    heavy_tail: float = 0.0
    """Sigma of the log-normal times of tasks."""
    torn_checkpoint: float = 0.0
    exclusions: float = 0.0
    """A person shuts a worker out for a while."""
    changes: float = 0.0
    """A person changes how a job is scheduled."""
    standstills: float = 0.0
    """The coordinator itself stands still for a moment."""


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """One worker: who it is and how fast."""

    name: str
    host: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    rows_per_second: float = 500.0
    starts_at: float = 0.0
    failure: float = 0.0
    """Probability that a task fails here, in calm times too."""


@dataclass(frozen=True, slots=True)
class JobPlan:
    """One job."""

    name: str
    shard_rows: tuple[int, ...]
    max_rounds: int = 3
    policy: str = "balanced"
    share_weight: float = 1.0
    required_labels: Mapping[str, str] = field(default_factory=dict)
    speculation: bool = True
    synchrony: Synchrony = SYNCHRONOUS
    submitted_at: float = 0.2
    cancelled_at: float | None = None
    big: bool = False
    """Whether its vectors go over the bulk streams."""
    slow_update_s: float = 0.0
    deadly_shards: frozenset[int] = frozenset()
    queries: int = 0
    """It serves until so many are answered."""

    @property
    def n_shards(self) -> int:
        return len(self.shard_rows)


@dataclass(frozen=True, slots=True)
class Plan:
    """A world before it begins."""

    workers: tuple[WorkerPlan, ...]
    jobs: tuple[JobPlan, ...]
    trouble: Trouble = Trouble()
    limits: Limits = PATIENT
    calm_after_s: float = 15.0
    """Nothing new goes wrong from here on."""
    checkpoint_every: int = 2
    typical_delay_s: float = 0.002


def drawn(seed: int) -> Plan:
    """The world of a seed."""
    rng = random.Random(seed)
    calm, strict = rng.random() < 0.1, rng.random() < 0.3
    return Plan(
        workers=tuple(_worker(rng, i) for i in range(rng.randint(1, 8))),
        jobs=tuple(_job(rng, i, strict) for i in range(rng.choice((1, 1, 2, 3)))),
        trouble=Trouble() if calm else _trouble(rng),
        limits=STRICT if strict else PATIENT,
        calm_after_s=rng.uniform(3.0, 15.0),
        checkpoint_every=rng.randint(1, 4),
        typical_delay_s=rng.choice((0.0005, 0.002, 0.02)),
    )


def _worker(rng: random.Random, i: int) -> WorkerPlan:
    slowness = rng.choice((1.0, 1.0, 1.0, rng.uniform(2.0, 6.0)))
    bad = i > 0 and rng.random() < 0.05
    return WorkerPlan(
        name=f"w{i}",
        host=rng.choice(("", "", "h0", "h1")),
        labels={"disk": "ssd"} if i == 0 or rng.random() < 0.5 else {},
        failure=1.0 if bad else 0.0,
        rows_per_second=rng.uniform(300.0, 1000.0) / slowness,
        starts_at=rng.choice((0.0, 0.0, rng.random(), rng.uniform(0.0, 5.0))),
    )


def _job(rng: random.Random, i: int, strict: bool) -> JobPlan:
    largest = rng.choice((20, 100, 500))
    deadly = strict and rng.random() < 0.1
    return JobPlan(
        name=f"job-{i}",
        shard_rows=tuple(rng.randint(0, largest) for _ in range(rng.randint(8, MAX_SHARDS))),
        max_rounds=rng.randint(2, 4),
        policy=rng.choice(sorted(POLICIES)),
        share_weight=rng.choice((1.0, 1.0, 3.0)),
        required_labels={"disk": "ssd"} if rng.random() < 0.15 else {},
        speculation=rng.random() < 0.8,
        synchrony=rng.choice(LOOSE) if rng.random() < 0.2 else SYNCHRONOUS,
        submitted_at=rng.uniform(0.0, 2.0),
        cancelled_at=rng.uniform(1.0, 8.0) if rng.random() < 0.08 else None,
        big=rng.random() < 0.3,
        slow_update_s=rng.choice((0.0, 0.0, 0.1)),
        deadly_shards=frozenset({rng.randrange(8)}) if deadly else frozenset(),
        queries=rng.choice((0, 0, rng.randint(1, 6))),
    )


def _trouble(rng: random.Random) -> Trouble:
    def some(worst: float, share: float = 0.4) -> float:
        return rng.random() * worst if rng.random() < share else 0.0

    return Trouble(
        cuts=some(0.3),
        partitions=some(0.1),
        stalls=some(0.1),
        crashes=some(0.15),
        drains=some(0.1),
        coordinator_crashes=some(0.25),
        pauses=some(0.2),
        operator_drains=some(0.05, 0.2),
        death=some(0.2),
        failure=some(0.25),
        stuck=some(0.02, 0.2),
        damage=some(0.2, 0.3),
        spike=some(0.1),
        lost_heartbeats=some(0.6),
        heavy_tail=some(2.0),
        torn_checkpoint=some(0.5),
        exclusions=some(0.1, 0.2),
        changes=some(0.5, 0.3),
        standstills=some(0.2, 0.2),
    )

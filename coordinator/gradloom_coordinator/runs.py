"""One job as the edge holds it: its record for people, and its arrays while it runs."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from gradloom.algorithms import build
from gradloom.algorithms.algorithm import Algorithm, Progress
from gradloom.codecs import NONE
from gradloom.data.manifest import Manifest
from gradloom.jobs import CheckpointInfo, JobState, JobView, RoundCompleted, SteeringRecord, WorkerShare
from gradloom.specs import JobSpec, ScheduledChange
from gradloom.steps import Step
from gradloom.synchrony import parse_synchrony
from gradloom.tensors import rows_taken
from gradloom.v1 import worker_pb2
from gradloom.wire.data import preparation_to_proto, source_to_proto, split_to_proto
from gradloom.wire.steps import step_to_proto
from gradloom_coordinator.broadcasts import Broadcast, broadcast_of
from gradloom_coordinator.collector import Collector
from gradloom_coordinator.compression.downlink import Outgoing
from gradloom_coordinator.compression.traffic import Traffic
from gradloom_coordinator.durability.changes import CheckpointKept, Steered
from gradloom_coordinator.durability.checkpoints import Checkpoint
from gradloom_coordinator.journal import Journal
from gradloom_coordinator.scheduling.events import JobId
from gradloom_coordinator.scheduling.state import Job
from gradloom_coordinator.steering import Alteration, altered, as_alteration, etag_of, steerable_fields
from gradloom_coordinator.training import Training

HEAVY_BYTES = 256 * 1024
"""An update of more than that is kept off the event loop."""


class Hold(StrEnum):
    """What may keep a job from going on."""

    DATABASE = "database"
    CHECKPOINTS = "checkpoints"
    PERSON = "person"
    ROLLBACK = "rollback"


@dataclass(slots=True)
class JobRun:
    """One job, from its submission to long after its end."""

    job_id: JobId
    in_force: JobSpec
    """What its rounds go by: people may have changed it."""
    journal: Journal
    created_at: float
    state: JobState = JobState.QUEUED
    reason: str = ""
    started: float | None = None
    """Monotonic; when it left the queue."""
    ended: float | None = None
    manifest: Manifest | None = None
    """Kept from before a restart of the coordinator: the job is not planned again."""
    restored: bool = False
    """Whether its rounds have begun before a restart, and are to go on."""
    checkpoints: list[CheckpointKept] = field(default_factory=list)
    """The newest first."""
    training: Training | None = None
    """None before planning and after the end."""
    broadcast: Broadcast | None = None
    collector: Collector | None = None
    traffic: Traffic = field(default_factory=Traffic)
    round: int = 0
    """Names a round on the wire; not the same as the algorithm's own, which a restart sets back."""
    round_opened: float = 0.0
    rows: int = 0
    n_shards: int = 0
    progress: Progress | None = None
    train_rows_done: int = 0
    train_seconds: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)
    parameters_sha256: str = ""
    model_path: Path | None = None
    retries: int = 0
    shares: tuple[WorkerShare, ...] = ()
    last: tuple[str, float] = ("", 0.0)
    """Whose answer ended the newest round, and how long all others had waited for it."""
    ending: JobView | None = None
    """How people see it between its end and the moment when that is durable."""
    final_view: JobView | None = None
    """How people see it from then on."""
    holds: dict[Hold, str] = field(default_factory=dict)
    """Why it is not to go on, by what holds it."""
    steering: list[Steered] = field(default_factory=list)
    """What people have changed, in order."""
    scheduled: tuple[ScheduledChange, ...] = ()
    """What is to change by itself, in the order of its rounds."""
    acknowledged: tuple[ScheduledChange, ...] = ()
    """What people have changed before a restart: it is to hold again from the same rounds on, for the same bits."""
    steps_left: int | None = None
    """Rounds of training until it stands still again; None = nobody counts."""
    paused_after_steps: str = ""
    """What is said of it then."""
    rollback_to: CheckpointKept | None = None
    """The checkpoint that it is set back to when its open round is over."""
    rollbacks: int = 0
    served: bool = False
    """Whether it has served queries before a restart of the coordinator, and will again."""
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it serves or has ended."""
    submitted: JobSpec = field(init=False)
    """As it was asked for."""
    _next_update: int = 1
    _setup: tuple[Step, Algorithm[Any], str, bytes] | None = None
    built_from: Mapping[str, str] = field(default_factory=dict)
    """The settings that the algorithm in use was built from: those in force, from the next round on."""

    def __post_init__(self) -> None:
        self.submitted = self.in_force
        self.scheduled = self.in_force.schedule

    @property
    def spec(self) -> JobSpec:
        """As people see it: with all that they have changed."""
        return altered(self.in_force, map(as_alteration, self.acknowledged))

    @property
    def held_because(self) -> str:
        """Why it is not to go on; empty = it may."""
        return next(iter(self.holds.values()), "")

    def prepare_round(self, transfer_id: int, now: float) -> None:
        """Serialize the next round's message and make room for its sum."""
        self.round += 1
        self.round_opened = now
        self.prepare_again(transfer_id)

    def prepare_again(self, transfer_id: int) -> None:
        """The same for a round that nobody has been told of, after something has changed."""
        assert self.training is not None
        self._build(self.in_force)
        self._next_update = self.iterations + 1 + (self.training.step is not Step.PROFILE)
        compute, message = worker_pb2.Compute(job_id=self.job_id, round=self.round), self.training.message()
        outgoing = Outgoing(message)
        if self.training.step is Step.TRAIN:
            algorithm, traffic = self.training.algorithm, self.traffic
            n_shards = len(self.training.manifest.shards)
            outgoing = traffic.prepare(
                self.in_force, algorithm, message, self.iterations, self.round, n_shards
            )
            compute.earlier_are_decided = self.all_count
            if traffic.codec != NONE or traffic.verdicts.tracks:
                compute.uplink.codec, compute.uplink.lineage = traffic.codec, traffic.lineage
                compute.uplink.iteration, compute.uplink.seed = self.iterations, self.in_force.seed
                compute.uplink.send_left_over = traffic.gathering.asked
        self.broadcast = broadcast_of(compute, outgoing, transfer_id)
        self._make_room()

    def _make_room(self) -> None:
        assert self.training is not None
        self.collector = Collector(
            len(self.training.manifest.shards),
            self.training.merge,
            all_count=self.all_count,
            framewise=not self.is_packed,
        )

    def end_of_traffic(self, seconds: float) -> str | None:
        """All partials of a round of training are counted; what to tell people."""
        assert self.training is not None
        suits = self.training.algorithm.takes_part_sums
        return self.traffic.end_round(seconds, self.iterations, sparse_suits=suits)

    @property
    def is_packed(self) -> bool:
        """Whether a partial of the open round may differ with the worker that computed it."""
        assert self.training is not None
        packed = self.traffic.codec != NONE or self.traffic.verdicts.tracks
        return self.training.step is Step.TRAIN and packed

    def change(self, spec: JobSpec) -> None:
        """Go by another specification from the next round on."""
        self.in_force = spec

    def count_steps(self, rounds: int | None, then: str = "") -> None:
        """Let it do so many rounds of training, and say ``then`` when it stands still; None = no longer."""
        self.steps_left, self.paused_after_steps = rounds, then

    def rules_at(self, round_: int) -> JobSpec:
        """What held in the round that a checkpoint was taken after."""
        then = [one for one in (*self.scheduled, *self.acknowledged) if one.at_round <= round_]
        return altered(self.in_force, map(as_alteration, then))

    def _build(self, rules: JobSpec) -> None:
        """Have the algorithm go by these rules."""
        assert self.training is not None
        if rules.settings != self.built_from:
            self.training.algorithm = build(rules.algorithm, rules.settings)
            self.built_from = rules.settings
            self.traffic.forget_ahead()

    def steer(self, changes: Sequence[Alteration]) -> None:
        """Take in what a person changes; older changes of the same fields no longer count."""
        fields = {one.field for one in changes}
        self.acknowledged = tuple(one for one in self.acknowledged if one.field not in fields)
        self.change(altered(self.in_force, changes))

    def due_changes(self) -> tuple[ScheduledChange, ...]:
        """What is to change with the round that is prepared next; told only once."""
        now = self.iterations + 1
        due = tuple(one for one in (*self.scheduled, *self.acknowledged) if one.at_round <= now)
        self.scheduled = tuple(one for one in self.scheduled if one.at_round > now)
        self.acknowledged = tuple(one for one in self.acknowledged if one.at_round > now)
        return due

    @property
    def waits(self) -> bool:
        """Whether its next round is prepared, and nobody has been told of it yet."""
        return self.state is JobState.PAUSED and self.broadcast is not None

    @property
    def next_update(self) -> int:
        """The first round of training, counted as people do, that a change from now on has a say in."""
        if self.rollback_to is not None:
            return self.rollback_to.round + 1
        kept = self.checkpoints[0].round if self.checkpoints else 0  # a job that was restored begins there
        return max(kept + 1, self._next_update - (self.state is JobState.PAUSED))

    def close_round(self, now: float, workers: int) -> RoundCompleted | None:
        """Take in the sum of the round; what to tell people after a round of training. Raises GradloomError.

        May run in a thread of its own: the job can be cancelled and released meanwhile.
        """
        training, collector = self.training, self.collector
        if training is None or collector is None:
            return None
        step = training.step
        # the frames go before the update makes new parameters
        self.collector, self.broadcast = None, None
        total = collector.total()
        progress = training.advance(total)
        if step is not Step.TRAIN or progress is None:
            return None
        assert training.schema is not None
        rows = rows_taken(total)
        rows = training.schema.train_rows if rows is None else rows
        completed = self._completed(training, progress, now - self.round_opened, workers, rows)
        if self.traffic.downlink != NONE and training.step is Step.TRAIN:
            message = training.message()
            self.traffic.prepare_ahead(
                self.in_force, training.algorithm, message, self.iterations, self.round + 1
            )
        return completed

    def _completed(
        self, training: Training, progress: Progress, seconds: float, workers: int, rows: int
    ) -> RoundCompleted:
        self.progress = progress
        self.train_seconds += seconds
        self.train_rows_done += rows
        left = 0 if training.ended_because else progress.max_iterations - progress.iteration
        return RoundCompleted(
            round=progress.iteration,
            max_rounds=progress.max_iterations,
            loss=progress.loss,
            gradient_norm=progress.gradient_norm,
            validation_loss=progress.validation_loss,
            learning_rate=progress.learning_rate,
            seconds=seconds,
            rows_per_second=rows / max(seconds, 1e-9),
            workers=workers,
            eta_seconds=left * self.train_seconds / max(progress.iteration, 1),
        )

    @property
    def iterations(self) -> int:
        """Updates that the algorithm has done."""
        return self.progress.iteration if self.progress else 0

    @property
    def training_round(self) -> int:
        """The round of training that is prepared now, from 1; 0 = another step's."""
        trains = self.training is not None and self.training.step is Step.TRAIN
        return self.iterations + 1 if trains else 0

    def checkpoint(self) -> Checkpoint | None:
        """All that the job could go on from now; None before its data is known, and after its end."""
        saved = self.training.save() if self.training is not None else None
        if saved is None:
            return None
        assert self.training is not None
        assert self.training.schema is not None
        # the round that the state itself is at: an update in a thread may be ahead of what people are told
        state, iterations = saved
        schema, traffic = self.training.schema, self.traffic.save(iterations)
        return Checkpoint(iterations, schema, state, self.train_seconds, self.train_rows_done, traffic)

    def go_back_to(self, checkpoint: Checkpoint) -> None:
        """Take up an earlier checkpoint, with the settings of now; what people had changed for later holds at once."""
        first = checkpoint.round + 1
        self.acknowledged = tuple(
            replace(one, at_round=min(one.at_round, first)) for one in self.acknowledged
        )
        self.go_on_from(checkpoint)

    def go_on_from(self, checkpoint: Checkpoint, rules: JobSpec | None = None) -> None:
        """Take up a checkpoint. Raises ValueError if it is none of this algorithm's.

        By ``rules`` it is judged whether more rounds are needed; None = those in force.
        """
        assert self.training is not None
        self._build(rules or self.in_force)
        self.progress = self.training.restore(checkpoint.schema, checkpoint.state)
        self.traffic.restore(checkpoint.traffic, checkpoint.round, all_gone=not self.traffic.started)
        self.train_seconds, self.train_rows_done = checkpoint.train_seconds, checkpoint.train_rows

    def round_again(self) -> bytes:
        """A Compute of the open round for a worker that has its broadcast; tasks are appended to it."""
        compute = worker_pb2.Compute(job_id=self.job_id, round=self.round)
        return worker_pb2.CoordinatorMessage(compute=compute).SerializeToString()

    def setup_message(self) -> bytes:
        """What workers need to know before the first round of the present step; the same object until it changes."""
        assert self.training is not None
        step, algorithm = self.training.step, self.training.algorithm
        dtype, known = self.training.dtype, self._setup
        if known is None or known[0] is not step or known[1] is not algorithm or known[2] != dtype:
            message = _serialized_setup(self.job_id, self.in_force.algorithm, self.built_from, self.training)
            known = self._setup = (step, algorithm, dtype, message)
        return known[3]

    @property
    def all_count(self) -> bool:
        """Whether every shard counts in the round that is prepared now."""
        assert self.training is not None
        return self.training.step is not Step.TRAIN or parse_synchrony(self.in_force.synchrony).exact

    @property
    def heavy(self) -> bool:
        """Whether an update takes long enough to be kept off the event loop."""
        if self.training is not None and self.training.algorithm.needs.heavy_update:
            return True
        down = self.broadcast.byte_length if self.broadcast is not None else 0
        up = self.collector.partial_bytes if self.collector is not None else 0
        return max(down, up) > HEAVY_BYTES

    def release(self) -> None:
        """Forget the arrays; the record stays."""
        self.traffic.release()
        self.training = None
        self.broadcast = None
        self.collector = None
        self._setup = None

    def watch(self, job: Job, now: float, connected: frozenset[str]) -> None:
        """Copy from the scheduler what people want to see."""
        seconds = max(now - (self.started if self.started is not None else now), 1e-9)
        self.retries = job.retries
        self.last = job.counts.last_worker, job.counts.last_waited_s
        names = sorted(job.shares, key=_natural)
        self.shares = tuple(
            WorkerShare(
                worker=name,
                shards=job.share(name).shards,
                rows=job.share(name).rows,
                busy_fraction=min(1.0, job.share(name).busy_s / seconds),
                retries=job.share(name).retries,
                present=name in connected,
                rounds_last=job.share(name).rounds_last,
                waited_for_s=job.share(name).waited_for_s,
            )
            for name in names
        )

    def view(self, now: float) -> JobView:
        """The job as people see it."""
        if shown := self.final_view or self.ending:
            return shown
        progress = self.progress
        end = self.ended if self.ended is not None else now
        return JobView(
            job_id=self.job_id,
            spec=self.spec,
            state=self.state,
            reason=self.reason,
            created_at=self.created_at,
            rounds=self.iterations,
            max_rounds=progress.max_iterations if progress else 0,
            loss=progress.loss if progress else None,
            scores=self.scores,
            seconds=end - self.started if self.started is not None else 0.0,
            rows_per_second=self.train_rows_done / self.train_seconds if self.train_seconds else 0.0,
            rows=self.rows,
            shards=self.n_shards,
            retries=self.retries,
            parameters_sha256=self.parameters_sha256,
            workers=self.shares,
            etag=etag_of(self.spec),
            compression=self.traffic.view(),
            submitted=self.submitted,
            steering=tuple(
                SteeringRecord(one.at_round, one.who, one.at, one.field, one.old, one.new)
                for one in self.steering
            ),
            last_worker=self.last[0],
            last_waited_s=self.last[1],
            checkpoints=()
            if self.state.settled
            else tuple(CheckpointInfo(one.round, one.created_at) for one in self.checkpoints),
            steerable=() if self.state.settled else steerable_fields(self.spec),
        )


def _serialized_setup(
    job_id: JobId, algorithm: str, settings: Mapping[str, str], training: Training
) -> bytes:
    if training.step is Step.PROFILE:
        preparation = split_to_proto(training.split)
    else:
        assert training.schema is not None
        how = training.schema.preparation
        preparation = preparation_to_proto(replace(how, dtype=training.dtype or how.dtype))
    setup = worker_pb2.Setup(
        job_id=job_id,
        step=step_to_proto(training.step),
        algorithm=algorithm,
        algorithm_version=training.algorithm.version,
        settings=settings,
        source=source_to_proto(training.manifest),
        n_shards=len(training.manifest.shards),
        preparation=preparation,
    )
    return worker_pb2.CoordinatorMessage(setup=setup).SerializeToString()


def _natural(name: str) -> tuple[str, int]:
    head, _, number = name.rpartition("-")
    plain = number.isascii() and number.isdigit() and len(number) < 10
    return (head, int(number)) if plain else (name, 0)

"""Between protobuf and the worker's own values: what is said to the coordinator, and what its words mean."""

import os
import socket
import time
from collections.abc import Iterable, Mapping

from gradloom import __version__
from gradloom.algorithms import build, versions
from gradloom.canonical import Range
from gradloom.errors import VersionMismatch
from gradloom.jobs import WorkerPhases
from gradloom.machine import cpu_cores, memory_bytes, runtime
from gradloom.settings import WorkerSettings
from gradloom.v1 import tensor_pb2, worker_pb2
from gradloom.wire import PROTOCOL_VERSION
from gradloom.wire.cluster import phases_to_proto, runtime_to_proto
from gradloom.wire.data import manifest_from_proto, preparation_from_proto, split_from_proto
from gradloom.wire.steps import failure_to_proto, step_from_proto
from gradloom.wire.times import set_time
from gradloom_worker.commands import OpenSession
from gradloom_worker.events import Task
from gradloom_worker.executor import Failed
from gradloom_worker.phases import Doing
from gradloom_worker.uplinks import Order
from gradloom_worker.work import Computed, JobWork


def hello_message(settings: WorkerSettings, metrics_address: str, session: OpenSession) -> bytes:
    """The first words of a session."""
    hello = worker_pb2.Hello(
        protocol_version=PROTOCOL_VERSION,
        name=settings.name,
        host=settings.node or socket.gethostname(),
        pid=os.getpid(),
        cores=cpu_cores(),
        memory_bytes=memory_bytes(),
        version=__version__,
        algorithms=versions(),
        metrics_address=metrics_address,
        resume_token=session.resume_token,
        computing=task_key(session.computing) if session.computing else None,
        labels=settings.labels,
        allow_chaos=settings.allow_chaos,
        runtime=runtime_to_proto(runtime()),
    )
    set_time(hello.sent_at, time.time())
    return worker_pb2.WorkerMessage(hello=hello).SerializeToString()


def heartbeat_message(sequence: int, seconds: Mapping[Doing, float]) -> worker_pb2.WorkerMessage:
    """A sign of life, with where the time went."""
    phases = WorkerPhases(
        queue=seconds[Doing.QUEUE],
        load=seconds[Doing.LOAD],
        decode=seconds[Doing.DECODE],
        compute=seconds[Doing.COMPUTE],
        encode=seconds[Doing.ENCODE],
        send=seconds[Doing.SEND],
        wait=seconds[Doing.BARRIER_WAIT],
        idle=seconds[Doing.IDLE],
    )
    heartbeat = worker_pb2.Heartbeat(sequence=sequence, phases=phases_to_proto(phases))
    return worker_pb2.WorkerMessage(heartbeat=heartbeat)


def partial_message(
    task: Task, bundle: tensor_pb2.Bundle, computed: Computed, queue_s: float, encode_s: float
) -> worker_pb2.WorkerMessage:
    """What a task came to."""
    times = worker_pb2.TaskTimes(
        queue_seconds=queue_s,
        load_seconds=computed.load_s,
        compute_seconds=computed.compute_s,
        encode_seconds=encode_s,
    )
    partial = worker_pb2.Partial(
        task=task_key(task), bundle=bundle, times=times, rows=computed.rows, holds_back=computed.holds_back
    )
    if computed.account is not None:
        partial.codec_report.square_error = computed.account.square_error
        partial.codec_report.square_norm = computed.account.square_norm
        partial.codec_report.square_residual = computed.account.square_residual
    return worker_pb2.WorkerMessage(partial=partial)


def order_of(compute: worker_pb2.Compute) -> Order | None:
    """How the gradients of a round are sent; None where the message says nothing new of it."""
    if not compute.HasField("broadcast"):
        return None
    uplink = compute.uplink
    return Order(
        compute.round, uplink.codec, uplink.iteration, uplink.seed, uplink.lineage, uplink.send_left_over
    )


def failed_message(task: Task, failed: Failed) -> worker_pb2.WorkerMessage:
    """A task that came to nothing."""
    words = worker_pb2.TaskFailed(
        task=task_key(task),
        reason=failure_to_proto(failed.reason),
        message=_sendable(failed.message),
        detail=_sendable(failed.detail),
    )
    return worker_pb2.WorkerMessage(failed=words)


def given_up_message(tasks: Iterable[Task]) -> worker_pb2.WorkerMessage:
    """Tasks that are for others."""
    return worker_pb2.WorkerMessage(given_up=worker_pb2.GivenUp(tasks=map(task_key, tasks)))


def task_key(task: Task) -> worker_pb2.TaskKey:
    """A task as the wire names it."""
    return worker_pb2.TaskKey(
        job_id=task.job, round=task.round, lo=task.range.lo, hi=task.range.hi, attempt=task.attempt
    )


def tasks_named(keys: Iterable[worker_pb2.TaskKey]) -> tuple[Task, ...]:
    """Tasks that the wire names."""
    return tuple(Task(key.job_id, key.round, Range(key.lo, key.hi), key.attempt) for key in keys)


def tasks_of(compute: worker_pb2.Compute, now: float) -> tuple[Task, ...]:
    """The tasks of a Compute that came now."""
    ranges = compute.tasks
    return tuple(Task(compute.job_id, compute.round, Range(t.lo, t.hi), t.attempt, now) for t in ranges)


def job_work(setup: worker_pb2.Setup, before: JobWork | str | None) -> JobWork:
    """What a job's tasks compute from here on. Raises VersionMismatch, InvalidInput."""
    algorithm = build(setup.algorithm, setup.settings)
    if algorithm.version != setup.algorithm_version:
        raise VersionMismatch(
            f"algorithm {setup.algorithm!r}: the coordinator has version {setup.algorithm_version}, "
            f"this worker {algorithm.version}; install the same gradloom on both"
        )
    source_key, preparation_key = (
        part.SerializeToString(deterministic=True).hex() for part in (setup.source, setup.preparation)
    )
    return JobWork(
        step=step_from_proto(setup.step),
        algorithm=algorithm,
        n_shards=setup.n_shards,
        source_key=f"{source_key}/{setup.n_shards}",
        preparation_key=preparation_key,
        manifest=manifest_from_proto(setup.source, ()),
        split=split_from_proto(setup.preparation),
        preparation=preparation_from_proto(setup.preparation),
        plans=before.plans if isinstance(before, JobWork) else {},
    )


def _sendable(text: str) -> str:
    """The text with ? for what UTF-8 can't carry: halves of surrogate pairs, as names of files may hold them."""
    return text.encode("utf-8", "replace").decode()

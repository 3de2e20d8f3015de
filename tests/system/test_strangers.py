"""Whoever comes as a worker: other versions, no manners, damaged bytes. The coordinator lives on and counts right.

The two streams of a worker are spoken by hand, byte by byte; the real workers of the cluster work beside it.
"""

import contextlib
import queue
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
import xxhash

from builders.calls import LIMIT_S, events, finished, submitted
from gradloom import LocalCluster
from gradloom.algorithms import versions
from gradloom.settings import CoordinatorSettings
from gradloom.v1 import (
    cluster_pb2,
    cluster_service_pb2,
    cluster_service_pb2_grpc,
    data_pb2,
    job_pb2,
    job_service_pb2,
    job_service_pb2_grpc,
    tensor_pb2,
    worker_pb2,
)
from gradloom.wire import PROTOCOL_VERSION
from gradloom.wire.frames import HEADER, MAGIC, FrameKind, credit_frame, data_frame, refusal_frame
from gradloom_coordinator import server, worker_servicer

pytestmark = pytest.mark.system

SESSION = "/gradloom.v1.WorkerService/Session"
BULK = "/gradloom.v1.WorkerService/Bulk"
COMPLETED = job_pb2.JobState.JOB_STATE_COMPLETED

Spec = job_pb2.JobSpec


@pytest.fixture(scope="module")
def channel(cluster: LocalCluster) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(cluster.address) as channel:
        yield channel


@pytest.fixture(scope="module")
def jobs(channel: grpc.Channel) -> Any:
    return job_service_pb2_grpc.JobServiceStub(channel)


@pytest.fixture
def spec(breast_cancer: Path) -> Spec:
    """A job of a moment."""
    return Spec(algorithm="logistic", data=data_pb2.DataSpec(uris=[str(breast_cancer)]))


class Conversation:
    """A stream in both directions on which a test speaks raw bytes, word by word; a context manager."""

    def __init__(self, channel: grpc.Channel, method: str, token: str = "") -> None:
        self._words: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        metadata = (("gradloom-session", token),) if token else ()
        self._call = channel.stream_stream(method)(
            iter(self._words.get, None), metadata=metadata, timeout=LIMIT_S
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_talking()
        self._call.cancel()

    def say(self, word: bytes) -> None:
        self._words.put(word)

    def hear(self) -> bytes:
        word: bytes = next(self._call)
        return word

    def stop_talking(self) -> None:
        self._words.put(None)

    def end(self) -> tuple[grpc.StatusCode, str]:
        """Listen until the other side ends the stream: with which status, and what it says."""
        with contextlib.suppress(grpc.RpcError):
            for _ in self._call:
                pass
        return self._call.code(), self._call.details()


def hello(version: int = PROTOCOL_VERSION) -> bytes:
    words = worker_pb2.Hello(protocol_version=version, name="stranger", host="nowhere", algorithms=versions())
    return worker_pb2.WorkerMessage(hello=words).SerializeToString()


def heard(session: Conversation, kind: str) -> Any:
    """The next message of this kind from the coordinator."""
    while True:
        message = worker_pb2.CoordinatorMessage.FromString(session.hear())
        if message.WhichOneof("kind") == kind:
            return getattr(message, kind)


@contextlib.contextmanager
def stranger(channel: grpc.Channel) -> Iterator[tuple[Conversation, Conversation]]:
    """Somebody who was welcomed as a worker: its session and its bulk stream."""
    with Conversation(channel, SESSION) as session:
        session.say(hello())
        token = heard(session, "welcome").session_token
        with Conversation(channel, BULK, token) as bulk:
            yield session, bulk


def worker_names(channel: grpc.Channel) -> list[str]:
    """The workers that are here; one whose session broke off may come back for a while."""
    stub = cluster_service_pb2_grpc.ClusterServiceStub(channel)
    request = cluster_service_pb2.ListWorkersRequest()
    workers = stub.ListWorkers(request, timeout=LIMIT_S).workers
    return [w.worker for w in workers if w.state != cluster_pb2.WorkerState.WORKER_STATE_AWAY]


def test_another_protocol_version_is_refused(channel: grpc.Channel) -> None:
    with Conversation(channel, SESSION) as session:
        session.say(hello(version=99))
        code, details = session.end()
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert details == (
        f"protocol_version: the worker speaks 99, the coordinator {PROTOCOL_VERSION};"
        " install the same gradloom on both"
    )
    assert worker_names(channel) == ["worker-0", "worker-1"]


OTHER_VERSION = """
from gradloom_worker import __main__, messages
messages.PROTOCOL_VERSION = 99
__main__.main()
"""


@pytest.mark.parametrize("level", ["INFO", "CRITICAL"])
def test_a_worker_of_another_version_says_so_and_ends(cluster: LocalCluster, level: str) -> None:
    options = ["--coordinator", cluster.address, "--metrics-port", "-1", "--log-level", level]
    done = subprocess.run(
        [sys.executable, "-c", OTHER_VERSION, *options], capture_output=True, text=True, timeout=LIMIT_S
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1] == (
        f"error: protocol_version: the worker speaks 99, the coordinator {PROTOCOL_VERSION};"
        " install the same gradloom on both"
    )


@pytest.mark.parametrize(
    "word",
    [
        worker_pb2.WorkerMessage(heartbeat=worker_pb2.Heartbeat(sequence=1)).SerializeToString(),
        worker_pb2.WorkerMessage().SerializeToString(),
    ],
    ids=["a heartbeat", "nothing"],
)
def test_a_session_that_does_not_begin_with_hello_is_refused(channel: grpc.Channel, word: bytes) -> None:
    with Conversation(channel, SESSION) as session:
        session.say(word)
        assert session.end() == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "the first message of a session must be Hello",
        )


async def test_a_session_without_hello_does_not_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_servicer, "HELLO_TIMEOUT_S", 0.05)
    running = await server.start(CoordinatorSettings(port=0, data_dir=tmp_path))
    try:
        async with grpc.aio.insecure_channel(running.addresses.address) as channel:
            call = channel.stream_stream(SESSION)()
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
            assert await call.details() == "no Hello within 0.05 s"
        assert running.coordinator.attendance.links == {}
    finally:
        await running.stop()


@pytest.mark.parametrize("token", ["", "00000000000000000000000000000000"])
def test_a_bulk_stream_without_a_session_is_refused(channel: grpc.Channel, token: str) -> None:
    with Conversation(channel, BULK, token) as bulk:
        assert bulk.end() == (grpc.StatusCode.UNAUTHENTICATED, "gradloom-session: no such session")


def bad_frames() -> list[bytes]:
    noise = random.Random(3).randbytes(5000)
    good = data_frame(1, [memoryview(noise)], len(noise), 0)
    other_sum = good[:-1] + bytes([good[-1] ^ 1])
    endless = HEADER.pack(MAGIC, FrameKind.DATA, 1, 0, 2**63, 0, 0)
    return [
        b"",
        b"GLB1",
        noise,
        good[:-1],
        other_sum,
        endless,
        good,
        credit_frame(9, 2**62),
        refusal_frame(9),
    ]


def test_frames_that_make_no_sense_do_no_harm(channel: grpc.Channel, jobs: Any, spec: Spec) -> None:
    with stranger(channel) as (session, bulk):
        for frame in bad_frames():
            bulk.say(frame)
        bulk.stop_talking()  # frames are read in order: once the stream has ended, all of them were
        assert bulk.end() == (grpc.StatusCode.ABORTED, "its bulk stream ended")
        assert session.end() == (grpc.StatusCode.ABORTED, "its bulk stream ended")
    assert worker_names(channel) == ["worker-0", "worker-1"]
    assert finished(jobs, spec).state == COMPLETED


def words_out_of_place() -> list[bytes]:
    key = worker_pb2.TaskKey(job_id="logistic-0", round=3, lo=7, hi=2, attempt=1)
    partial = worker_pb2.Partial(task=key)
    offer = worker_pb2.Partial(task=key)
    offer.bundle.transfer_id = 5
    messages = [
        worker_pb2.WorkerMessage(partial=partial),
        worker_pb2.WorkerMessage(partial=offer),
        worker_pb2.WorkerMessage(failed=worker_pb2.TaskFailed(task=key)),
        worker_pb2.WorkerMessage(given_up=worker_pb2.GivenUp(tasks=[key, key])),
        worker_pb2.WorkerMessage(hello=worker_pb2.Hello(protocol_version=99)),
        worker_pb2.WorkerMessage(),
    ]
    return [message.SerializeToString() for message in messages]


def test_answers_that_nobody_asked_for_do_no_harm(channel: grpc.Channel, jobs: Any, spec: Spec) -> None:
    with stranger(channel) as (session, _):
        for word in words_out_of_place():
            session.say(word)
        session.say(worker_pb2.WorkerMessage(goodbye=worker_pb2.Goodbye(reason="enough")).SerializeToString())
        assert session.end()[0] is grpc.StatusCode.OK
    assert worker_names(channel) == ["worker-0", "worker-1"]
    assert finished(jobs, spec).state == COMPLETED


def test_bytes_that_are_no_message_end_the_session_and_nothing_else(
    channel: grpc.Channel, jobs: Any, spec: Spec
) -> None:
    with stranger(channel) as (session, _):
        session.say(b"\xff" * 100)
        code, details = session.end()
        assert code is grpc.StatusCode.ABORTED
        assert "its session broke off: Error parsing message" in details
    assert worker_names(channel) == ["worker-0", "worker-1"]
    assert finished(jobs, spec).state == COMPLETED


def damaged(bundle: tensor_pb2.Bundle) -> None:
    bundle.byte_length = 8
    bundle.tensors.add(
        name="rows", dtype=tensor_pb2.DTYPE_FLOAT64, codec=tensor_pb2.CODEC_DENSE, byte_length=8
    )
    bundle.inline.payload = bytes(8)
    bundle.inline.checksum = 1


def foreign(bundle: tensor_pb2.Bundle) -> None:
    damaged(bundle)
    bundle.inline.checksum = xxhash.xxh3_64_intdigest(bundle.inline.payload)


def answered_badly(
    channel: grpc.Channel, jobs: Any, data: Path, spoil: Callable[[tensor_pb2.Bundle], None]
) -> job_pb2.Job:
    """A job whose first task on a stranger is answered with a spoilt sum, after which the stranger leaves."""
    spec = Spec(
        algorithm="logistic", placement="round_robin", data=data_pb2.DataSpec(uris=[str(data)], shards=6)
    )
    with stranger(channel) as (session, _):
        job_id = submitted(jobs, spec).job_id
        compute = heard(session, "compute")
        task = compute.tasks[0]
        key = worker_pb2.TaskKey(
            job_id=job_id, round=compute.round, lo=task.lo, hi=task.hi, attempt=task.attempt
        )
        partial = worker_pb2.Partial(task=key, rows=1)
        spoil(partial.bundle)
        session.say(worker_pb2.WorkerMessage(partial=partial).SerializeToString())
        session.stop_talking()
        session.end()
    for _ in events(jobs, job_id):
        pass
    response: job_service_pb2.GetJobResponse = jobs.GetJob(job_service_pb2.GetJobRequest(job_id=job_id))
    return response.job


def test_a_sum_that_was_damaged_on_its_way_is_computed_again(
    channel: grpc.Channel, jobs: Any, breast_cancer: Path
) -> None:
    job = answered_badly(channel, jobs, breast_cancer, damaged)
    reasons = [
        event.task_retried.reason for event in events(jobs, job.job_id) if event.HasField("task_retried")
    ]
    assert job.state == COMPLETED
    assert reasons[0] == "checksum"
    undisturbed = Spec()
    undisturbed.CopyFrom(job.spec)
    assert finished(jobs, undisturbed).parameters_sha256 == job.parameters_sha256


def test_a_sum_of_something_else_fails_the_job_and_not_the_coordinator(
    channel: grpc.Channel, jobs: Any, breast_cancer: Path, spec: Spec
) -> None:
    job = answered_badly(channel, jobs, breast_cancer, foreign)
    assert job.state == job_pb2.JobState.JOB_STATE_FAILED
    assert re.match(r"the sum of shards \d+(-\d+)? does not fit the others: ", job.reason)
    assert finished(jobs, spec).state == COMPLETED


def test_a_second_coordinator_on_the_port_is_refused(cluster: LocalCluster, tmp_path: Path) -> None:
    port = cluster.address.rpartition(":")[2]
    command = [sys.executable, "-m", "gradloom_coordinator", "--port", port, "--metrics-port", "-1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"error: port: {port} is in use; choose another, or 0 for any free port"
    )
    assert cluster.coordinator.poll() is None

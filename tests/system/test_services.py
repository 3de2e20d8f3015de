"""What a coordinator answers on its sockets, to anybody: a stock gRPC client, Prometheus, a stranger.

The words on the wire are the subject here, so raw stubs speak them and no client of ours stands between.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from gradloom import LocalCluster
from gradloom.v1 import (
    data_pb2,
    job_pb2,
    job_service_pb2,
    job_service_pb2_grpc,
)

pytestmark = pytest.mark.system

LIMIT_S = 60.0
MIB = 1024 * 1024
SERVICES = ("gradloom.v1.JobService", "gradloom.v1.ClusterService", "gradloom.v1.WorkerService")
SESSION = "/gradloom.v1.WorkerService/Session"
BULK = "/gradloom.v1.WorkerService/Bulk"
COMPLETED = job_pb2.JobState.JOB_STATE_COMPLETED

Spec = job_pb2.JobSpec


@pytest.fixture(scope="module")
def channel(cluster: LocalCluster) -> Iterator[grpc.Channel]:
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(cluster.address, options=options) as channel:
        yield channel


@pytest.fixture(scope="module")
def jobs(channel: grpc.Channel) -> Any:
    return job_service_pb2_grpc.JobServiceStub(channel)


@pytest.fixture
def spec(breast_cancer: Path) -> Spec:
    """A job of a moment."""
    return Spec(algorithm="logistic", data=data_pb2.DataSpec(uris=[str(breast_cancer)]))


@pytest.fixture
def long_job(jobs: Any, slow_data: Path) -> Iterator[str]:
    """The id of a job that would go on for minutes; it is cancelled in the end."""
    data = data_pb2.DataSpec(uris=[str(slow_data)], target="60", shards=8)
    settings = {"optimizer": "gradient_descent", "max_rounds": "100000", "tolerance": "0"}
    job_id = submitted(jobs, Spec(algorithm="logistic", data=data, settings=settings)).job_id
    yield job_id
    jobs.CancelJob(job_service_pb2.CancelJobRequest(job_id=job_id), timeout=LIMIT_S)


def submitted(jobs: Any, spec: Spec, token: str = "") -> job_pb2.Job:
    request = job_service_pb2.SubmitJobRequest(spec=spec, client_token=token)
    response: job_service_pb2.SubmitJobResponse = jobs.SubmitJob(request, timeout=LIMIT_S)
    return response.job


def events(jobs: Any, job_id: str, after: int = 0) -> Iterator[job_pb2.JobEvent]:
    request = job_service_pb2.WatchJobRequest(job_id=job_id, after_sequence=after)
    call = jobs.WatchJob(request, timeout=LIMIT_S)
    try:
        for response in call:
            yield response.event
    finally:
        call.cancel()


def finished(jobs: Any, spec: Spec) -> job_pb2.Job:
    """Submit a job, follow it to its end, and look at it."""
    job_id = submitted(jobs, spec).job_id
    for _ in events(jobs, job_id):
        pass
    response: job_service_pb2.GetJobResponse = jobs.GetJob(job_service_pb2.GetJobRequest(job_id=job_id))
    return response.job


def refusal(call: Callable[[], object]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as refused:
        call()
    return refused.value


def violation(error: grpc.RpcError) -> tuple[str, str]:
    """Field and description of the BadRequest that a refusal carries."""
    request = error_details_pb2.BadRequest()
    assert any(detail.Unpack(request) for detail in rpc_status.from_call(error).details)
    (found,) = request.field_violations
    return found.field, found.description


# ---- what every gRPC tool expects


@pytest.mark.parametrize("service", ["", *SERVICES])
def test_health_is_serving(channel: grpc.Channel, service: str) -> None:
    request = health_pb2.HealthCheckRequest(service=service)
    answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=LIMIT_S)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_lists_the_services_and_describes_their_methods(channel: grpc.Channel) -> None:
    described = ProtoReflectionDescriptorDatabase(channel)
    assert {*SERVICES, "grpc.health.v1.Health"} <= set(described.get_services())
    file = described.FindFileContainingSymbol("gradloom.v1.JobService")
    assert file.name == "gradloom/v1/job_service.proto"
    assert "SubmitJob" in [method.name for method in file.service[0].method]


# ---- people's calls


def test_the_same_token_with_the_same_specification_is_the_same_job(jobs: Any, spec: Spec) -> None:
    first = submitted(jobs, spec, "once")
    again = submitted(jobs, spec, "once")
    other = submitted(jobs, spec, "twice")
    assert again.job_id == first.job_id != other.job_id
    spec.seed = 7
    error = refusal(lambda: submitted(jobs, spec, "once"))
    assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    assert "'once'" in error.details()
    assert first.job_id in error.details()


def test_without_a_token_every_call_makes_a_job(jobs: Any, spec: Spec) -> None:
    assert submitted(jobs, spec).job_id != submitted(jobs, spec).job_id


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        (Spec(algorithm="logistik"), "algorithm", "Did you mean 'logistic'?"),
        (Spec(settings={"l3": "1"}), "setting", "Did you mean 'l2'?"),
        (Spec(settings={"l2": "-1"}), "l2", "'-1' is not allowed"),
        (Spec(settings={"max_rounds": "many"}), "max_rounds", "'many' is not allowed"),
        (Spec(test_fraction=0.95), "test_fraction", "0.95 is not allowed; it must lie in [0, 0.9]"),
        (Spec(seed=2**63), "seed", f"{2**63} is not allowed"),
        (Spec(placement="nearby"), "placement", "'nearby' is not known"),
        (Spec(data=data_pb2.DataSpec(shards=2_000_000)), "shards", "2000000 is not allowed"),
        (Spec(data=data_pb2.DataSpec(uris=[""])), "data", "at least one file, glob or folder is needed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refused_specification_names_the_field(
    jobs: Any, spec: Spec, change: Spec, field: str, problem: str
) -> None:
    spec.MergeFrom(change)
    error = refusal(lambda: submitted(jobs, spec))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    said_field, said_problem = violation(error)
    assert said_field == field
    assert problem in said_problem
    assert error.details() == f"{said_field}: {said_problem}"


def test_a_watch_goes_on_after_any_event_without_a_gap(jobs: Any, spec: Spec) -> None:
    job_id = finished(jobs, spec).job_id
    whole = list(events(jobs, job_id))
    assert [event.sequence for event in whole] == list(range(1, len(whole) + 1))
    assert whole[-1].state_changed.state == COMPLETED
    for after in (1, len(whole) // 2, len(whole) - 1, len(whole)):
        assert list(events(jobs, job_id, after)) == whole[after:]


def test_a_watch_that_breaks_while_the_job_runs_is_taken_up_without_a_gap(jobs: Any, long_job: str) -> None:
    seen: list[int] = []
    for _ in range(4):
        watch = events(jobs, long_job, seen[-1] if seen else 0)
        seen += [next(watch).sequence for _ in range(10)]
        watch.close()
    assert seen == list(range(1, 41))


def test_there_is_no_model_before_the_job_has_completed(jobs: Any, long_job: str) -> None:
    next(event for event in events(jobs, long_job) if event.WhichOneof("kind") == "round_completed")
    request = job_service_pb2.GetModelRequest(job_id=long_job)
    error = refusal(lambda: list(jobs.GetModel(request)))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert f"job {long_job} has no model: it is running" in error.details()


def test_a_completed_job_cannot_be_cancelled_and_a_cancelled_one_can_again(
    jobs: Any, spec: Spec, long_job: str
) -> None:
    done = job_service_pb2.CancelJobRequest(job_id=finished(jobs, spec).job_id)
    error = refusal(lambda: jobs.CancelJob(done))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "has completed and can't be cancelled" in error.details()
    request = job_service_pb2.CancelJobRequest(job_id=long_job, reason="enough")
    for _ in range(2):
        job = jobs.CancelJob(request).job
        assert job.state == job_pb2.JobState.JOB_STATE_CANCELLED
        assert "enough" in job.reason


@pytest.mark.parametrize("method", ["GetJob", "WatchJob", "CancelJob", "GetModel"])
def test_a_job_that_is_not_there_is_not_found(jobs: Any, method: str) -> None:
    request = getattr(job_service_pb2, f"{method}Request")(job_id="logistic-0")
    answer = getattr(jobs, method)
    streaming = method in ("WatchJob", "GetModel")
    error = refusal(lambda: list(answer(request)) if streaming else answer(request))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert error.details() == "there is no job 'logistic-0'"


def test_a_message_over_the_limit_is_refused_and_the_coordinator_lives_on(jobs: Any, spec: Spec) -> None:
    huge = Spec()
    huge.CopyFrom(spec)
    huge.settings["l2"] = "0" * (65 * MIB)
    error = refusal(lambda: submitted(jobs, huge))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert finished(jobs, spec).state == COMPLETED


# ---- whoever comes as a worker


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
    words = worker_pb2.Hello(protocol_version=version, name="stranger", host="nowhere")
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
    stub = cluster_service_pb2_grpc.ClusterServiceStub(channel)
    request = cluster_service_pb2.ListWorkersRequest()
    return [worker.worker for worker in stub.ListWorkers(request, timeout=LIMIT_S).workers]


def test_another_protocol_version_is_refused(channel: grpc.Channel) -> None:
    with Conversation(channel, SESSION) as session:
        session.say(hello(version=99))
        code, details = session.end()
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert details == (
        f"protocol_version: the worker speaks 99, the coordinator {PROTOCOL_VERSION};"
        " install the same gradloom on both"
    )
    assert "stranger" not in worker_names(channel)


OTHER_VERSION = """
from gradloom_worker import __main__, runtime
runtime.PROTOCOL_VERSION = 99
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
    monkeypatch.setattr(servicers, "HELLO_TIMEOUT_S", 0.05)
    running = await server.start(CoordinatorSettings(port=0, data_dir=tmp_path))
    try:
        async with grpc.aio.insecure_channel(running.addresses.address) as channel:
            call = channel.stream_stream(SESSION)()
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
            assert await call.details() == "no Hello within 0.05 s"
        assert running.coordinator.links == {}
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
        assert bulk.end()[0] is grpc.StatusCode.OK
        session.end()
    assert "stranger" not in worker_names(channel)
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
    assert "stranger" not in worker_names(channel)
    assert finished(jobs, spec).state == COMPLETED


def test_bytes_that_are_no_message_end_the_session_and_nothing_else(
    channel: grpc.Channel, jobs: Any, spec: Spec
) -> None:
    with stranger(channel) as (session, _):
        session.say(b"\xff" * 100)
        assert session.end()[0] is not grpc.StatusCode.OK
    assert "stranger" not in worker_names(channel)
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


# ---- Prometheus


COORDINATOR_METRICS = {
    "gradloom_workers": "gauge",
    "gradloom_worker_up": "gauge",
    "gradloom_worker_heartbeat_age_seconds": "gauge",
    "gradloom_worker_inflight_tasks": "gauge",
    "gradloom_worker_throughput_rows_per_second": "gauge",
    "gradloom_worker_busy_seconds": "counter",
    "gradloom_tasks": "counter",
    "gradloom_task_retries": "counter",
    "gradloom_duplicate_results_dropped": "counter",
    "gradloom_jobs": "gauge",
    "gradloom_round": "gauge",
    "gradloom_loss": "gauge",
    "gradloom_rounds": "counter",
    "gradloom_round_seconds": "histogram",
}
WORKER_METRICS = {
    "gradloom_worker_time_seconds": "counter",
    "gradloom_worker_rows": "counter",
    "gradloom_worker_tasks": "counter",
    "gradloom_shard_load_seconds": "histogram",
    "gradloom_worker_shard_bytes": "gauge",
    "process_resident_memory_bytes": "gauge",
}


def page(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=LIMIT_S) as answer:
        text: str = answer.read().decode()
    return text


def families(address: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(page(address))}


def value(found: dict[str, Metric], family: str, suffix: str = "", **labels: str) -> float:
    """The sum of a family's samples that have these labels; 0 if there is none."""
    samples = found[family].samples
    return sum(s.value for s in samples if s.name == family + suffix and labels.items() <= s.labels.items())


def counts(found: dict[str, Metric]) -> dict[tuple[str, str], float]:
    """Everything that may only go up."""
    return {
        (sample.name, str(sorted(sample.labels.items()))): sample.value
        for family in found.values()
        if family.type in ("counter", "histogram")
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def metrics_addresses(cluster: LocalCluster) -> list[str]:
    with cluster.client() as client:
        return [cluster.metrics_address, *(worker.metrics_address for worker in client.workers())]


def test_the_coordinator_tells_how_a_running_job_stands(
    cluster: LocalCluster, jobs: Any, long_job: str
) -> None:
    rounds = (event for event in events(jobs, long_job) if event.HasField("round_completed"))
    running = {"state": "running"}
    # gauges of jobs are set by the clock, a few times a second: rounds pass until they show
    before = next(
        m for _ in rounds if value(m := families(cluster.metrics_address), "gradloom_jobs", **running)
    )
    assert {name: before[name].type for name in COORDINATOR_METRICS} == COORDINATOR_METRICS
    assert value(before, "gradloom_jobs", **running) == 1
    assert value(before, "gradloom_worker_up") == 2
    assert 0 < value(before, "gradloom_loss", job_id=long_job, split="train") < 1
    for _ in range(5):
        last = next(rounds).round_completed.round
    after = families(cluster.metrics_address)
    done = {"job_id": long_job}
    assert value(after, "gradloom_round", **done) >= last
    assert (
        value(after, "gradloom_rounds", "_total", **done)
        >= value(before, "gradloom_rounds", "_total", **done) + 5
    )
    assert value(after, "gradloom_tasks", "_total", outcome="succeeded") >= 2 * last
    assert value(after, "gradloom_worker_busy_seconds", "_total") > value(
        before, "gradloom_worker_busy_seconds", "_total"
    )
    assert all(counts(after)[key] >= count for key, count in counts(before).items())


def test_a_worker_tells_where_its_time_goes(cluster: LocalCluster, jobs: Any, long_job: str) -> None:
    rounds = (event for event in events(jobs, long_job) if event.HasField("round_completed"))
    next(rounds)
    address = metrics_addresses(cluster)[1]
    before = families(address)
    for _ in range(5):
        next(rounds)
    after = families(address)
    assert {name: after[name].type for name in WORKER_METRICS} == WORKER_METRICS
    assert value(after, "gradloom_worker_rows", "_total") > value(before, "gradloom_worker_rows", "_total")
    phases = {s.labels["phase"] for s in after["gradloom_worker_time_seconds"].samples if "phase" in s.labels}
    assert phases == {"queue", "load", "compute", "encode"}
    assert value(after, "gradloom_worker_shard_bytes") >= 50_000 * 60 * 4
    assert all(counts(after)[key] >= count for key, count in counts(before).items())


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not here (Debian package: prometheus)"
)
def test_prometheus_finds_nothing_wrong_with_the_metrics(
    cluster: LocalCluster, jobs: Any, long_job: str
) -> None:
    next(event for event in events(jobs, long_job) if event.HasField("round_completed"))
    for address in metrics_addresses(cluster):
        done = subprocess.run(
            ["promtool", "check", "metrics"],
            input=page(address),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")

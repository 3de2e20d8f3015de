"""A coordinator that says what a test tells it to, on a real socket, without workers or training."""

# ruff: noqa: N802 - the protocol names the methods

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import grpc
import pytest
from grpc_status import rpc_status

from gradloom.client import Client
from gradloom.errors import GradloomError, NotFound
from gradloom.jobs import (
    AlgorithmDescription,
    JobEvent,
    JobState,
    JobView,
    RoundCompleted,
    StateChanged,
    WorkerShare,
    WorkerState,
    WorkerView,
)
from gradloom.specs import DataSpec, JobSpec
from gradloom.status import to_status
from gradloom.traces import JobTrace
from gradloom.v1 import (
    cluster_service_pb2,
    cluster_service_pb2_grpc,
    job_service_pb2,
    job_service_pb2_grpc,
)
from gradloom.wire import jobs as wire
from gradloom.wire.cluster import worker_to_proto
from gradloom.wire.traces import head_to_proto, spans_to_proto

SPEC = JobSpec("logistic", DataSpec(("/data/train.parquet",), target="late"))
SHARES = (WorkerShare("worker-0", 8, 6000, 0.75, 0, True), WorkerShare("worker-1", 8, 4000, 0.5, 1, False))


def round_done(number: int, *, loss: float = 0.5, workers: int = 2) -> RoundCompleted:
    return RoundCompleted(number, 20, loss, 0.1, None, None, 0.01, 1e6, workers, 2.5)


def numbered(*happenings: object) -> list[JobEvent]:
    return [JobEvent(i, 1.7e9 + i, what) for i, what in enumerate(happenings, start=1)]


@dataclass
class FakeCluster(job_service_pb2_grpc.JobServiceServicer, cluster_service_pb2_grpc.ClusterServiceServicer):
    """Plays a script: which jobs there are, what happens to them, and how the network behaves."""

    address: str = ""
    jobs: dict[str, JobView] = field(default_factory=dict)
    events: dict[str, list[JobEvent]] = field(default_factory=dict)
    workers: list[WorkerView] = field(default_factory=list)
    algorithms: list[AlgorithmDescription] = field(default_factory=list)
    model: bytes = b""
    traces: dict[str, JobTrace] = field(default_factory=dict)
    outcome: JobView | None = None
    """How submitted jobs end; None = they never do."""
    refusals: list[GradloomError] = field(default_factory=list)
    """The next unary calls are refused with these."""
    break_after: list[int] = field(default_factory=list)
    """The next watches break after so many events."""
    end_after: list[int] = field(default_factory=list)
    """The next watches end in good order after so many events."""
    cut_after_s: list[float] = field(default_factory=list)
    """The next watches that have nothing more to say are cut off after so long."""
    downloads_that_break: int = 0
    submitted: list[job_service_pb2.SubmitJobRequest] = field(default_factory=list)
    watched_after: list[int] = field(default_factory=list)
    cancelled: list[tuple[str, str]] = field(default_factory=list)
    updated: list[job_service_pb2.UpdateJobRequest] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def client(self, timeout_s: float = 10.0) -> Client:
        return Client(self.address, timeout_s=timeout_s)

    def add_job(self, view: JobView, *happenings: object) -> None:
        self.events[view.job_id] = numbered(*happenings)
        self.jobs[view.job_id] = view

    def SubmitJob(self, request, context):
        self.submitted.append(request)
        self._maybe_refuse(context)
        job_id = f"job-{len(self.jobs) + 1}"
        spec = wire.job_spec_from_proto(request.spec)
        view = replace(self.outcome or job_view(JobState.RUNNING), job_id=job_id, spec=spec)
        final = [StateChanged(view.state, view.reason)] if view.state.final else []
        self.add_job(view, StateChanged(JobState.RUNNING, ""), round_done(1), *final)
        return job_service_pb2.SubmitJobResponse(job=wire.job_to_proto(view))

    def GetJob(self, request, context):
        self._maybe_refuse(context)
        return job_service_pb2.GetJobResponse(job=wire.job_to_proto(self._found(request.job_id, context)))

    def ListJobs(self, request, context):
        self._maybe_refuse(context)
        return job_service_pb2.ListJobsResponse(jobs=[wire.job_to_proto(job) for job in self.jobs.values()])

    def CancelJob(self, request, context):
        self._maybe_refuse(context)
        self.cancelled.append((request.job_id, request.reason))
        view = replace(self._found(request.job_id, context), state=JobState.CANCELLED, reason=request.reason)
        self.jobs[request.job_id] = view
        return job_service_pb2.CancelJobResponse(job=wire.job_to_proto(view))

    def UpdateJob(self, request, context):
        self._maybe_refuse(context)
        self.updated.append(request)
        view = self._found(request.job_id, context)
        wanted = wire.job_spec_from_proto(request.spec)
        spec = replace(view.spec, **{path: getattr(wanted, path) for path in request.update_mask.paths})
        self.jobs[request.job_id] = replace(view, spec=spec, etag=f"{view.etag}+")
        return job_service_pb2.UpdateJobResponse(job=wire.job_to_proto(self.jobs[request.job_id]))

    def WatchJob(self, request, context):
        self.watched_after.append(request.after_sequence)
        self._found(request.job_id, context)
        events = self.events[request.job_id][request.after_sequence :]
        broken, ended = bool(self.break_after), bool(self.end_after)
        stop = self.break_after.pop(0) if broken else self.end_after.pop(0) if ended else None
        for event in events[:stop]:
            yield job_service_pb2.WatchJobResponse(event=wire.event_to_proto(event))
        if broken:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the connection broke")
        if request.until_now:
            return
        if not ended and not self.jobs[request.job_id].state.final:
            if self.cut_after_s:
                self.stopping.wait(self.cut_after_s.pop(0))
                context.abort(grpc.StatusCode.UNAVAILABLE, "the connection was idle")
            context.add_callback(self.stopping.set)  # a watch that is left, or at its deadline, ends
            self.stopping.wait(30)

    def GetTrace(self, request, context):
        self._found(request.job_id, context)
        if request.job_id not in self.traces:
            error = NotFound(f"there is no trace of job {request.job_id}")
            context.abort_with_status(rpc_status.to_status(to_status(error)))
        trace = self.traces[request.job_id]
        yield job_service_pb2.GetTraceResponse(head=head_to_proto(trace.head))
        yield spans_to_proto(trace.rounds, trace.tasks)

    def GetModel(self, request, context):
        self._found(request.job_id, context)
        for start in range(0, len(self.model), 100):
            yield job_service_pb2.GetModelResponse(chunk=self.model[start : start + 100])
            if self.downloads_that_break:
                self.downloads_that_break -= 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "the connection broke")

    def ListAlgorithms(self, request, context):
        algorithms = [wire.algorithm_to_proto(one) for one in self.algorithms]
        return job_service_pb2.ListAlgorithmsResponse(algorithms=algorithms)

    def ListWorkers(self, request, context):
        workers = [worker_to_proto(worker) for worker in self.workers]
        return cluster_service_pb2.ListWorkersResponse(workers=workers)

    def _maybe_refuse(self, context):
        if self.refusals:
            context.abort_with_status(rpc_status.to_status(to_status(self.refusals.pop(0))))

    def _found(self, job_id, context):
        if job_id not in self.jobs:
            context.abort_with_status(
                rpc_status.to_status(to_status(NotFound(f"there is no job {job_id!r}")))
            )
        return self.jobs[job_id]


def job_view(state: JobState = JobState.COMPLETED, reason: str = "", job_id: str = "job-1") -> JobView:
    return JobView(
        job_id=job_id,
        spec=SPEC,
        state=state,
        reason=reason,
        created_at=1.7e9,
        rounds=12,
        max_rounds=20,
        loss=0.25,
        scores={"accuracy": 0.9375},
        seconds=1.5,
        rows_per_second=1e6,
        rows=10_000,
        shards=16,
        retries=1,
        parameters_sha256="ab" * 32 if state is JobState.COMPLETED else "",
        workers=SHARES,
    )


def worker_view(name: str = "worker-0") -> WorkerView:
    return WorkerView(
        name, WorkerState.IDLE, "host-a", 42, 2.0, 2**33, "0.1.0", 0.25, 0, 8, 6000, 1e6, 9.0, ""
    )


@pytest.fixture
def fake_cluster() -> Iterator[FakeCluster]:
    cluster = FakeCluster()
    server = grpc.server(ThreadPoolExecutor(max_workers=8))
    job_service_pb2_grpc.add_JobServiceServicer_to_server(cluster, server)
    cluster_service_pb2_grpc.add_ClusterServiceServicer_to_server(cluster, server)
    cluster.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield cluster
    cluster.stopping.set()
    server.stop(None).wait(10)


@pytest.fixture
def make_job() -> Callable[..., JobView]:
    return job_view


@pytest.fixture
def make_worker() -> Callable[..., WorkerView]:
    return worker_view

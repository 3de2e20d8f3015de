"""The Python client: submit a job, follow it, fetch its model.

Synchronous, and safe to use from several threads. A call that finds the cluster away is tried again for a while;
a broken event stream goes on after the last event that was seen. Whatever goes wrong is raised as a
GradloomError. No file is read here and no array is touched: workers read the data, a model comes as bytes.
"""

import math
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from google.protobuf.field_mask_pb2 import FieldMask

from gradloom.connection import Connection
from gradloom.errors import InvalidInput, JobCancelled, JobFailed, Unavailable
from gradloom.faults import Fault, check_fault
from gradloom.jobs import AlgorithmDescription, JobEvent, JobState, JobView, WorkerView
from gradloom.settings import DEFAULT_PORT
from gradloom.specs import DataSpec, JobSpec, check_scheduling, check_spec
from gradloom.v1 import cluster_service_pb2, job_service_pb2
from gradloom.wire import jobs as wire
from gradloom.wire.faults import fault_to_proto

if TYPE_CHECKING:
    from gradloom.models import Model

DEFAULT_ADDRESS = f"localhost:{DEFAULT_PORT}"
DOWNLOAD_TIMEOUT_S = 600.0


class Client:
    """A connection to a cluster; a context manager.

    ``address`` is the coordinator's ``host:port``. ``timeout_s`` bounds each call, and how long a broken event
    stream may stay broken; a stream itself lasts as long as its job.
    """

    def __init__(self, address: str = DEFAULT_ADDRESS, *, timeout_s: float = 30.0) -> None:
        self._connection = Connection(address, timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.address!r})"

    @property
    def address(self) -> str:
        """The coordinator's ``host:port``."""
        return self._connection.address

    def close(self) -> None:
        """End all calls and the connection; jobs go on. Closing twice does nothing."""
        self._connection.close()

    def submit(
        self,
        algorithm: str,
        *,
        data: str | Sequence[str],
        target: str | None = None,
        features: Sequence[str] = (),
        weight: str | None = None,
        format: str | None = None,  # noqa: A002 - the word that people look for
        shards: int = 0,
        test_fraction: float = 0.0,
        seed: int = 0,
        placement: str = "",
        synchrony: str = "",
        speculation: bool = True,
        share_weight: float = 1.0,
        required_labels: Mapping[str, str] | None = None,
        settings: Mapping[str, object] | None = None,
        client_token: str | None = None,
    ) -> "Job":
        """Queue a training job and return at once.

        ``data`` is one or more files, globs or folders; relative paths are made absolute, because workers run
        elsewhere. ``settings`` are the algorithm's. ``synchrony`` says when a round is over (see
        ``gradloom.synchrony``), ``speculation`` whether tasks that take too long are copied, ``share_weight`` the
        job's share of the workers beside other jobs, ``required_labels`` which workers may compute for it. The same
        ``client_token`` with the same specification names the same job, so that submitting again
        after a lost answer is safe; without one a random token is made.

        Raises InvalidInput naming the field, AlreadyExists if the token stands for another specification,
        Overloaded if too many jobs wait, Unavailable if the cluster can't be reached.
        """
        source = DataSpec(
            uris=absolute_uris(data),
            target=target or "",
            features=_column_names(features),
            weight=weight or "",
            format=format or "",
            shards=shards,
        )
        texts = {name: setting_text(name, value) for name, value in (settings or {}).items()}
        spec = JobSpec(
            algorithm,
            source,
            texts,
            test_fraction,
            seed,
            placement,
            synchrony=synchrony,
            share_weight=share_weight,
            required_labels=required_labels or {},
            speculation="on" if speculation else "off",
        )
        return self.submit_spec(spec, client_token=client_token)

    def submit_spec(self, spec: JobSpec, *, client_token: str | None = None) -> "Job":
        """Queue a job whose specification is ready; its paths are sent as they are. Raises as ``submit``."""
        check_spec(spec)
        request = job_service_pb2.SubmitJobRequest(
            spec=wire.job_spec_to_proto(spec), client_token=client_token or uuid.uuid4().hex
        )
        response: job_service_pb2.SubmitJobResponse = self._connection.call(
            self._connection.jobs.SubmitJob, request
        )
        return Job(self._connection, response.job.job_id)

    def job(self, job_id: str) -> "Job":
        """A job that exists. Raises NotFound."""
        job = Job(self._connection, job_id)
        job.view()
        return job

    def jobs(self) -> list[JobView]:
        """All jobs, the newest first."""
        response: job_service_pb2.ListJobsResponse = self._connection.call(
            self._connection.jobs.ListJobs, job_service_pb2.ListJobsRequest()
        )
        return [wire.job_from_proto(job) for job in response.jobs]

    def workers(self) -> list[WorkerView]:
        """The workers that are connected, by name."""
        response: cluster_service_pb2.ListWorkersResponse = self._connection.call(
            self._connection.cluster.ListWorkers, cluster_service_pb2.ListWorkersRequest()
        )
        return [wire.worker_from_proto(worker) for worker in response.workers]

    def inject(self, worker: str, fault: Fault) -> float:
        """Have a worker do harm to itself; when it was told, by the clock of the jobs' events.

        Raises NotFound, InvalidInput, and Conflict if the worker was not started with ``--allow-chaos``.
        """
        check_fault(fault)
        request = cluster_service_pb2.InjectFaultRequest(worker=worker, fault=fault_to_proto(fault))
        response: cluster_service_pb2.InjectFaultResponse = self._connection.call(
            self._connection.cluster.InjectFault, request
        )
        return response.at.ToNanoseconds() / 1e9

    def algorithms(self) -> list[AlgorithmDescription]:
        """The algorithms that the coordinator knows."""
        response: job_service_pb2.ListAlgorithmsResponse = self._connection.call(
            self._connection.jobs.ListAlgorithms, job_service_pb2.ListAlgorithmsRequest()
        )
        return [wire.algorithm_from_proto(one) for one in response.algorithms]


class Job:
    """A light handle of one job: each method asks the coordinator."""

    def __init__(self, connection: Connection, job_id: str) -> None:
        self._connection = connection
        self.id = job_id

    def __repr__(self) -> str:
        return f"Job({self.id!r} at {self._connection.address})"

    def view(self) -> JobView:
        """The job as it stands. Raises NotFound."""
        response: job_service_pb2.GetJobResponse = self._connection.call(
            self._connection.jobs.GetJob, job_service_pb2.GetJobRequest(job_id=self.id)
        )
        return wire.job_from_proto(response.job)

    def cancel(self, reason: str = "") -> JobView:
        """End the job; a cancelled one stays cancelled. Raises Conflict if it has completed or failed."""
        response: job_service_pb2.CancelJobResponse = self._connection.call(
            self._connection.jobs.CancelJob, job_service_pb2.CancelJobRequest(job_id=self.id, reason=reason)
        )
        return wire.job_from_proto(response.job)

    def update(
        self,
        *,
        placement: str | None = None,
        synchrony: str | None = None,
        speculation: bool | None = None,
        share_weight: float | None = None,
        etag: str = "",
    ) -> JobView:
        """Change how the job is scheduled, from its next round on; None = as it is. It is durable when this returns.

        With the ``etag`` of a view the change is refused if the job was changed after that view. Raises InvalidInput,
        Conflict if the job has ended, Outdated for an old etag, Unavailable if the change can't be kept now.
        """
        given = {
            "placement": placement,
            "synchrony": synchrony,
            "speculation": speculation,
            "share_weight": share_weight,
        }
        wanted = JobSpec(
            "",
            DataSpec(()),
            placement=placement or "",
            synchrony=synchrony or "",
            speculation="off" if speculation is False else "on",
            share_weight=1.0 if share_weight is None else share_weight,
        )
        check_scheduling(wanted)
        request = job_service_pb2.UpdateJobRequest(
            job_id=self.id,
            spec=wire.job_spec_to_proto(wanted),
            update_mask=FieldMask(paths=[name for name, value in given.items() if value is not None]),
            etag=etag,
        )
        response: job_service_pb2.UpdateJobResponse = self._connection.call(
            self._connection.jobs.UpdateJob, request
        )
        return wire.job_from_proto(response.job)

    def watch(self, after_sequence: int = 0, timeout_s: float | None = None) -> Iterator[JobEvent]:
        """The job's events in order, each once, as they happen; follows it to its end, or for ``timeout_s``.

        A broken stream is taken up again after the last event seen. Raises Unavailable when it stays broken for
        the client's ``timeout_s``, NotFound, and EventsGone if those events are no longer kept.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        return self._connection.events(self.id, after_sequence, deadline)

    def wait(self, timeout_s: float | None = None) -> JobView:
        """Follow the job to its end, or for ``timeout_s``. Raises Unavailable if it has not ended by then."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        seen = 0
        while True:
            for event in self._connection.events(self.id, seen, deadline):
                seen = event.sequence
            view = self.view()
            if view.state.final:
                return view
            # a coordinator that died may have shown an end that its successor does not know of
            if deadline is not None and time.monotonic() >= deadline:
                raise Unavailable(f"job {self.id} has not ended within {timeout_s:g} s; it is {view.state}")

    def result(self, timeout_s: float | None = None) -> "Model":
        """The trained model, once the job has ended; waits as ``wait`` does.

        Raises JobFailed or JobCancelled with the job's reason, else as ``model``.
        """
        raise_unless_completed(self.wait(timeout_s))
        return self.model()

    def model(self) -> "Model":
        """The model of a completed job; the download may take ten minutes.

        Raises Conflict if the job has none (yet), saying why, and ModelFileError if what came is no model.
        """
        from gradloom.models import model_from_bytes

        request = job_service_pb2.GetModelRequest(job_id=self.id)
        parts = self._connection.download(self._connection.jobs.GetModel, request, DOWNLOAD_TIMEOUT_S)
        return model_from_bytes(b"".join(part.chunk for part in parts))


def raise_unless_completed(view: JobView) -> None:
    """Raise JobFailed or JobCancelled, with the job's reason, for a job that has ended without a model."""
    if view.state is JobState.COMPLETED:
        return
    kind = JobCancelled if view.state is JobState.CANCELLED else JobFailed
    raise kind(f"job {view.job_id} {view.state}: {view.reason or 'no reason was given'}")


def absolute_uris(data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    """Relative and ``~`` paths made absolute; anything with a scheme stays as it is."""
    given = [data] if isinstance(data, str | os.PathLike) else data
    return tuple(_absolute(os.fspath(uri)) for uri in given)


def setting_text(name: str, value: object) -> str:
    """A setting as the text that algorithms read: ``true``, ``none``, ``0.01``, ``adam``. Raises InvalidInput."""
    item = getattr(value, "item", None)
    if item is not None and getattr(value, "ndim", None) == 0:  # a numpy scalar
        value = item()
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case str():
            return value
        case int():
            return repr(int(value))
        case float() if math.isfinite(value):
            return repr(float(value))
    raise InvalidInput(name, f"{value!r} is not allowed; a finite number, a text, true, false or none is")


def _absolute(uri: str) -> str:
    # "" is left for check_spec to refuse: as a path it would mean the current folder.
    if not uri or "://" in uri or "::" in uri:
        return uri
    return os.path.abspath(os.path.expanduser(uri))  # noqa: PTH100, PTH111 - pathlib keeps ".." and loses "/*"


def _column_names(features: Sequence[str]) -> tuple[str, ...]:
    if isinstance(features, str):
        raise InvalidInput("features", f"{features!r} is one text; a list of column names is needed")
    return tuple(features)

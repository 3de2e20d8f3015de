"""The Python client: submit a job, follow it, fetch its model.

Synchronous, and safe to use from several threads. A call that finds the cluster away is tried again for a while;
a broken event stream goes on after the last event that was seen. Whatever goes wrong is raised as a
GradloomError. No file is read here and no array is touched: workers read the data, a model comes as bytes.
"""

import getpass
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from gradloom.callers import MAX_AUDIT, AuditEntry, CallerView
from gradloom.connection import Connection
from gradloom.errors import InvalidInput
from gradloom.faults import Fault, check_fault
from gradloom.handles import Job, raise_unless_completed
from gradloom.jobs import AlgorithmDescription, JobEvent, JobView, WorkerView
from gradloom.settings import DEFAULT_PORT, Access, access_from_environment
from gradloom.specs import DataSpec, JobSpec, check_spec, setting_text
from gradloom.tls import TlsFiles
from gradloom.v1 import cluster_service_pb2, job_service_pb2
from gradloom.watching import ClusterStatus, ClusterView
from gradloom.wire import jobs as wire
from gradloom.wire.access import audit_from_proto, caller_from_proto
from gradloom.wire.cluster import worker_from_proto
from gradloom.wire.faults import fault_to_proto
from gradloom.wire.times import get_time

if TYPE_CHECKING:
    from gradloom.uploading import UploadedData

__all__ = ["Client", "Job", "absolute_uris", "raise_unless_completed"]

DEFAULT_ADDRESS = f"localhost:{DEFAULT_PORT}"
TRANSFER_TIMEOUT_S = 600.0


class Client:
    """A connection to a cluster; a context manager.

    ``address`` is the coordinator's ``host:port``, or several with commas between, of which one leads. ``timeout_s``
    bounds each call, and how long a broken event stream may stay broken; a stream itself lasts as long as its job.
    ``upload_uri`` is a folder (a path, s3://, ...)
    that this process can write to and all workers can read: ``upload`` then puts data there itself, instead of
    sending it to the coordinator. ``user`` is who is said to have changed what; None = whom this process belongs to.

    ``tls`` names the files of mutual TLS, ``token`` is shown with every call, and ``insecure`` lets plain text leave
    this machine; a cluster that uses TLS knows its users by their certificates. ``from_environment`` finds all of it.

    Raises InvalidInput where plain text would leave this machine, or a file of TLS is no good. A copy of a client is
    the client itself; it can't be pickled.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout_s: float = 30.0,
        upload_uri: str = "",
        user: str | None = None,
        tls: TlsFiles | None = None,
        token: str = "",
        insecure: bool = False,
    ) -> None:
        access = Access(tls, token, insecure)
        self._connection = Connection(address, timeout_s, _this_user() if user is None else user, access)
        self._upload_uri = upload_uri and _absolute(upload_uri)

    @classmethod
    def from_environment(
        cls, address: str = DEFAULT_ADDRESS, *, timeout_s: float = 30.0, user: str | None = None
    ) -> Self:
        """A client with the files and the token that ``GRADLOOM_TLS_CA``, ``GRADLOOM_TOKEN`` and so on name."""
        access = access_from_environment()
        return cls(
            address,
            timeout_s=timeout_s,
            user=user,
            tls=access.tls,
            token=access.token,
            insecure=access.insecure,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.address!r})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

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
        data: "str | Sequence[str] | UploadedData",
        target: str | None = None,
        features: Sequence[str] = (),
        weight: str | None = None,
        format: str | None = None,  # noqa: A002 - the word that people look for
        shards: int = 0,
        test_fraction: float = 0.0,
        seed: int = 0,
        placement: str = "",
        synchrony: str = "",
        codec: str = "",
        downlink: str = "",
        speculation: bool = True,
        share_weight: float = 1.0,
        required_labels: Mapping[str, str] | None = None,
        settings: Mapping[str, object] | None = None,
        client_token: str | None = None,
    ) -> Job:
        """Queue a training job and return at once.

        ``data`` is one or more files, globs or folders; relative paths are made absolute, because workers run
        elsewhere. Or what ``upload`` returned, whose target and weights are then the job's. ``settings`` are the
        algorithm's. ``codec`` says how gradients travel and ``downlink`` how parameters do (see docs/compression.md),
        ``synchrony`` when a round is over (see ``gradloom.synchrony``), ``speculation`` whether tasks that take too
        long are copied, ``share_weight`` the job's share of the workers beside other jobs, ``required_labels`` which
        workers may compute for it. The same ``client_token`` with the same specification
        names the same job, so that submitting again after a lost answer is safe; without one a random token is made.

        Raises InvalidInput naming the field, AlreadyExists if the token stands for another specification,
        Overloaded if too many jobs wait, Unavailable if the cluster can't be reached.
        """
        source = _source(data, target, features, weight, format, shards)
        texts = {name: setting_text(name, value) for name, value in (settings or {}).items()}
        spec = JobSpec(
            algorithm,
            source,
            texts,
            test_fraction,
            seed,
            placement,
            synchrony=synchrony,
            codec=codec,
            downlink=downlink,
            share_weight=share_weight,
            required_labels=required_labels or {},
            speculation="on" if speculation else "off",
        )
        return self.submit_spec(spec, client_token=client_token)

    def upload(
        self,
        X: object,
        y: object = None,
        sample_weight: object = None,
        feature_names: Sequence[str] | None = None,
    ) -> "UploadedData":
        """Put rows that are in memory where workers can read them; a context manager that removes them again.

        X (n, d): numbers, as an array, a data frame (its columns give the names) or a scipy.sparse matrix. y (n,):
        numbers or text. sample_weight (n,): numbers. They stay until ``delete``, or until no job has used them
        for an hour. Raises InvalidInput naming the argument, Overloaded if the coordinator has no room for them,
        Unavailable.
        """
        from gradloom.uploading import write_and_send, write_beside, writing

        write = writing(X, y, sample_weight, feature_names)
        if self._upload_uri:
            return write_beside(self._upload_uri, write)
        return write_and_send(write, self._send)

    def _send(self, chunks: Callable[[], Iterator[bytes]]) -> tuple[str, Callable[[], None]]:
        """Send a file to the coordinator; its URI there, and how to delete it."""
        request = job_service_pb2.UploadRequest
        response: job_service_pb2.UploadResponse = self._connection.send(
            self._connection.jobs.Upload,
            lambda: (request(chunk=chunk) for chunk in chunks()),
            TRANSFER_TIMEOUT_S,
        )
        deletion = job_service_pb2.DeleteUploadRequest(upload_id=response.upload_id)
        return response.uri, lambda: self._connection.call(self._connection.jobs.DeleteUpload, deletion)

    def submit_spec(self, spec: JobSpec, *, client_token: str | None = None) -> Job:
        """Queue a job whose specification is ready; its paths are sent as they are. Raises as ``submit``."""
        check_spec(spec)
        request = job_service_pb2.SubmitJobRequest(
            spec=wire.job_spec_to_proto(spec), client_token=client_token or uuid.uuid4().hex
        )
        response: job_service_pb2.SubmitJobResponse = self._connection.call(
            self._connection.jobs.SubmitJob, request
        )
        return Job(self._connection, response.job.job_id)

    def job(self, job_id: str) -> Job:
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
        return list(self.status().workers)

    def status(self) -> ClusterStatus:
        """The workers that are connected, and what the coordinator says of itself."""
        response: cluster_service_pb2.ListWorkersResponse = self._connection.call(
            self._connection.cluster.ListWorkers, cluster_service_pb2.ListWorkersRequest()
        )
        return ClusterStatus(
            get_time(response.at) if response.HasField("at") else None,
            response.version,
            tuple(worker_from_proto(worker) for worker in response.workers),
        )

    def watch_cluster(self, timeout_s: float | None = None) -> Iterator[ClusterView]:
        """The workers and the jobs as they stand, again whenever something has changed; for ``timeout_s`` at most.

        At most four views a second, and one at least every two seconds. A broken stream is taken up again, also after
        a restart of the coordinator. Raises Unavailable when it stays broken for the client's ``timeout_s``.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        return self._connection.cluster_views(deadline)

    def watch_job(
        self, job_id: str, after_sequence: int = 0, timeout_s: float | None = None
    ) -> Iterator[JobEvent]:
        """A job's events, as ``Job.watch`` has them, without a look at the job before. Raises NotFound too."""
        return Job(self._connection, job_id).watch(after_sequence, timeout_s)

    def inject(self, worker: str, fault: Fault) -> float:
        """Have a worker do harm to itself; when it was told, by the clock of the jobs' events.

        Raises NotFound, InvalidInput, and Conflict if the worker was not started with ``--allow-chaos``.
        """
        check_fault(fault)
        request = cluster_service_pb2.InjectFaultRequest(worker=worker, fault=fault_to_proto(fault))
        response: cluster_service_pb2.InjectFaultResponse = self._connection.call(
            self._connection.cluster.InjectFault, request
        )
        return get_time(response.at)

    def drain(self, worker: str, reason: str = "") -> None:
        """Have a worker finish what it computes and leave. Raises NotFound."""
        request = cluster_service_pb2.DrainWorkerRequest(worker=worker, reason=reason)
        self._connection.call(self._connection.cluster.DrainWorker, request)

    def exclude(self, worker: str, reason: str = "") -> None:
        """Give a worker no work until it is readmitted, also across a restart. Raises NotFound, Unavailable."""
        request = cluster_service_pb2.ExcludeWorkerRequest(worker=worker, reason=reason)
        self._connection.call(self._connection.cluster.ExcludeWorker, request)

    def readmit(self, worker: str) -> None:
        """Let a worker in again that was excluded, by whomever. Raises NotFound, Unavailable."""
        request = cluster_service_pb2.ReadmitWorkerRequest(worker=worker)
        self._connection.call(self._connection.cluster.ReadmitWorker, request)

    def explain(self, subject: str) -> tuple[str, ...]:
        """Why a job (its id), a worker (its name) or a task (``JOB:SHARD``) is as it is, in sentences.

        Raises NotFound.
        """
        request = cluster_service_pb2.ExplainRequest(subject=subject)
        response: cluster_service_pb2.ExplainResponse = self._connection.call(
            self._connection.cluster.Explain, request
        )
        return tuple(response.sentences)

    def whoami(self) -> CallerView:
        """Whom the coordinator takes this client for, and in which role. Raises Unauthenticated."""
        response: cluster_service_pb2.WhoAmIResponse = self._connection.call(
            self._connection.cluster.WhoAmI, cluster_service_pb2.WhoAmIRequest()
        )
        return caller_from_proto(response)

    def audit(self, last: int = 100) -> list[AuditEntry]:
        """The last calls that changed something, or were to, the newest last; up to 10000.

        Raises InvalidInput, and NotAllowed for whoever is no admin.
        """
        if not 1 <= last <= MAX_AUDIT:
            raise InvalidInput("last", f"{last} is not allowed; it must lie in [1, {MAX_AUDIT}]")
        response: cluster_service_pb2.ListAuditResponse = self._connection.call(
            self._connection.cluster.ListAudit, cluster_service_pb2.ListAuditRequest(last=last)
        )
        return [audit_from_proto(record) for record in response.records]

    def algorithms(self) -> list[AlgorithmDescription]:
        """The algorithms that the coordinator knows."""
        response: job_service_pb2.ListAlgorithmsResponse = self._connection.call(
            self._connection.jobs.ListAlgorithms, job_service_pb2.ListAlgorithmsRequest()
        )
        return [wire.algorithm_from_proto(one) for one in response.algorithms]


def _this_user() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container may run under a number without a name
        name = "somebody"
    return f"{name}@{socket.gethostname()}".encode("ascii", "replace").decode()


def absolute_uris(data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    """Relative and ``~`` paths made absolute; anything with a scheme stays as it is."""
    given = [data] if isinstance(data, str | os.PathLike) else data
    return tuple(_absolute(os.fspath(uri)) for uri in given)


def _absolute(uri: str) -> str:
    # "" is left for check_spec to refuse: as a path it would mean the current folder.
    if not uri or "://" in uri or "::" in uri:
        return uri
    return os.path.abspath(os.path.expanduser(uri))  # noqa: PTH100, PTH111 - pathlib keeps ".." and loses "/*"


def _source(
    data: "str | Sequence[str] | UploadedData",
    target: str | None,
    features: Sequence[str],
    weight: str | None,
    format_: str | None,
    shards: int,
) -> DataSpec:
    """Where the data is; of an upload, with its own columns."""
    from gradloom.uploading import UploadedData

    if isinstance(data, UploadedData):
        target, weight = target or data.columns.target, weight or data.columns.weight
        data = data.uri
    return DataSpec(
        uris=absolute_uris(data),
        target=target or "",
        features=_column_names(features),
        weight=weight or "",
        format=format_ or "",
        shards=shards,
    )


def _column_names(features: Sequence[str]) -> tuple[str, ...]:
    if isinstance(features, str):
        raise InvalidInput("features", f"{features!r} is one text; a list of column names is needed")
    return tuple(features)

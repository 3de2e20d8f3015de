"""A whole cluster on this machine: one coordinator and some workers as child processes.

The services are started by name and never imported. Each child holds the reading end of a pipe whose writing end
lives in this process: when this process goes, however it goes, the pipe closes and the children leave by
themselves. Nothing is left running, no port is taken beforehand, no line of a child's log is lost.
"""

import importlib.util
import os
import queue
import shutil
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from gradloom.children import Child, stop
from gradloom.data.allowed import NOTHING
from gradloom.errors import Conflict, InvalidInput, Unavailable
from gradloom.tls import ClusterTls, TlsFiles, check_listening, reachable_from_here

if TYPE_CHECKING:
    from gradloom.client import Client

MAX_LOCAL_WORKERS = 64
_NEEDED = (
    "gradloom_coordinator",
    "gradloom_worker",
    "grpc_health",
    "grpc_reflection",
    "prometheus_client",
    "sqlalchemy",
    "threadpoolctl",
)


class LocalCluster:
    """A coordinator and ``workers`` workers on this machine; a context manager, or ``start()`` and ``close()``.

    ``port`` and ``metrics_port`` 0 = any free one. ``data_dir`` keeps jobs, checkpoints and logs; None = a
    temporary folder that ``close`` removes. ``start_timeout_s`` bounds the wait for all of them to be ready.
    ``allow_chaos``: operators may inject faults into the workers (``gradloom chaos``). ``durable`` false: jobs end
    with the coordinator, for a database and checkpoints take time that small jobs feel. ``data_allow``: jobs may read
    below these folders and prefixes alone (``/data``, ``s3://bucket/prefix``) and what clients send; None = everything.
    ``tls``: mutual TLS with these files (``ClusterTls.of`` a folder of ``gradloom certs init``); None = plain text,
    which only a loopback ``host`` or ``insecure`` allows. ``environment``: variables for all its processes, such as
    ``GRADLOOM_STORE_URL``; of this process's own ``GRADLOOM_...`` they get those that tune, and not those that say
    where another cluster keeps its jobs or who may enter it.

    A copy of it is the cluster itself. A process that was forked may use it, but does not close it.

    Raises InvalidInput for values out of bounds, Unavailable if a process does not start.
    """

    def __init__(
        self,
        workers: int = 4,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        data_dir: str | os.PathLike[str] | None = None,
        metrics_port: int = 0,
        start_timeout_s: float = 60.0,
        allow_chaos: bool = False,
        durable: bool = True,
        data_allow: Sequence[str] | None = None,
        tls: ClusterTls | None = None,
        insecure: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        check_listening(host, None if tls is None else tls.coordinator, insecure=insecure)
        if not 1 <= workers <= MAX_LOCAL_WORKERS:
            raise InvalidInput(
                "workers", f"{workers} is not allowed; it must lie in [1, {MAX_LOCAL_WORKERS}]"
            )
        for field, value in (("port", port), ("metrics_port", metrics_port)):
            if not 0 <= value <= 65535:
                raise InvalidInput(field, f"{value} is not allowed; it must lie in [0, 65535]")
        self._n_workers = workers
        self._host, self._port, self._metrics_port = host, port, metrics_port
        self._start_timeout_s = start_timeout_s
        self._allow_chaos = allow_chaos
        self._durable = durable
        self._tls, self._insecure = tls, insecure
        self._environment = dict(environment or {})
        self._data_allow = None if data_allow is None else ",".join(data_allow) or NOTHING
        self._wished_dir = data_dir
        self._remove_folder: Callable[[], object] = lambda: None
        self._owner = os.getpid()
        self._data_dir: Path | None = None
        self._coordinator: Child | None = None
        self._workers: list[Child] = []
        self._announcement: dict[str, str] = {}
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        where = self._announcement.get("address", "not started")
        return f"LocalCluster({self._n_workers} workers, {where})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def start(self) -> Self:
        """Start everything and wait until all workers have joined. Raises Unavailable."""
        if self._coordinator is not None:
            raise Conflict("this LocalCluster has been started already; make another one")
        _check_installed()
        deadline = time.monotonic() + self._start_timeout_s
        try:
            self._data_dir = self._make_data_dir()
            self._coordinator = self._start_coordinator(self._data_dir)
            self._announcement = self._coordinator.announced(deadline - time.monotonic())
            workers = [self._start_worker() for _ in range(self._n_workers)]
            for worker in workers:
                worker.announced(deadline - time.monotonic())
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Stop the workers, then the coordinator: SIGTERM, five seconds, SIGKILL. Closing twice does nothing."""
        if self._owner != os.getpid():
            return
        try:
            stop(self._workers)
        finally:
            try:
                stop([] if self._coordinator is None else [self._coordinator])
            finally:
                self._remove_folder()

    @property
    def address(self) -> str:
        """The coordinator's ``host:port`` for this machine; only once started."""
        return reachable_from_here(self._announced("address"))

    @property
    def metrics_address(self) -> str:
        """``host:port`` of the coordinator's Prometheus metrics for this machine; only once started."""
        return reachable_from_here(self._announced("metrics_address"))

    @property
    def data_dir(self) -> Path:
        """Where jobs, checkpoints and logs are; only once started."""
        if self._data_dir is None:
            raise Conflict("this LocalCluster has not been started")
        return self._data_dir

    @property
    def coordinator(self) -> "subprocess.Popen[bytes]":
        """The coordinator's process; only once started."""
        if self._coordinator is None:
            raise Conflict("this LocalCluster has not been started")
        return self._coordinator.process

    @property
    def workers(self) -> "tuple[subprocess.Popen[bytes], ...]":
        """The processes of the workers, dead ones included, in the order of their start."""
        return tuple(worker.process for worker in self._workers)

    def client(self) -> "Client":
        """A new client of this cluster, which puts data from memory where the workers read it; close it after use."""
        from gradloom.client import Client

        tls = None if self._tls is None else self._tls.client
        return Client(
            self.address, upload_uri=str(self.data_dir / "uploads"), tls=tls, insecure=self._insecure
        )

    def add_worker(self) -> "subprocess.Popen[bytes]":
        """Start one more worker and wait until it has joined. Raises Unavailable, InvalidInput."""
        if len(self._workers) >= MAX_LOCAL_WORKERS:
            raise InvalidInput("workers", f"{MAX_LOCAL_WORKERS} have been started, and no more are allowed")
        worker = self._start_worker()
        worker.announced(self._start_timeout_s)
        return worker.process

    def kill_coordinator(self) -> None:
        """End the coordinator with SIGKILL, as a crash would; jobs and workers wait for it to come back."""
        self.coordinator.kill()
        self.coordinator.wait()
        assert self._coordinator is not None
        self._coordinator.release()

    def restart_coordinator(self) -> None:
        """Start the coordinator again at the same address, on what the last one has left; SIGTERM for that one.

        Returns once it serves. Raises Unavailable.
        """
        assert self._coordinator is not None, "it has been started before"
        stop([self._coordinator])
        self._port, self._metrics_port = (
            int(address.rpartition(":")[2]) for address in (self.address, self.metrics_address)
        )
        self._coordinator = self._start_coordinator(self.data_dir)
        self._announcement = self._coordinator.announced(self._start_timeout_s)

    def wait_for_end(self, timeout_s: float | None = None) -> str | None:
        """Wait until a child ends, and name it (``coordinator``, ``worker-0``); None after ``timeout_s``.

        Each end is told once. Without a limit it waits for as long as all children live.
        """
        try:
            return self._ended.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def last_words(self, name: str) -> str:
        """The last lines that a child (``coordinator``, ``worker-0``) wrote to its log."""
        children = [*self._workers, *([] if self._coordinator is None else [self._coordinator])]
        return next(child.last_words() for child in children if child.name == name)

    def _announced(self, key: str) -> str:
        if not self._announcement:
            raise Conflict("this LocalCluster has not been started")
        return self._announcement[key]

    def _make_data_dir(self) -> Path:
        if self._wished_dir is None:
            folder = Path(tempfile.mkdtemp(prefix="gradloom-"))
            self._remove_folder = weakref.finalize(self, _remove, folder, self._owner)
        else:
            folder = Path(self._wished_dir).expanduser().absolute()
        try:
            (folder / "logs").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput("data_dir", f"{folder} can't be made: {error.strerror}") from error
        return folder

    def _start_coordinator(self, folder: Path) -> Child:
        arguments = [
            "--host",
            self._host,
            "--port",
            str(self._port),
            "--metrics-port",
            str(self._metrics_port),
        ]
        if not self._durable:
            arguments.append("--no-durable")
        arguments += self._allowing() + self._securing(None if self._tls is None else self._tls.coordinator)
        return self._spawn("coordinator", "gradloom_coordinator", [*arguments, "--data-dir", str(folder)])

    def _start_worker(self) -> Child:
        name = f"worker-{len(self._workers)}"
        arguments = ["--coordinator", self.address, "--name", name, "--metrics-port", "0"]
        if self._allow_chaos:
            arguments.append("--allow-chaos")
        arguments += self._allowing() + self._securing(None if self._tls is None else self._tls.worker)
        worker = self._spawn(name, "gradloom_worker", arguments)
        self._workers.append(worker)
        return worker

    def _allowing(self) -> list[str]:
        return [] if self._data_allow is None else ["--data-allow", self._data_allow]

    def _securing(self, files: TlsFiles | None) -> list[str]:
        if files is None:
            return ["--insecure"] if self._insecure else []
        return ["--tls-ca", str(files.ca), "--tls-cert", str(files.cert), "--tls-key", str(files.key)]

    def _spawn(self, name: str, module: str, arguments: Sequence[str]) -> Child:
        log = self.data_dir / "logs" / f"{name}.log"
        return Child(name, module, arguments, log, self._ended, self._environment)


def _remove(folder: Path, owner: int) -> None:
    """Remove a temporary folder; never from a process that was forked from the one that made it."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _check_installed() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise Unavailable(
            f"a local cluster needs {', '.join(missing)}, which is not installed; run: pip install 'gradloom[all]'"
        )

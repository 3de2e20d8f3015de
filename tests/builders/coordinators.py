"""Several coordinators on one PostgreSQL database, each with a folder of its own, and workers that know them all."""

import queue
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psycopg
from grpc_health.v1 import health_pb2, health_pb2_grpc

from builders.durable import until
from gradloom.children import Child, stop
from gradloom.client import Client, Job
from gradloom.credentials import Certificates, open_channel
from gradloom.jobs import JobEvent, RoundCompleted
from gradloom.tls import ClusterTls, TlsFiles

START_LIMIT_S = 60.0
TTL_S = 4.0


@dataclass(frozen=True)
class Access:
    """What everybody shows: certificates, and tokens of a file."""

    tls: ClusterTls
    tokens_file: Path
    worker_token: Path
    client_token: str


@dataclass
class Coordinators:
    """What runs, by name; ``url`` is the database. ``kept`` = where checkpoints go, empty = a folder beside them."""

    url: str
    folder: Path
    ttl_s: float = TTL_S
    kept: str = ""
    access: Access | None = None
    children: dict[str, Child] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    workers: list[Child] = field(default_factory=list)

    def start(self, name: str) -> None:
        """Start one, at the address that it had before; returns when it listens."""
        if name in self.children:
            self.children.pop(name).release()
        port = self.addresses.get(name, ":0").rpartition(":")[2]
        arguments = ["--lease", "--lease-ttl", str(self.ttl_s), "--store-url", self.url, "--port", port]
        arguments += ["--data-dir", f"{self.folder}/{name}"]
        arguments += ["--checkpoint-uri", self.kept or f"{self.folder}/common"]
        arguments += ["--checkpoint-every", "0.1", "--metrics-port", "-1"]
        if self.access is not None:
            arguments += [*shown(self.access.tls.coordinator), "--tokens-file", str(self.access.tokens_file)]
        child = self.children[name] = self._child(name, "gradloom_coordinator", arguments)
        self.addresses[name] = child.announced(START_LIMIT_S)["address"]

    def add_worker(self) -> None:
        """Start a worker that knows all addresses; returns when it is welcome."""
        name = f"worker-{len(self.workers)}"
        arguments = ["--coordinator", self.address, "--name", name, "--metrics-port", "-1"]
        if self.access is not None:
            arguments += [*shown(self.access.tls.worker), "--token-file", str(self.access.worker_token)]
        worker = self._child(name, "gradloom_worker", arguments)
        self.workers.append(worker)
        worker.announced(START_LIMIT_S)

    @property
    def address(self) -> str:
        """All of them, as clients and workers are told."""
        return ",".join(self.addresses.values())

    def client(self, token: str = "") -> Client:
        """Of whom the token stands for, where tokens are asked for."""
        if self.access is None:
            return Client(self.address)
        return Client(self.address, token=token or self.access.client_token, tls=self.access.tls.client)

    def signal(self, name: str, number: signal.Signals) -> None:
        self.children[name].process.send_signal(number)

    def status(self, name: str) -> int:
        """How it ended."""
        return self.children[name].process.wait(START_LIMIT_S)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def leads(self, name: str) -> bool:
        """Whether it says so to whoever asks for its health."""
        material = None if self.access is None else Certificates(self.access.tls.client).newest()
        with open_channel(self.addresses[name], material, ()) as channel:
            request = health_pb2.HealthCheckRequest(service="gradloom.v1.JobService")
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=5.0)
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def until_leads(self, *names: str) -> str:
        """Wait until one of them leads, and name it."""
        leaders: list[str] = []

        def found() -> bool:
            leaders[:] = [name for name in names if self.leads(name)]
            return bool(leaders)

        until(found, f"one of {names} leads")
        (leader,) = leaders
        return leader

    def _child(self, name: str, module: str, arguments: list[str]) -> Child:
        return Child(name, module, arguments, self.folder / f"{name}.log", queue.SimpleQueue())

    def stop(self) -> None:
        for child in self.children.values():
            child.process.send_signal(signal.SIGCONT)
        stop(self.workers)
        stop(list(self.children.values()))


def shown(files: TlsFiles) -> list[str]:
    """A process's options for its files."""
    return ["--tls-ca", str(files.ca), "--tls-cert", str(files.cert), "--tls-key", str(files.key)]


def until_round(events: Iterator[JobEvent], wanted: int, after: float = 0.0) -> JobEvent:
    """The first event of such a round."""
    for event in events:
        if isinstance(event.what, RoundCompleted) and event.what.round >= wanted and event.at > after:
            return event
    raise AssertionError(f"the job ended before round {wanted}")


def until_checkpoint(running: Coordinators, job: Job) -> None:
    """Wait until the database knows of one that was taken after the first round."""

    def newest() -> int:
        with psycopg.connect(running.url) as connection:
            query = "SELECT coalesce(max(round), 0) FROM checkpoints WHERE job = %s"
            return int(connection.execute(query, (job.id,)).fetchall()[0][0])

    until(lambda: newest() > 1, "a checkpoint is durable")


@contextmanager
def coordinators(
    url: str,
    folder: Path,
    *names: str,
    workers: int = 1,
    ttl_s: float = TTL_S,
    kept: str = "",
    access: Access | None = None,
) -> Iterator[Coordinators]:
    """The first of them leads, the others stand by."""
    running = Coordinators(url, folder, ttl_s, kept, access)
    try:
        for name in names:
            running.start(name)
            running.until_leads(names[0])
        for _ in range(workers):
            running.add_worker()
        yield running
    finally:
        running.stop()

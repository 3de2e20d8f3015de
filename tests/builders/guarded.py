"""A coordinator that asks for tokens, certificates or both, and workers, as processes of their own."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gradloom import token_file, tokens
from gradloom.children import Child, stop
from gradloom.client import Client
from gradloom.roles import Role
from gradloom.tls import TlsFiles

START_LIMIT_S = 60.0
CREATED = 1_700_000_000.0


@dataclass
class GuardedCluster:
    """What runs. Every token is in a file of its own, ``NAME.token``."""

    folder: Path
    children: list[Child] = field(default_factory=list)
    address: str = ""
    metrics_address: str = ""

    @property
    def tokens_file(self) -> Path:
        return self.folder / "tokens.json"

    def token(self, name: str, role: Role | str) -> Path:
        """Make a token; the file that it is in."""
        text, token = tokens.new_token(name, Role(role), CREATED, None)
        token_file.change(self.tokens_file, lambda book: book.with_one(token))
        path = self.folder / f"{name}.token"
        path.write_text(f"{text}\n")
        return path

    def text(self, name: str) -> str:
        return (self.folder / f"{name}.token").read_text().strip()

    def revoke(self, name: str) -> None:
        token_file.change(self.tokens_file, lambda book: book.without(name))

    def start(self, tls: TlsFiles | None = None, *, asks_tokens: bool = True) -> None:
        """Start the coordinator; returns when it serves."""
        arguments = ["--port", "0", "--metrics-port", "0", "--data-dir", str(self.folder / "data")]
        arguments += ["--log-level", "DEBUG", *_securing(tls)]
        if asks_tokens:
            arguments += ["--tokens-file", str(self.tokens_file)]
        said = self.child("coordinator", "gradloom_coordinator", arguments).announced(START_LIMIT_S)
        self.address, self.metrics_address = said["address"], said["metrics_address"]

    def worker(
        self, name: str, token: Path | None = None, tls: TlsFiles | None = None, log: str = ""
    ) -> Child:
        """Start a worker; ``log`` = what its log is called, if not as itself."""
        arguments = ["--coordinator", self.address, "--name", name, "--metrics-port", "-1"]
        arguments += ["--log-level", "DEBUG", *_securing(tls)]
        arguments += [] if token is None else ["--token-file", str(token)]
        return self.child(log or name, "gradloom_worker", arguments)

    def child(self, name: str, module: str, arguments: list[str]) -> Child:
        made = Child(name, module, arguments, self.folder / f"{name}.log", queue.SimpleQueue())
        self.children.append(made)
        return made

    def client(self, name: str = "", tls: TlsFiles | None = None) -> Client:
        """A client with the token of a name."""
        return Client(self.address, token=self.text(name) if name else "", tls=tls)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def stop(self) -> None:
        stop(list(reversed(self.children)))


@contextmanager
def guarded(folder: Path) -> Iterator[GuardedCluster]:
    """One that is stopped at the end; it is not started yet."""
    cluster = GuardedCluster(folder)
    try:
        yield cluster
    finally:
        cluster.stop()


def _securing(tls: TlsFiles | None) -> list[str]:
    if tls is None:
        return []
    return ["--tls-ca", str(tls.ca), "--tls-cert", str(tls.cert), "--tls-key", str(tls.key)]

"""A real PostgreSQL server of a test's own: in a folder that goes with it, on a Unix socket, never as root."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from psycopg import sql

START_LIMIT_S = 30.0
AS_POSTGRES = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
# Debian keeps the server's programs out of the PATH
FOLDERS = (*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path("/usr/local/pgsql/bin"))


def programs() -> Path | None:
    """The folder of ``initdb`` and ``postgres``; None if they are not installed."""
    found = shutil.which("initdb")
    folders = ([Path(found).parent] if found else []) + list(FOLDERS)
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


class Postgres:
    """A running server; ``stop`` and ``start`` are what happens to it in a test."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries, self._folder = binaries, folder
        # another program changes the user: subprocess itself would have to fork, which gRPC's threads don't survive
        self._who = AS_POSTGRES if os.geteuid() == 0 else ()
        if self._who:
            shutil.chown(folder, "postgres", "postgres")
        self._run("initdb", "-D", f"{folder}/data", "-U", "tester", "-A", "trust", "--no-sync", "-E", "UTF8")
        self.start()

    def start(self) -> None:
        options = f"-F -c listen_addresses='' -c unix_socket_directories={self._folder}"
        log = f"{self._folder}/log"
        self._run("pg_ctl", "-D", f"{self._folder}/data", "-l", log, "-w", "-o", options, "start")

    def stop(self) -> None:
        """As if the machine had lost its power."""
        self._run("pg_ctl", "-D", f"{self._folder}/data", "-m", "immediate", "-w", "stop")

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"test_{time.monotonic_ns()}"
        server = f"postgresql://tester@/postgres?host={self._folder}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return f"postgresql://tester@/{name}?host={self._folder}"

    @property
    def socket(self) -> str:
        """The path of the socket that it listens on."""
        return f"{self._folder}/.s.PGSQL.5432"

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Nothing of the server runs meanwhile; whoever connects is kept waiting."""
        main = int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        with stopped(main):
            children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
            with stopped(*map(int, children)):
                yield

    def _run(self, program: str, *arguments: str) -> None:
        # what the server inherits must not be a pipe of ours: we would wait for it to close
        with (self._folder / "said").open("ab") as said:
            subprocess.run(
                [*self._who, self._binaries / program, *arguments],
                check=True,
                timeout=START_LIMIT_S,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )


def sessions(url: str) -> list[int]:
    """The processes of the server that serve a database, the oldest first."""
    with psycopg.connect(url) as connection:
        query = """SELECT pid FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY backend_start"""
        return [int(pid) for (pid,) in connection.execute(query).fetchall()]


@contextmanager
def stopped(*processes: int) -> Iterator[None]:
    """Processes stand still meanwhile; their sockets stay open."""
    try:
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        yield
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


@contextmanager
def stopped_at_rest(url: str, process: int) -> Iterator[None]:
    """One of a database's sessions stands still between two transactions: nobody waits for a row that it has locked."""
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        with stopped(process):
            while _state_of(process) != "T":
                assert time.monotonic() < deadline, f"{process} does not stop"
            with psycopg.connect(url) as connection:
                query = "SELECT state FROM pg_stat_activity WHERE pid = %s"
                if connection.execute(query, (process,)).fetchone() == ("idle",):
                    yield
                    return
        assert time.monotonic() < deadline, f"{process} is never at rest"


def _state_of(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


@contextmanager
def running_postgres(binaries: Path) -> Iterator[Postgres]:
    # of its own: pytest's folders can't be entered by another user, and a socket's path must be short
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        server = Postgres(binaries, Path(folder))
        try:
            yield server
        finally:
            server.stop()

"""A child process that says when it is ready, logs to a file, and leaves when we do.

The child holds the reading end of a pipe as its standard input. However this process ends, the pipe closes, and
the child leaves by itself: that is the child's side of the contract, as is one line of JSON when it is ready.
"""

import json
import os
import queue
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import MappingProxyType

from gradloom.errors import Unavailable
from gradloom.process import REFUSED_STATUS
from gradloom.settings import KEY_VARIABLES

STOP_LIMIT_S = 5.0
TAIL_LINES = 8

# One thread for each worker's kernels: the workers are the parallelism, and threads change the bits of a sum.
_CHILD_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # Without it `-m` looks for modules in the current folder first, where people keep files called queue.py.
    "PYTHONSAFEPATH": "1",
}
PASSED_ON = frozenset(
    {
        *KEY_VARIABLES,
        "GRADLOOM_CACHE_BYTES",
        "GRADLOOM_CALLS_PER_SECOND",
        "GRADLOOM_CHECKPOINT_EVERY",
        "GRADLOOM_CHECKPOINT_EVERY_ROUNDS",
        "GRADLOOM_DEBUG",
        "GRADLOOM_DRAIN_TIMEOUT_S",
        "GRADLOOM_LOG_LEVEL",
        "GRADLOOM_PARTIALS_LIMIT",
        "GRADLOOM_UPLOAD_LIMIT",
    }
)
"""Of our own variables those that tune any service. The others say what one service is, or which cluster is meant: its
database, its lease, its ports, who may enter it, what its jobs may read."""


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_ON or not name.startswith("GRADLOOM_")
    }
    return {**kept, **added, **_CHILD_ENVIRONMENT}


_children: "weakref.WeakSet[Child]" = weakref.WeakSet()


@cache
def _let_go_when_forked() -> None:
    """A process that is forked from this one inherits the pipes; holding them it would keep the children alive."""
    os.register_at_fork(after_in_child=_let_go)


def _let_go() -> None:
    for child in list(_children):
        if child.process.stdin is not None:
            child.process.stdin.close()


class Child:
    """One child process, its log file, and a thread that reads what it says until it ends."""

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        log: Path,
        ended: "queue.SimpleQueue[str]",
        environment: Mapping[str, str] = MappingProxyType({}),
    ):
        self.name = name
        self._log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        self._said: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own modules
                [sys.executable, "-m", module, *arguments, "--announce", "--exit-with-stdin"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=_environment(environment),
                start_new_session=True,  # Ctrl-C in the terminal is for us: close() stops them in order
            )
        self._reader = threading.Thread(
            target=self._read, args=(ended,), name=f"gradloom-{name}", daemon=True
        )
        self._reader.start()
        _children.add(self)
        _let_go_when_forked()

    def announced(self, timeout_s: float) -> dict[str, str]:
        """What it said when it was ready. Raises Unavailable, with the end of its log, if it did not."""
        try:
            values = self._said.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            words = self.last_words()
            raise Unavailable(f"{self.name} was not ready within start_timeout_s: {words}") from None
        if not values:
            self._reader.join(STOP_LIMIT_S)  # it has closed its output; its last words come before its end
            words = self.last_words()
            if self.process.returncode == REFUSED_STATUS:  # what it says last is one sentence for people
                words = words.splitlines()[-1].removeprefix("error: ")
            raise Unavailable(f"{self.name} did not start: {words}")
        return values

    def last_words(self) -> str:
        """The last TAIL_LINES lines of its log, of this run."""
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode("utf-8", "replace").strip().splitlines()
        return "\n".join(lines[-TAIL_LINES:]) or "it wrote nothing to its log"

    def release(self) -> None:
        """Close our ends of its pipes; it has ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self._reader.join(STOP_LIMIT_S)
        if not self._reader.is_alive():  # else something that the child started still holds the pipe
            self.process.stdout.close()

    def _read(self, ended: "queue.SimpleQueue[str]") -> None:
        assert self.process.stdout is not None
        self._said.put(_parse(self.process.stdout.readline()))
        for _ in self.process.stdout:  # an unread pipe would fill up and stop the child
            pass
        self.process.wait()
        ended.put(self.name)


def stop(children: Sequence[Child]) -> None:
    """SIGTERM, then one wait of STOP_LIMIT_S for all of them together, then SIGKILL, also when interrupted."""
    try:
        for child in children:
            child.process.terminate()
        deadline = time.monotonic() + STOP_LIMIT_S
        for child in children:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue
    finally:
        for child in children:
            child.process.kill()
            child.release()


def _parse(line: bytes) -> dict[str, str]:
    try:
        values = json.loads(line)
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in values.items()} if isinstance(values, dict) else {}

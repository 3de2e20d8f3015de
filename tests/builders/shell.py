"""The installed ``gradloom`` script, run in a folder of its own; what it leaves behind can be asked for."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psutil

LIMIT_S = 60.0
GRADLOOM = str(Path(sys.executable).with_name("gradloom"))


class Done(NamedTuple):
    """What a command that has ended leaves."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Shell:
    """Runs ``gradloom`` in an empty folder; whatever a command starts carries a mark by which it is found."""

    folder: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    environment: Mapping[str, str] = field(default_factory=dict)
    """What the commands are told beside it."""

    def start(self, *words: object) -> "subprocess.Popen[str]":
        kept = {k: v for k, v in os.environ.items() if not k.startswith("GRADLOOM_")}
        return subprocess.Popen(
            [GRADLOOM, *map(str, words)],
            cwd=self.folder,
            env={**kept, **self.environment, "TMPDIR": str(self.folder), "MARK_OF_THIS_TEST": self.mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: object) -> Done:
        with self.start(*words) as process:
            out, err = process.communicate(timeout=LIMIT_S)
        return Done(process.returncode, out, err)

    def json(self, *words: object) -> Any:
        """What a command that succeeds says with --json."""
        done = self.run(*words, "--json")
        assert done.status == 0, done.err
        (line,) = done.out.splitlines()
        return json.loads(line)

    def text(self, *words: object) -> str:
        """What a command that succeeds says to people."""
        done = self.run(*words)
        assert done.status == 0, done.err
        return done.out

    def processes(self) -> list[psutil.Process]:
        """Everything alive that was started from here, whoever its parent is now."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("MARK_OF_THIS_TEST") == self.mark:
                    found.append(process)
        return found

    def left_behind(self) -> tuple[list[str], list[psutil.Process]]:
        return sorted(path.name for path in self.folder.iterdir()), self.processes()


NOTHING: tuple[list[str], list[psutil.Process]] = ([], [])


@contextmanager
def running_up(shell: Shell, *options: str) -> Iterator[tuple["subprocess.Popen[str]", dict[str, Any]]]:
    """``gradloom up`` and what it announced; told to end when the test has not done so."""
    with shell.start("up", "--port", "0", "--json", *options) as process:
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.terminate()
            process.communicate(timeout=LIMIT_S)

"""A real Docker engine for tests, and whole clusters that docker-compose.yml starts on it."""

import json
import os
import socket
import subprocess
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SERVICES = ("coordinator", "worker", "dashboard")
"""Ours, each with an image of its own."""
LIMIT_S = 240.0
"""For whatever an engine does; it may have a busy machine."""
BASES = ("python:3.12-slim", "prom/prometheus:v2.53.5", "postgres:17-bookworm")
"""What tests/install_packages.sh gets."""
COMPOSE = ("docker", "compose")
FIRST_COMPOSE = ("docker-compose",)
"""Version 1, which Debian 12 still has."""
PUBLISHED = ("PUBLISH_COORDINATOR", "PUBLISH_DASHBOARD", "PUBLISH_PROMETHEUS", "PUBLISH_GRAFANA")


def docker(*words: str, stdin: str = "", limit_s: float = LIMIT_S, env: dict[str, str] | None = None) -> str:
    """What a command of docker says; fails with its complaint."""
    return said("docker", *words, stdin=stdin, limit_s=limit_s, env=env)


def said(*words: str, stdin: str = "", limit_s: float = LIMIT_S, env: dict[str, str] | None = None) -> str:
    """What a command says; fails with its complaint."""
    done = subprocess.run(
        words,
        cwd=ROOT,
        env=None if env is None else {**os.environ, **env},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def why_not() -> str:
    """Why there are no containers here; empty = there are."""
    bases = ["docker", "image", "inspect", "--format", "{{.Id}}", *BASES]
    for words in (["docker", "info"], ["docker", "compose", "version"], bases):
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{' '.join(words)}: {error}"
        if done.returncode:
            return f"{' '.join(words)}: {(done.stderr or done.stdout).strip().splitlines()[-1]}"
    return ""


def inspected(*names: str) -> list[dict[str, Any]]:
    """What the engine knows of containers or images."""
    found: list[dict[str, Any]] = json.loads(docker("inspect", *names))
    return found


def until(condition: Callable[[], object], what: str, limit_s: float = LIMIT_S) -> None:
    """Look until it holds."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what}"
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Different ones, which nobody listens at now."""
    with ExitStack() as held:
        listeners = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


class Stack:
    """One project of Compose, with a name and ports of its own, so that any number may run beside each other."""

    def __init__(self, *overrides: str, program: Sequence[str] = COMPOSE, **settings: str) -> None:
        self.project = f"gradloom-test-{uuid.uuid4().hex[:8]}"
        self.ports = dict(zip(PUBLISHED, free_ports(len(PUBLISHED)), strict=True))
        self._settings = settings | {name: str(port) for name, port in self.ports.items()}
        files = ["docker-compose.yml", *overrides]
        self._words = [*program, "--project-name", self.project]
        for file in files:
            self._words += ["--file", file]

    @property
    def address(self) -> str:
        """The coordinator's, on this machine."""
        return f"localhost:{self.ports['PUBLISH_COORDINATOR']}"

    def compose(self, *words: str) -> str:
        """What a command of compose says."""
        return said(*self._words, *words, env=self._settings)

    def up(self, *services: str) -> None:
        """Start them and wait until they are healthy; on a busy machine one may be called unhealthy before."""
        self.compose("up", "--detach", "--no-build", *services)
        until(self.is_healthy, f"{', '.join(services)} are healthy")

    def is_healthy(self) -> bool:
        """Whether all that run say that they are well."""
        found = inspected(*self.containers())
        return all(each["State"]["Health"]["Status"] == "healthy" for each in found)

    def scale(self, workers: int) -> None:
        """Have so many workers; returns once the containers are there or gone."""
        self.compose(
            "up",
            "--detach",
            "--no-build",
            "--no-recreate",
            "--no-deps",
            "--scale",
            f"worker={workers}",
            "worker",
        )

    def down(self) -> None:
        """Remove everything."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "30")

    def containers(self, service: str = "") -> list[str]:
        """The ids of those that run."""
        return self.compose("ps", "--quiet", *([service] if service else [])).split()

    def left(self) -> str:
        """What there is of the project: ids of containers, volumes, networks."""
        label = f"label=com.docker.compose.project={self.project}"
        return "".join(
            docker(*words, "--quiet", "--filter", label)
            for words in (("ps", "--all"), ("volume", "ls"), ("network", "ls"))
        )

    def asked(self, query: str) -> list[dict[str, Any]]:
        """What its Prometheus answers."""
        found: list[dict[str, Any]] = self.prometheus(f"query?{urllib.parse.urlencode({'query': query})}")[
            "result"
        ]
        return found

    def prometheus(self, path: str) -> dict[str, Any]:
        """Data of Prometheus's own API."""
        url = f"http://127.0.0.1:{self.ports['PUBLISH_PROMETHEUS']}/api/v1/{path}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            data: dict[str, Any] = json.load(answer)["data"]
        return data


@contextmanager
def running(
    *overrides: str, services: Sequence[str], program: Sequence[str] = COMPOSE, **settings: str
) -> Iterator[Stack]:
    """A stack that is up; if it does not come up, or something fails, its last words are in the failure."""
    stack = Stack(*overrides, program=program, **settings)
    try:
        try:
            stack.up(*services)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{stack.compose('logs', '--tail', '20')}") from None
        yield stack
    finally:
        stack.down()
    assert not stack.left(), "down leaves something behind"

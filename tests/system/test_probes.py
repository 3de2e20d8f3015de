"""What probes and log collectors meet: real processes with a health port and lines of JSON."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gradloom import LocalCluster
from gradloom.cli.health import ask
from gradloom.errors import Unavailable

pytestmark = pytest.mark.system

LIMIT_S = 60.0
Start = Callable[..., "Service"]


class Service:
    """One process of ours, as a container starts it: it says everything on stderr, in JSON."""

    def __init__(self, module: str, log: Path, *options: str) -> None:
        self.log = log
        with log.open("wb") as stderr:
            words = [sys.executable, "-m", module, *options, "--log-format", "json", "--log-level", "info"]
            self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=stderr, text=True)

    def announced(self) -> dict[str, str]:
        """What it says once it is ready."""
        assert self.process.stdout is not None
        values: dict[str, str] = json.loads(self.process.stdout.readline())
        return values

    def end(self) -> int:
        """Have it leave; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_S)

    def lines(self) -> list[dict[str, str]]:
        """What it logged; fails for a line that is no JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Service] = []

    def service(module: str, *options: str) -> Service:
        started.append(Service(module, tmp_path / f"{len(started)}.log", *options))
        return started[-1]

    yield service
    for each in started:
        each.process.kill()
        each.process.communicate()


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def test_a_coordinator_is_ready_once_it_serves_and_gone_once_it_left(start: Start, tmp_path: Path) -> None:
    options = ("--port", "0", "--metrics-port", "-1", "--health-port", "0", "--data-dir", str(tmp_path))
    coordinator = start("gradloom_coordinator", *options, "--announce")
    health = coordinator.announced()["health_address"]
    assert [ask(health, name, LIMIT_S) for name in ("live", "ready", "gradloom.v1.JobService")] == [
        "SERVING"
    ] * 3
    assert coordinator.end() == 0
    with pytest.raises(Unavailable):
        ask(health, "live", LIMIT_S)
    assert any("serving at" in line["message"] for line in coordinator.lines())


def test_a_worker_is_ready_only_while_a_coordinator_has_it(start: Start, tmp_path: Path) -> None:
    health = f"127.0.0.1:{free_port()}"
    with LocalCluster(workers=1) as cluster:
        options = ("--metrics-port", "-1", "--health-port", health.rpartition(":")[2], "--announce")
        worker = start("gradloom_worker", "--coordinator", cluster.address, *options)
        assert worker.announced()["worker"]
        assert ask(health, "ready", LIMIT_S) == "SERVING"
    while ask(health, "ready", LIMIT_S) == "SERVING":  # bounded by the time limit of the test
        pass
    assert ask(health, "live", LIMIT_S) == "SERVING"
    worker.end()
    assert {line["level"] for line in worker.lines()} >= {"INFO", "WARNING"}


def test_a_control_room_is_well_without_a_cluster(start: Start) -> None:
    room = start("gradloom_dashboard", "--port", "0", "--cluster", f"127.0.0.1:{free_port()}", "--announce")
    assert ask(f"{room.announced()['url']}/health", "", LIMIT_S) == "SERVING"
    room.end()
    room.lines()


@pytest.mark.parametrize(
    ("module", "options", "field"),
    [
        (
            "gradloom_coordinator",
            ("--health-port", "{taken}", "--metrics-port", "-1", "--port", "0"),
            "health_port",
        ),
        ("gradloom_worker", ("--health-port", "{taken}", "--metrics-port", "-1"), "health_port"),
        ("gradloom_worker", ("--label", "zone"), "label"),
        ("gradloom_dashboard", ("--port", "{taken}"), "port"),
    ],
)
def test_a_refusal_is_a_line_of_json_too(
    start: Start, tmp_path: Path, module: str, options: tuple[str, ...], field: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = str(listener.getsockname()[1])
        where = ("--data-dir", str(tmp_path)) if module == "gradloom_coordinator" else ()
        service = start(module, *(word.format(taken=taken) for word in options), *where)
        assert service.process.wait(LIMIT_S) == 2
    last = service.lines()[-1]
    assert last["level"] == "CRITICAL"
    assert last["message"].startswith(f"{field}: ")

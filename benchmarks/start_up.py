"""How long each service takes from ``docker start`` to its first good answer, alone, with one core.

It needs a Docker engine and our images (``docker compose build``). A worker is good once a coordinator has it; that
coordinator runs already. Nothing here waits for a health check's interval: the probe is asked every few milliseconds.
"""

import argparse
import json
import socket
import statistics
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gradloom.cli.health import SERVING, ask
from gradloom.errors import Unavailable

PORTS = {"coordinator": 50052, "worker": 50053, "dashboard": 8080}
"""Where each answers."""
LIMIT_S = 60.0
LOOK_EVERY_S = 0.01


def docker(*words: str) -> str:
    """What a command says. Raises CalledProcessError."""
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def container(service: str, network: str, *options: str) -> Iterator[str]:
    """One that has been created as docker-compose.yml would, and does not run yet."""
    words = [
        "--network",
        network,
        "--cpus",
        "1",
        "--memory",
        "2g",
        "--read-only",
        "--init",
        "--cap-drop",
        "ALL",
    ]
    words += ["--tmpfs", "/tmp", "--tmpfs", "/var/lib/gradloom:uid=10001", "--no-healthcheck"]
    words += ["--env", "GRADLOOM_INSECURE=1", "--env", "GRADLOOM_HEALTH_HOST=0.0.0.0"]
    one = docker("create", *words, *options, f"gradloom-{service}:0.1.0")
    try:
        yield one
    finally:
        docker("rm", "--force", "--volumes", one)


def answers(host: str, service: str) -> bool:
    """Whether it serves now."""
    port = PORTS[service]
    try:
        socket.create_connection((host, port), timeout=0.2).close()
        return (
            ask(f"http://{host}:{port}/health" if port == 8080 else f"{host}:{port}", "ready", 2.0) == SERVING
        )
    except (OSError, Unavailable):
        return False


def until(condition: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    """Look until it holds. Raises TimeoutError."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {limit_s:g} s")
        time.sleep(LOOK_EVERY_S)


def start(one: str, service: str) -> float:
    """Seconds until it answers well."""
    began = time.monotonic()
    docker("start", one)
    host = docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", one)
    until(lambda: answers(host, service))
    return time.monotonic() - began


def measured(runs: int) -> dict[str, list[float]]:
    """Seconds of each run, by service."""
    found: dict[str, list[float]] = {}
    network = f"gradloom-start-{uuid.uuid4().hex[:8]}"
    docker("network", "create", network)
    try:
        with container("coordinator", network, "--network-alias", "coordinator") as coordinator:
            start(coordinator, "coordinator")
            for service in PORTS:
                found[service] = []
                for _ in range(runs):
                    with container(service, network) as one:
                        found[service].append(start(one, service))
    finally:
        docker("network", "rm", network)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measured(options.runs)
    if options.json:
        print(json.dumps(found))
        return
    for service, seconds in found.items():
        print(f"{service:12} median {statistics.median(seconds):.2f} s   slowest {max(seconds):.2f} s")


if __name__ == "__main__":
    main()

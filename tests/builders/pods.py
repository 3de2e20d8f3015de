"""A kubelet in the small: runs the containers of a rendered overlay as processes of this machine, with the settings
that their manifests give them, and probes them as their manifests say.

Only what belongs to a machine is another: ports are free ones, volumes are folders, the coordinator's Service is
loopback. Everything else is as it would be in the cluster.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from builders.manifests import Container

LIMIT_S = 90.0
NODE = "node-1"
PORTS = {
    "grpc": "GRADLOOM_PORT",
    "metrics": "GRADLOOM_METRICS_PORT",
    "health": "GRADLOOM_HEALTH_PORT",
    "http": "GRADLOOM_DASHBOARD_PORT",
}
"""What a container's ports are called in the environment."""


@dataclass
class Pod:
    """One container that runs."""

    container: Container
    process: "subprocess.Popen[bytes]"
    ports: Mapping[str, int]
    log: Path

    def passes(self, probe: str) -> bool:
        """Ask once what a probe of the manifest asks."""
        asked = self.container.spec[probe]
        if "httpGet" in asked:
            port = self.ports[asked["httpGet"]["port"]]
            return _http(f"http://127.0.0.1:{port}{asked['httpGet']['path']}", asked["timeoutSeconds"])
        assert asked["grpc"]["port"] == self.container.ports["health"]
        return _grpc(self.ports["health"], asked["grpc"]["service"], asked["timeoutSeconds"])

    def until(self, probe: str, passes: bool = True) -> None:
        """Probe until the answer is the one that is waited for."""
        deadline = time.monotonic() + LIMIT_S
        while self.passes(probe) is not passes:
            assert self.process.poll() is None, f"it ended:\n{self.said}"
            assert time.monotonic() < deadline, f"{probe} is not {passes} within {LIMIT_S:g} s:\n{self.said}"
            time.sleep(0.05)

    def until_ready(self) -> "Pod":
        """As a rollout waits."""
        self.until("startupProbe")
        self.until("readinessProbe")
        return self

    def terminate(self) -> int:
        """SIGTERM, and the grace that the manifest gives; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(self.container.pod["terminationGracePeriodSeconds"])

    def kill(self) -> None:
        """What happens to a pod whose machine dies."""
        self.process.kill()
        self.process.wait(LIMIT_S)

    @property
    def said(self) -> str:
        """Its log."""
        return self.log.read_text()


@dataclass
class Machine:
    """Where pods run: a folder with their volumes and logs."""

    folder: Path
    volumes: Mapping[str, Path] = field(default_factory=dict)
    """Folders on this machine, by the names that manifests give the volumes."""
    pods: list[Pod] = field(default_factory=list)

    def run(
        self, container: Container, name: str, mounts: Mapping[str, Path] | None = None, **instead: str
    ) -> Pod:
        """Start a container; ``mounts`` are volumes of its own, ``instead`` settings that are others here."""
        volumes = {**self.volumes, **(mounts or {})}
        ports = {port: _free_port() for port in container.ports}
        settings = {setting: _here(value, volumes) for setting, value in container.environment.items()}
        settings |= {PORTS[port]: str(number) for port, number in ports.items()}
        of_the_pod = {"<metadata.name>": name, "<spec.nodeName>": NODE}
        settings = {setting: of_the_pod.get(value, value) for setting, value in settings.items()} | instead
        settings = {setting: _expanded(value, settings) for setting, value in settings.items()}
        left_over = [setting for setting, value in settings.items() if value.startswith("<")]
        assert not left_over, f"nobody says what {left_over} are"
        log = self.folder / f"{name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", f"gradloom_{container.role}", *container.args],
                env={**_of_this_machine(), **settings},
                cwd=self.folder,
                stdout=out,
                stderr=out,
            )
        self.pods.append(Pod(container, process, ports, log))
        return self.pods[-1]


@contextmanager
def machine(folder: Path, **volumes: Path) -> Iterator[Machine]:
    """A machine with volumes that all of its pods have; the pods are gone at the end."""
    running = Machine(folder, volumes)
    try:
        yield running
    finally:
        for pod in running.pods:
            pod.process.kill()
            pod.process.wait(LIMIT_S)


def _here(value: str, volumes: Mapping[str, Path]) -> str:
    """A setting with the paths that this machine has."""
    for name, folder in volumes.items():
        value = ",".join(
            f"{folder}{part[len(MOUNTS[name]) :]}" if Path(part).is_relative_to(MOUNTS[name]) else part
            for part in value.split(",")
        )
    return value


MOUNTS = {
    "state": "/var/lib/gradloom",
    "data": "/data",
    "tls": "/etc/gradloom/tls",
    "tokens": "/etc/gradloom/tokens",
}
"""Where manifests mount volumes, by the volumes' names."""


def _of_this_machine() -> dict[str, str]:
    """Which kernels BLAS takes is a matter of the machine; the rest of what we were started with is not passed on."""
    kernels = {
        name: value for name, value in os.environ.items() if name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    }
    return {"PATH": os.environ["PATH"], "PYTHONSAFEPATH": "1", **kernels}


def _expanded(value: str, settings: Mapping[str, str]) -> str:
    """With the variables that a manifest writes as ``$(NAME)``."""
    return re.sub(r"\$\((\w+)\)", lambda found: settings[found[1]], value)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _grpc(port: int, service: str, timeout_s: float) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask: Any = health_pb2_grpc.HealthStub(channel).Check
        try:
            answer = ask(health_pb2.HealthCheckRequest(service=service), timeout=timeout_s)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _http(url: str, timeout_s: float) -> bool:
    try:
        with urlopen(url, timeout=timeout_s) as answer:
            return bool(200 <= answer.status < 400)
    except (URLError, OSError):
        return False

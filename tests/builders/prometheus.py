"""A real Prometheus on loopback, with our rules, that scrapes a cluster once a second."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

from builders.dashboards import PROMETHEUS

LIMIT_S = 60.0
CONFIGURATION = """
global:
  scrape_interval: 1s
  scrape_timeout: 1s
  evaluation_interval: 1s
rule_files: ["{rules}/*.yml"]
scrape_configs:
  - job_name: gradloom-coordinator
    file_sd_configs: [{{files: ["{targets}/coordinator.json"], refresh_interval: 1s}}]
  - job_name: gradloom-worker
    file_sd_configs: [{{files: ["{targets}/worker.json"], refresh_interval: 1s}}]
"""

Series = list[tuple[dict[str, str], list[float]]]


@dataclass(frozen=True)
class Prometheus:
    """What can be asked of it."""

    address: str
    started_at: float

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its HTTP API."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(
            f"http://{self.address}/api/v1/{path}?{query}", timeout=LIMIT_S
        ) as answer:
            said = json.load(answer)
        assert said["status"] == "success", said
        return said["data"]

    def now(self, expr: str) -> dict[tuple[str, ...], float]:
        """The values of an expression at this moment, by the values of its labels in the order of their names."""
        found = self.ask("query", query=expr)["result"]
        return {
            tuple(value for name, value in sorted(one["metric"].items()) if name != "__name__"): float(
                one["value"][1]
            )
            for one in found
        }

    def series(self, expr: str, *, instant: bool) -> Series:
        """What an expression is, now or since the start: labels and values of each series."""
        if instant:
            found = self.ask("query", query=expr)["result"]
            return [(one["metric"], [float(one["value"][1])]) for one in found]
        times = {"start": f"{self.started_at:.3f}", "end": f"{time.time():.3f}", "step": "1"}
        found = self.ask("query_range", query=expr, **times)["result"]
        return [(one["metric"], [float(value) for _, value in one["values"]]) for one in found]

    def firing(self) -> set[tuple[str, str]]:
        """The alerts that fire: name, and worker or job."""
        alerts = self.ask("alerts")["alerts"]
        return {
            (alert["labels"]["alertname"], alert["labels"].get("worker") or alert["labels"].get("job_id", ""))
            for alert in alerts
            if alert["state"] == "firing"
        }


@contextmanager
def prometheus_for(folder: Path) -> Iterator[Prometheus]:
    """Scrapes what the files in ``folder`` name; see ``dashboard/prometheus/targets.py``."""
    assert shutil.which("prometheus"), "prometheus not found: install the Debian package prometheus"
    configuration = folder / "prometheus.yml"
    configuration.write_text(CONFIGURATION.format(rules=PROMETHEUS / "rules", targets=folder))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [
        "prometheus",
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=error",
    ]
    with (folder / "prometheus.log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            wait_until_ready(address, process)
            yield Prometheus(address, time.time())
        finally:
            process.kill()


def wait_until_ready(address: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + LIMIT_S
    while True:
        assert process.poll() is None, "prometheus has ended"
        assert time.monotonic() < deadline, "prometheus does not get ready"
        try:
            with urllib.request.urlopen(f"http://{address}/-/ready", timeout=LIMIT_S):
                return
        except (URLError, ConnectionError):
            continue


def targets(cluster: str, coordinator: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Have the script that people use write where the pages are."""
    words = ["--cluster", cluster, "--coordinator", coordinator, "--out", str(folder), "--once"]
    script = str(PROMETHEUS / "targets.py")
    subprocess.run([sys.executable, script, *words], check=True, env=dict(environment), timeout=LIMIT_S)

"""Where a coordinator's metrics are served, and what they say of its certificate."""

import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from builders.certificates import folder_of, issued
from gradloom.credentials import Certificates
from gradloom.settings import CoordinatorSettings
from gradloom_coordinator.listening import serve_metrics


@pytest.mark.parametrize(("metrics_host", "served"), [("", "127.0.0.1"), ("127.0.0.2", "127.0.0.2")])
def test_metrics_are_served_where_they_are_told_or_with_the_rest(metrics_host: str, served: str) -> None:
    settings = CoordinatorSettings(host="127.0.0.1", metrics_port=0, metrics_host=metrics_host)
    address, stop = serve_metrics(CollectorRegistry(), settings, None)
    stop()
    assert address.rpartition(":")[0] == served


def ends_at(address: str) -> float:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as page:
        lines = page.read().decode().splitlines()
    (said,) = [
        line for line in lines if line.startswith("gradloom_tls_certificate_expiry_timestamp_seconds ")
    ]
    return float(said.split()[1])


def test_a_renewed_certificate_is_shown_though_nobody_has_connected_since(tmp_path: Path) -> None:
    settings = CoordinatorSettings(metrics_port=0)
    certificates = Certificates(issued(folder_of(tmp_path / "certs"), "c", "coordinator", days=3.0))
    address, stop = serve_metrics(CollectorRegistry(), settings, certificates)
    try:
        first = certificates.newest().valid_until.timestamp()
        assert ends_at(address) == first
        issued(tmp_path / "certs", "c", "coordinator", days=90.0)
        assert ends_at(address) - first == pytest.approx(87 * 86400, abs=3600)
    finally:
        stop()


def test_a_coordinator_without_tls_says_0() -> None:
    address, stop = serve_metrics(CollectorRegistry(), CoordinatorSettings(metrics_port=0), None)
    try:
        assert ends_at(address) == 0
    finally:
        stop()

"""Where a coordinator's metrics are served."""

import pytest
from prometheus_client import CollectorRegistry

from gradloom.settings import CoordinatorSettings
from gradloom_coordinator.listening import serve_metrics


@pytest.mark.parametrize(("metrics_host", "served"), [("", "127.0.0.1"), ("127.0.0.2", "127.0.0.2")])
def test_metrics_are_served_where_they_are_told_or_with_the_rest(metrics_host: str, served: str) -> None:
    settings = CoordinatorSettings(host="127.0.0.1", metrics_port=0, metrics_host=metrics_host)
    address, stop = serve_metrics(CollectorRegistry(), settings)
    stop()
    assert address.rpartition(":")[0] == served

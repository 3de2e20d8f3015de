"""What the monitoring component has Prometheus and Grafana look at is there, and is what compose gives them."""

from pathlib import Path

import pytest
import yaml

from builders.dashboards import GRAFANA, PROMETHEUS, RUNBOOKS, boards
from builders.manifests import Objects, with_components
from gradloom_coordinator.monitoring.standing import Look, standing
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.measures import Measures
from gradloom_coordinator.scheduling.state import ClusterState

TARGET_LABELS = {"job", "instance", "namespace", "pod", "service", "container", "endpoint"}
"""What the operator writes on every series; one of ours would be renamed to exported_..."""


@pytest.fixture
def monitored(tmp_path: Path) -> Objects:
    return with_components("base", ["monitoring"], tmp_path)


def test_monitors_find_pods_under_the_names_that_rules_and_dashboards_ask_for(monitored: Objects) -> None:
    found = {}
    for monitor in monitored.of("ServiceMonitor", "PodMonitor"):
        (endpoint,) = monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"]
        (role,) = monitored.selected(monitor["spec"]["selector"]["matchLabels"])
        assert endpoint["port"] in monitored.containers[role].ports
        (job,) = (one["replacement"] for one in endpoint["relabelings"] if one["targetLabel"] == "job")
        found[role] = job
    scraped = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    assert set(found.values()) == {one["job_name"] for one in scraped}
    assert found == {"coordinator": "gradloom-coordinator", "worker": "gradloom-worker"}


def test_the_coordinator_is_scraped_once(monitored: Objects) -> None:
    (monitor,) = monitored.of("ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    services = [
        service["metadata"]["name"]
        for service in monitored.of("Service")
        if monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        and endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    ]
    assert services == ["gradloom-coordinator"]


def test_what_is_scraped_how_often_is_what_the_rules_are_made_for(monitored: Objects) -> None:
    configured = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["global"]
    for monitor in monitored.of("ServiceMonitor", "PodMonitor"):
        (endpoint,) = monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["interval"] == configured["scrape_interval"]
        assert endpoint["scrapeTimeout"] == configured["scrape_timeout"]


def test_rules_are_those_of_prometheus(monitored: Objects) -> None:
    files = [yaml.safe_load(path.read_text()) for path in sorted((PROMETHEUS / "rules").glob("*.yml"))]
    groups = [group for file in files for group in file["groups"]]
    (rule,) = monitored.of("PrometheusRule")
    assert rule["spec"]["groups"] == groups, "run `make rules`"
    alerts = {one["alert"] for group in groups for one in group["rules"] if "alert" in one}
    assert alerts == {path.stem for path in RUNBOOKS.glob("*.md")}


def test_dashboards_are_the_files_that_compose_mounts(monitored: Objects) -> None:
    found = {}
    for config in monitored.of("ConfigMap"):
        if config["metadata"]["labels"].get("grafana_dashboard") == "1":
            assert config["metadata"]["annotations"] == {"grafana_folder": "gradloom"}
            found |= config["data"]
    assert found == {path.name: path.read_text() for path in (GRAFANA / "dashboards").glob("*.json")}
    assert len(found) == len(boards())


def test_no_label_of_ours_is_taken_by_the_operator() -> None:
    state = ClusterState()
    families = [*standing(Look(state, {}, [], Limits(), 0.0, 0.0)), *Measures().readings()]
    own = {label for family in families for label in family.labels}
    assert {"worker", "job_id", "node"} <= own
    assert not own & TARGET_LABELS

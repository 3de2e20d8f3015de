"""Disruptions, scaling and the standby: what is promised to whoever runs the cluster."""

import subprocess
from pathlib import Path

import pytest
import yaml

from builders.manifests import K8S, ROOT, Objects, components, rendered, with_components
from gradloom_coordinator.monitoring.standing import Look, standing
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.state import ClusterState

SCALERS = ("autoscaling/hpa", "autoscaling/keda")
SCALING = K8S / "components" / "autoscaling"
PENDING = 'sum(avg_over_time(gradloom_tasks{state="pending"}[1m])) or vector(0)'
RULES_TEST = """
rule_files: [rules.yml]
evaluation_interval: 10s
tests:
  - interval: 10s
    input_series:
      - {series: 'gradloom_tasks{job_id="a",state="pending"}', values: '0 8 0 8 0 8 0'}
      - {series: 'gradloom_tasks{job_id="b",state="pending"}', values: '6+0x6'}
      - {series: 'gradloom_tasks{job_id="b",state="running"}', values: '4+0x6'}
    promql_expr_test:
      - {expr: 'asked', eval_time: 50s, exp_samples: [{labels: asked, value: 10}]}
  - interval: 10s
    input_series: []
    promql_expr_test:
      - {expr: 'asked', eval_time: 50s, exp_samples: [{labels: asked, value: 0}]}
"""
"""Half of what one job's rounds begin with, and all of what another's keep; nothing without a job."""


# ---- disruptions


def test_budgets_let_a_node_be_drained(objects: Objects) -> None:
    """Each selects one role, and with all of its pods ready one of them may go."""
    for budget in objects.of("PodDisruptionBudget"):
        (role,) = objects.selected(budget["spec"]["selector"]["matchLabels"])
        assert budget["metadata"]["name"] == f"gradloom-{role}"
        assert budget["spec"]["maxUnavailable"] == 1
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_workers_have_a_budget_and_a_standby_has_none() -> None:
    for overlay in ("base", "overlays/local", "overlays/production"):
        names = {one["metadata"]["name"] for one in rendered(overlay).of("PodDisruptionBudget")}
        assert names == {"gradloom-worker", "gradloom-coordinator"}
    # the standby is never ready: with a budget of one the leader could never be moved
    standby = rendered("overlays/standby").of("PodDisruptionBudget")
    assert {one["metadata"]["name"] for one in standby} == {"gradloom-worker"}


# ---- scaling


@pytest.mark.parametrize("component", SCALERS)
def test_an_autoscaler_alone_says_how_many_workers_there_are(component: str, tmp_path: Path) -> None:
    objects = with_components("base", [component], tmp_path)
    (scaler,) = objects.of("HorizontalPodAutoscaler", "ScaledObject")
    target = scaler["spec"]["scaleTargetRef"]
    workload = objects.one(target["kind"], target["name"])
    assert workload is objects.containers["worker"].workload
    assert "replicas" not in workload["spec"], "an apply would set it back"


def test_both_autoscalers_decide_alike() -> None:
    hpa = yaml.safe_load((SCALING / "hpa" / "autoscaler.yaml").read_text())["spec"]
    keda = yaml.safe_load((SCALING / "keda" / "autoscaler.yaml").read_text())["spec"]
    adapter = yaml.safe_load((SCALING / "hpa" / "prometheus-adapter.yaml").read_text())
    (rule,) = adapter["rules"]["external"]
    (trigger,) = keda["triggers"]
    (metric,) = hpa["metrics"]
    assert metric["external"]["metric"]["name"] == rule["name"]["as"]
    assert trigger["metadata"]["query"] == rule["metricsQuery"] == PENDING
    assert rule["seriesQuery"] in PENDING
    assert metric["external"]["target"] == {
        "type": trigger["metricType"],
        "averageValue": trigger["metadata"]["threshold"],
    }
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (keda["minReplicaCount"], keda["maxReplicaCount"])
    assert hpa["behavior"] == keda["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]


def test_what_autoscalers_ask_for_is_on_the_coordinators_page() -> None:
    families = {one.name: one for one in standing(Look(ClusterState(), {}, [], Limits(), 0.0, 0.0))}
    assert families["tasks"].kind == "gauge"
    assert families["tasks"].labels == ("job_id", "state")


def test_what_autoscalers_ask_for_is_the_mean_over_rounds(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "asked", "rules": [{"record": "asked", "expr": PENDING}]}]})
    )
    (tmp_path / "test.yml").write_text(RULES_TEST)
    command = ["promtool", "test", "rules", str(tmp_path / "test.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


# ---- the standby


def test_two_coordinators_share_a_database_and_one_leads() -> None:
    objects = rendered("overlays/standby")
    coordinator = objects.containers["coordinator"]
    spec = coordinator.workload["spec"]
    assert spec["replicas"] == 2
    assert coordinator.environment["GRADLOOM_LEASE"] == "true"
    (url,) = (one for one in coordinator.spec["env"] if one["name"] == "GRADLOOM_STORE_URL")
    assert "secretKeyRef" in url["valueFrom"]
    assert coordinator.environment["GRADLOOM_CHECKPOINT_URI"].startswith("s3://"), (
        "each has a volume of its own"
    )
    assert coordinator.environment["GRADLOOM_UPLOAD_URI"].startswith("s3://")
    # neither starts nor updates wait for the standby to be ready, which it never is
    assert spec["podManagementPolicy"] == "Parallel"
    assert spec["updateStrategy"] == {"type": "OnDelete"}
    (rule,) = coordinator.pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert objects.selected(rule["labelSelector"]["matchLabels"]) == ["coordinator"]
    names = [one["name"] for one in coordinator.spec["env"]]
    assert names.index("POD_NAME") < names.index("GRADLOOM_ADVERTISE"), (
        "only what stands before can be put in"
    )


def test_one_coordinator_is_alone() -> None:
    for overlay in ("base", "overlays/local", "overlays/production"):
        coordinator = rendered(overlay).containers["coordinator"]
        assert coordinator.workload["spec"]["replicas"] == 1
        assert "GRADLOOM_LEASE" not in coordinator.environment


# ---- what people are told


def test_the_documentation_names_every_overlay_component_and_secret() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    for overlay in ("local", "production", "standby"):
        assert f"k8s/overlays/{overlay}" in page
    for component in components():
        assert component in page
    for secret in ("gradloom-tokens", "gradloom-storage", "gradloom-postgres", "gradloom-admin-tls"):
        assert secret in page

"""The pods: restricted, probed at ports that are there, started with settings that the programs know."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from builders.manifests import ROOT, Container, Objects, rendered, with_components
from gradloom.health import LIVE, READY
from gradloom_coordinator import __main__ as coordinator
from gradloom_coordinator.durability.durable import LAST_WRITES_S
from gradloom_coordinator.server import GRACE_S, LAST_CHECKPOINTS_S
from gradloom_dashboard import __main__ as dashboard
from gradloom_worker import __main__ as worker
from k8s.conftest import OVERLAYS

COMMANDS: Mapping[str, Any] = {
    "coordinator": typer.main.get_command(coordinator.app),
    "worker": typer.main.get_command(worker.app),
    "dashboard": typer.main.get_command(dashboard.app),
}
OTHERS = {
    "OPENBLAS_NUM_THREADS": "OpenBLAS reads it when numpy is imported",
    "OMP_NUM_THREADS": "so do libraries that use OpenMP",
    "POD_NAME": "GRADLOOM_ADVERTISE is made of it",
}
"""Variables that are not ours, and why they are set."""
TOUCH_PODS = ("tls", "postgres")
"""Components that change pods; test_objects.py holds the others to leave them alone."""
UID = 10001
UNITS = {"": 1.0, "m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
PORTS = {
    "coordinator": {"grpc": "port", "metrics": "metrics_port", "health": "health_port"},
    "worker": {"metrics": "metrics_port", "health": "health_port"},
    "dashboard": {"http": "port"},
}
"""Of each container: the option that says where it listens."""
BEYOND_LOOPBACK = {
    "coordinator": ("host", "health_host"),
    "worker": ("metrics_host", "health_host"),
    "dashboard": ("host",),
}
GIB = 1024**3


def quantity(text: str) -> float:
    """Cores or bytes."""
    form = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", text)
    assert form is not None
    return float(form[1]) * UNITS[form[2]]


def variables(command: Any) -> set[str]:
    """The environment's names that a command reads."""
    names = (option.envvar for option in command.params if option.envvar)
    return {name for one in names for name in ([one] if isinstance(one, str) else one)}


@pytest.fixture(scope="module", params=[*OVERLAYS, *TOUCH_PODS])
def objects(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """Every overlay, and the components that change pods."""
    if request.param in OVERLAYS:
        return rendered(request.param)
    return with_components("base", [request.param], tmp_path_factory.mktemp("kustomize"))


@pytest.fixture(params=COMMANDS)
def container(request: pytest.FixtureRequest, objects: Objects) -> Container:
    return objects.containers[request.param]


@pytest.fixture
def parsed(container: Container, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the real command line makes of the container's arguments and environment."""
    for known in variables(COMMANDS[container.role]):
        monkeypatch.delenv(known, raising=False)
    for name, value in container.environment.items():
        monkeypatch.setenv(name, value)
    with COMMANDS[container.role].make_context(container.role, container.args) as context:
        return dict(context.params)


def test_there_is_one_pod_of_each_role(objects: Objects) -> None:
    assert objects.containers.keys() == COMMANDS.keys()


def test_a_wrong_setting_would_not_parse(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADLOOM_HEALTH_PORT", "high")
    with pytest.raises(typer.BadParameter, match="integer"):
        COMMANDS["worker"].make_context("worker", [])


def test_every_variable_is_known_to_the_program(container: Container) -> None:
    unknown = container.environment.keys() - variables(COMMANDS[container.role]) - OTHERS.keys()
    assert unknown == set()


def test_it_listens_where_its_ports_say(container: Container, parsed: dict[str, Any]) -> None:
    assert container.ports == {name: parsed[option] for name, option in PORTS[container.role].items()}
    for option in BEYOND_LOOPBACK[container.role]:
        assert parsed[option] == "0.0.0.0"
    assert all(len(name) <= 15 for name in container.ports)


def test_its_log_is_json(parsed: dict[str, Any]) -> None:
    assert parsed["log_format"] == "json"


def test_kubernetes_adds_no_variables_of_its_own(container: Container) -> None:
    assert container.pod["enableServiceLinks"] is False, "a Service makes GRADLOOM_..._PORT=tcp://..."


@pytest.mark.parametrize(
    ("probe", "asks"), [("startupProbe", LIVE), ("readinessProbe", READY), ("livenessProbe", LIVE)]
)
def test_probes_ask_what_is_answered(
    container: Container, parsed: dict[str, Any], probe: str, asks: str
) -> None:
    asked = container.spec[probe]
    if container.role == "dashboard":
        assert asked["httpGet"]["path"] == "/health"
        assert asked["httpGet"]["port"] == "http"
    else:
        assert asked["grpc"] == {"port": parsed["health_port"], "service": asks}
    assert asked["timeoutSeconds"] <= asked["periodSeconds"]


def test_a_slow_start_is_no_death_and_a_hang_is(container: Container) -> None:
    def patience(probe: str) -> int:
        return int(container.spec[probe]["periodSeconds"] * container.spec[probe]["failureThreshold"])

    assert patience("startupProbe") >= 120
    assert patience("livenessProbe") >= 60
    assert patience("readinessProbe") <= 10


def test_it_has_the_time_to_leave_in_good_order(container: Container, parsed: dict[str, Any]) -> None:
    needs_s = {
        "coordinator": LAST_CHECKPOINTS_S + GRACE_S + LAST_WRITES_S,
        "worker": parsed.get("drain_timeout_s", 0.0),
        "dashboard": 2.0,
    }
    assert container.pod["terminationGracePeriodSeconds"] >= needs_s[container.role] + 10


def test_pods_are_restricted(container: Container) -> None:
    pod, spec = container.pod, container.spec
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == UID
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers"}
    allowed = {"name", "emptyDir", "secret", "persistentVolumeClaim"}
    assert all(volume.keys() <= allowed for volume in pod["volumes"])


def test_its_account_has_no_token(container: Container, objects: Objects) -> None:
    assert container.pod["automountServiceAccountToken"] is False
    account = objects.one("ServiceAccount", container.pod["serviceAccountName"])
    assert account["automountServiceAccountToken"] is False
    assert account["metadata"]["name"] == f"gradloom-{container.role}"


def test_every_mount_is_of_a_volume_that_is_there(container: Container, objects: Objects) -> None:
    claims = container.workload["spec"].get("volumeClaimTemplates", ())
    volumes = {one["name"]: one for one in container.pod["volumes"]} | {
        one["metadata"]["name"]: {} for one in claims
    }
    mounts = container.spec["volumeMounts"]
    assert {one["name"] for one in mounts} == volumes.keys()
    assert len({one["mountPath"] for one in mounts}) == len(mounts)
    assert "/tmp" in {one["mountPath"] for one in mounts}, "nothing else of the root may be written to"
    for volume in volumes.values():
        if "persistentVolumeClaim" in volume:
            assert objects.has("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])


def mount_of(container: Container, path: str) -> dict[str, Any]:
    """The mount that a path lies in."""
    found = [one for one in container.spec["volumeMounts"] if Path(path).is_relative_to(one["mountPath"])]
    assert found, f"{path} is on no volume"
    return dict(found[0])


def test_files_that_settings_name_are_on_volumes(container: Container, parsed: dict[str, Any]) -> None:
    written = {"data_dir", "checkpoint_uri", "upload_uri"}
    for option, value in parsed.items():
        for path in str(value or "").split(","):
            if path.startswith("/"):
                mount = mount_of(container, path)
                assert option not in written or not mount.get("readOnly"), f"{option} can't be written to"


def test_requests_are_within_limits(container: Container) -> None:
    resources = container.spec["resources"]
    for what in ("cpu", "memory"):
        assert quantity(resources["requests"][what]) <= quantity(resources["limits"][what])


def test_a_worker_computes_in_one_thread_and_its_cache_fits(objects: Objects) -> None:
    """More threads would give other bits, so more cores are more workers; and a cache sized for them would be small."""
    one = objects.containers["worker"]
    assert one.environment["OPENBLAS_NUM_THREADS"] == one.environment["OMP_NUM_THREADS"] == "1"
    assert quantity(one.limits["cpu"]) == 1
    share = (
        int(one.environment["GRADLOOM_CACHE_BYTES"]) / quantity(one.limits["memory"]) or worker.CACHE_FRACTION
    )
    assert 0.3 <= share <= 0.6


def test_partials_leave_room_in_the_coordinators_memory(objects: Objects) -> None:
    one = objects.containers["coordinator"]
    assert float(one.environment["GRADLOOM_PARTIALS_LIMIT"]) * GIB <= quantity(one.limits["memory"]) / 2


def test_a_worker_has_its_pods_name_and_knows_its_machine(objects: Objects) -> None:
    wanted = {"GRADLOOM_WORKER_NAME": "metadata.name", "GRADLOOM_NODE": "spec.nodeName"}
    env = {one["name"]: one for one in objects.containers["worker"].spec["env"]}
    assert {name: env[name]["valueFrom"]["fieldRef"]["fieldPath"] for name in wanted} == wanted


def test_uploads_leave_room_on_the_coordinators_volume(objects: Objects) -> None:
    one = objects.containers["coordinator"]
    (claim,) = one.workload["spec"]["volumeClaimTemplates"]
    size_gib = quantity(claim["spec"]["resources"]["requests"]["storage"]) / GIB
    assert float(one.environment["GRADLOOM_UPLOAD_LIMIT"]) <= size_gib / 2
    assert one.environment["GRADLOOM_DATA_DIR"] == mount_of(one, "/var/lib/gradloom")["mountPath"]


def test_what_clients_send_is_where_workers_may_read_it(objects: Objects) -> None:
    uploads = objects.containers["coordinator"].environment.get("GRADLOOM_UPLOAD_URI")
    if uploads is None:
        assert "GRADLOOM_DATA_ALLOW" not in objects.containers["worker"].environment
        return
    allowed = objects.containers["worker"].environment["GRADLOOM_DATA_ALLOW"].split(",")
    assert any(f"{uploads}/".startswith(f"{root}/") for root in allowed)


def test_workers_and_dashboard_call_the_coordinators_service(objects: Objects) -> None:
    ports = {
        port["name"]: port["port"] for port in objects.one("Service", "gradloom-coordinator")["spec"]["ports"]
    }
    for role in ("worker", "dashboard"):
        assert (
            objects.containers[role].environment["GRADLOOM_CLUSTER"]
            == f"gradloom-coordinator:{ports['grpc']}"
        )


def test_services_find_their_pods_and_ports(objects: Objects) -> None:
    found = {}
    for service in objects.of("Service"):
        (role,) = objects.selected(service["spec"]["selector"])
        container = objects.containers[role]
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in container.ports
            assert port["port"] == container.ports[port["targetPort"]]
        found[service["metadata"]["name"]] = role
    assert found == {
        "gradloom-coordinator": "coordinator",
        "gradloom-coordinator-pods": "coordinator",
        "gradloom-worker": "worker",
        "gradloom-dashboard": "dashboard",
    }
    stateful = objects.one("StatefulSet", "gradloom-coordinator")
    governing = objects.one("Service", stateful["spec"]["serviceName"])["spec"]
    assert governing["clusterIP"] == "None"
    assert governing["publishNotReadyAddresses"] is True


def test_workloads_own_their_pods(container: Container, objects: Objects) -> None:
    selector = container.workload["spec"]["selector"]["matchLabels"]
    assert objects.selected(selector) == [container.role]
    for spread in container.pod.get("topologySpreadConstraints", ()):
        assert objects.selected(spread["labelSelector"]["matchLabels"]) == [container.role]


def test_workers_are_spread_over_machines(objects: Objects) -> None:
    spread = objects.containers["worker"].pod["topologySpreadConstraints"]
    assert [(one["topologyKey"], one["whenUnsatisfiable"]) for one in spread] == [
        ("kubernetes.io/hostname", "ScheduleAnyway")
    ]


def test_images_are_those_of_compose(objects: Objects) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    theirs = {role: compose["services"][role]["image"] for role in COMMANDS}
    ours = {
        role: one.spec["image"].removeprefix("registry.example.com/")
        for role, one in objects.containers.items()
    }
    assert ours == theirs


def test_images_start_what_was_asked_about(container: Container) -> None:
    lines = (ROOT / container.role / "Dockerfile").read_text().splitlines()
    (entry,) = (
        json.loads(line.removeprefix("ENTRYPOINT")) for line in lines if line.startswith("ENTRYPOINT")
    )
    assert entry[-1] in {f"gradloom-{container.role}", f"gradloom_{container.role}"}
    assert any(line.split() in (["USER", str(UID)], ["USER", f"{UID}:{UID}"]) for line in lines)

"""The Dockerfiles and docker-compose.yml as they are written; tests/compose runs them."""

import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from gradloom import settings
from gradloom_coordinator.__main__ import app as coordinator_app
from gradloom_dashboard.__main__ import app as dashboard_app
from gradloom_worker.__main__ import app as worker_app

ROOT = Path(__file__).parents[2]
APPS = {"coordinator": coordinator_app, "worker": worker_app, "dashboard": dashboard_app}
COMPOSE_FILES = ("docker-compose.yml", "docker-compose.postgres.yml", "docker-compose.tls.yml")
LIMIT_S = 120.0
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
OWN_PREFIX = "GRADLOOM_"
ONLY_NEWER_COMPOSE_KNOWS = (
    *(
        "name:",
        "include:",
        "configs:",
        "develop:",
        "start_interval:",
        "dockerfile_inline:",
        "!reset",
        "!override",
    ),
    *("env_file:\n", "required: false"),
)
NEEDS_BUILDKIT = ("# syntax=", "--mount", "<<EOF", "--chmod", "--link")


def dockerfile(service: str) -> str:
    return (ROOT / service / "Dockerfile").read_text()


@cache
def compose(name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return values


def services() -> list[tuple[str, str, dict[str, Any]]]:
    """File, name, what it says."""
    return [(file, name, said) for file in COMPOSE_FILES for name, said in compose(file)["services"].items()]


def variables_of(service: str) -> set[str]:
    """What its command and its settings read of the environment."""
    command = typer.main.get_command(APPS[service])
    found: set[str] = {*settings.ACCESS_VARIABLES, *settings.KEY_VARIABLES}
    found.add(settings.STORE_PASSWORD_VARIABLE)
    for parameter in command.params:
        envvar = parameter.envvar
        found.update([envvar] if isinstance(envvar, str) else envvar or ())
    return found


# ---- Dockerfiles


@pytest.mark.parametrize("service", APPS)
def test_hadolint_has_nothing_to_say(service: str) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, "--no-color", ROOT / service / "Dockerfile"],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("service", APPS)
def test_an_older_engine_builds_it(service: str) -> None:
    assert not [words for words in NEEDS_BUILDKIT if words in dockerfile(service)]


def test_the_three_differ_in_nothing_but_the_service() -> None:
    def neutral(service: str) -> str:
        head, _, tail = dockerfile(service).partition("# ---- the wheel")
        assert head.count("\n#") == 4
        stages, _, _ = tail.replace(f"copy {service}", "copy SERVICE").partition("# ---- the image")
        own = stages.replace(f"COPY {service}/requirements", "COPY SERVICE/requirements")
        return own.replace(f"bin/gradloom-{service}", "bin/gradloom-SERVICE")

    assert neutral("coordinator") == neutral("worker") == neutral("dashboard")


def locked(service: str) -> dict[str, str]:
    """Versions by package."""
    lines = (ROOT / service / "requirements.lock").read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)", lines, re.MULTILINE))


def test_what_two_images_have_in_common_is_of_one_version() -> None:
    versions: dict[str, set[str]] = {}
    for service in APPS:
        for package, version in locked(service).items():
            versions.setdefault(package, set()).add(version)
    assert {"numpy", "pyarrow", "scipy", "sqlalchemy", "nicegui"} <= versions.keys()
    assert not [package for package, found in versions.items() if len(found) > 1]


def test_no_service_brings_what_only_others_need() -> None:
    assert not locked("worker").keys() & {"nicegui", "fastapi", "sqlalchemy", "matplotlib", "scikit-learn"}
    assert not locked("coordinator").keys() & {"nicegui", "fastapi", "scipy", "matplotlib", "scikit-learn"}
    assert not locked("dashboard").keys() & {
        "pyarrow",
        "scipy",
        "sqlalchemy",
        "matplotlib",
        "prometheus-client",
    }


@pytest.mark.parametrize("service", APPS)
def test_an_image_is_named_after_the_version_and_never_runs_as_root(service: str) -> None:
    text = dockerfile(service)
    assert f'image.version="{VERSION}"' in text
    assert f"gradloom-{service}:{VERSION}" in text
    assert text.index("USER 10001:10001") < text.index(f'ENTRYPOINT ["gradloom-{service}"]')


@pytest.mark.parametrize("service", APPS)
def test_what_an_image_sets_its_command_reads(service: str) -> None:
    known = variables_of(service)
    assert set(re.findall(rf"\b({OWN_PREFIX}[A-Z_]+)=", dockerfile(service))) <= known


@pytest.mark.parametrize("service", APPS)
def test_a_probe_asks_at_the_port_that_is_listened_at(service: str) -> None:
    text = dockerfile(service)
    probed = re.search(r'"gradloom", "health", "(?:http://)?127\.0\.0\.1:(\d+)', text)
    listens = re.search(r"GRADLOOM_(?:HEALTH|DASHBOARD)_PORT=(\d+)", text)
    assert probed is not None
    assert listens is not None
    assert probed[1] == listens[1]


def test_nothing_gets_into_the_context_that_is_not_named() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"


# ---- docker-compose.yml


def test_it_follows_the_schema_of_compose() -> None:
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*words, *(ROOT / file for file in COMPOSE_FILES)], capture_output=True, text=True, timeout=LIMIT_S
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", COMPOSE_FILES)
def test_the_first_compose_would_take_it(file: str) -> None:
    text = (ROOT / file).read_text()
    assert not [words for words in ONLY_NEWER_COMPOSE_KNOWS if re.search(rf"(^|\s){re.escape(words)}", text)]
    assert ":+" not in text
    assert "version" not in compose(file)


def test_everything_is_published_on_this_machine_alone() -> None:
    ports = [port for _, _, said in services() for port in said.get("ports", ())]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:${PUBLISH_") for port in ports)


def test_what_it_sets_the_service_reads() -> None:
    for file, name, said in services():
        own = {variable for variable in said.get("environment", {}) if variable.startswith(OWN_PREFIX)}
        if name in APPS:
            assert own, f"{file} tells {name} nothing"
            # said once for all, though the control room reads no data, and the coordinator alone knows the tokens
            assert own - {"GRADLOOM_DATA_ALLOW", "GRADLOOM_TOKENS_FILE"} <= variables_of(name), (
                f"{file}: {name}"
            )
        else:
            assert not own, f"{file}: {name}"


def test_what_it_mounts_is_there() -> None:
    for _, name, said in services():
        for volume in said.get("volumes", ()):
            source = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).split(":")[0]
            if source.startswith("./") and source != "./certs":
                assert (ROOT / source).exists(), f"{name} mounts {source}"


def test_every_service_has_a_limit_comes_back_and_may_do_little() -> None:
    for file, name, said in services():
        if file == "docker-compose.yml" or name == "postgres":
            assert said["restart"] == "unless-stopped", name
            assert {"mem_limit", "cpus"} <= said.keys(), name
            assert said["security_opt"] == ["no-new-privileges:true"], name
        if file == "docker-compose.yml":
            assert said["cap_drop"] == ["ALL"], name


def test_grafana_finds_its_dashboards_and_prometheus_where_they_are_mounted() -> None:
    grafana = compose("docker-compose.yml")["services"]["grafana"]
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in grafana["volumes"]}
    folder = ROOT / mounted["/etc/grafana/provisioning"]
    (provider,) = yaml.safe_load((folder / "dashboards" / "gradloom.yml").read_text())["providers"]
    boards = ROOT / mounted[provider["options"]["path"]]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (boards / home.name).exists()
    assert str(home.parent) == provider["options"]["path"]
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"

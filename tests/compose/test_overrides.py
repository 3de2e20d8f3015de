"""docker-compose.yml with both of its overrides: everything over mutual TLS, jobs in PostgreSQL, secrets in files."""

import json
import re
import secrets
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from builders.containers import LIMIT_S, SERVICES, Stack, docker, inspected, running, until
from gradloom import Client
from gradloom.cli import main
from gradloom.errors import GradloomError
from gradloom.jobs import JobState
from gradloom.tls import TlsFiles

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1800)]

OVERRIDES = ("docker-compose.tls.yml", "docker-compose.postgres.yml")
DATA, TARGET = "/data/breast_cancer.csv", "diagnosis"


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a user makes before ``docker compose up``."""

    certs: Path
    password: Path
    token: str

    def words(self) -> list[str]:
        """Everything that nobody may see."""
        keys = [key.read_text() for key in self.certs.glob("*.key")]
        bodies = [body for key in keys for body in re.findall(r"^[A-Za-z0-9+/=]{40,}$", key, re.MULTILINE)]
        assert len(bodies) >= 4
        return [*bodies, self.password.read_text().strip(), self.token]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, engine: None) -> Secrets:
    folder = tmp_path_factory.mktemp("secrets")
    certs, password, token = (folder / name for name in ("certs", "password", "token"))
    tokens = certs / "tokens.json"
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("GRADLOOM_CERTS", raising=False)
        assert main(["certs", "init", "--dir", str(certs), "--host", "coordinator"]) == 0
        assert main(["certs", "issue", "dashboard", "--role", "dashboard", "--dir", str(certs)]) == 0
        words = ["token", "create", "ann", "--role", "operator", "--file", str(tokens), "--out", str(token)]
        assert main(words) == 0
    password.write_text(secrets.token_hex(24))
    password.chmod(0o644)
    return Secrets(certs, password, token.read_text().strip())


@pytest.fixture(scope="module")
def stack(images: dict[str, str], made: Secrets) -> Iterator[Stack]:
    settings = {"CERTS": str(made.certs), "POSTGRES_PASSWORD_FILE": str(made.password), "WORKERS": "1"}
    with running(*OVERRIDES, services=(*SERVICES, "postgres"), **settings) as up:
        yield up


@pytest.fixture
def client(stack: Stack, made: Secrets) -> Iterator[Client]:
    with Client(stack.address, tls=TlsFiles.of(made.certs, "admin")) as one:
        yield one


def test_a_job_trains_and_outlives_its_coordinator_in_postgresql(stack: Stack, client: Client) -> None:
    job = client.submit("logistic", data=DATA, target=TARGET)
    view = job.wait(LIMIT_S)
    assert view.state is JobState.COMPLETED, view.reason
    (coordinator,) = stack.containers("coordinator")
    docker("restart", coordinator)
    until(lambda: client.workers(), "the worker is back")
    assert client.job(job.id).view().parameters_sha256 == view.parameters_sha256
    assert "gradloom.db" not in docker("exec", coordinator, "ls", "/var/lib/gradloom").split()


def test_who_shows_no_certificate_is_not_let_in(stack: Stack) -> None:
    with Client(stack.address, timeout_s=20.0) as stranger, pytest.raises(GradloomError):
        stranger.workers()


def test_the_control_room_asks_who_one_is(stack: Stack) -> None:
    with urllib.request.urlopen(f"http://localhost:{stack.ports['PUBLISH_DASHBOARD']}/", timeout=60) as page:
        assert page.url.partition("?")[0].endswith("/login")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_its_own_key_and_no_other(stack: Stack, service: str) -> None:
    files = docker(
        "exec", stack.containers(service)[0], "sh", "-c", "stat --format '%n %u %a' /tls/*"
    ).splitlines()
    tokens = ["tokens.json"] if service == "coordinator" else []
    assert files == [f"/tls/{name} 10001 400" for name in ("ca.pem", "own.key", "own.pem", *tokens)]


def test_renewed_certificates_are_handed_out_while_everything_runs(
    stack: Stack, client: Client, made: Secrets
) -> None:
    assert main(["certs", "renew", "--all", "--dir", str(made.certs)]) == 0
    stack.compose("run", "--rm", "certs")
    with Client(stack.address, tls=TlsFiles.of(made.certs, "admin")) as anew:
        assert anew.submit("logistic", data=DATA, target=TARGET).wait(LIMIT_S).state is JobState.COMPLETED


def test_no_secret_is_to_be_seen(stack: Stack, made: Secrets, images: dict[str, str]) -> None:
    seen = json.dumps(inspected(*stack.containers(), *images.values()))
    seen += "".join(docker("history", "--no-trunc", image) for image in images.values())
    seen += stack.compose("logs", "--no-color")
    assert not [word for word in made.words() if word in seen]

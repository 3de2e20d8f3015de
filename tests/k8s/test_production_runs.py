"""The pods of production and of the standby overlay run, with the certificates and tokens of Secrets that change."""

import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pytest
from cryptography import x509

from builders.durable import until
from builders.manifests import Objects, rendered
from builders.pods import Machine, Pod
from builders.postgres import programs, running_postgres
from builders.secret_volumes import CertManager, SecretVolume
from gradloom import Client
from gradloom.errors import NotAllowed, Unauthenticated
from gradloom.roles import Role
from gradloom.tls import TlsFiles
from gradloom.tokens import TokenBook, new_token, to_json
from k8s.training import LIMIT_S, ended, submit, until_round

pytestmark = pytest.mark.system


@dataclass
class Secured:
    """The production overlay on this machine."""

    machine: Machine
    objects: Objects
    data: Path
    book: TokenBook = field(default_factory=TokenBook)

    def __post_init__(self) -> None:
        self.authority = CertManager(self.objects)
        self.tls = {role: SecretVolume(self.machine.folder / role) for role in self.objects.containers}
        self.tokens = SecretVolume(self.machine.folder / "tokens")
        for role in self.tls:
            self.renew(role)

    def renew(self, role: str) -> None:
        """Another certificate for one of the pods."""
        self.tls[role].show(self.authority.secret(f"gradloom-{role}-tls"))

    def new_token(self, name: str, role: Role) -> str:
        """Change the Secret with the tokens."""
        text, token = new_token(name, role, time.time(), None)
        self.book = self.book.with_one(token)
        self.tokens.show({"tokens.json": to_json(self.book).encode()})
        return text

    def run(self, role: str, name: str = "gradloom-0", **instead: str) -> Pod:
        """Start a pod; what production keeps in an object store is in folders here."""
        mounts = {"tls": self.tls[role].folder, "tokens": self.tokens.folder}
        if role == "coordinator":
            mounts["state"] = self.machine.folder / name
            instead |= {
                f"GRADLOOM_{what}_URI": str(self.machine.folder / what) for what in ("CHECKPOINT", "UPLOAD")
            }
        if role != "dashboard":
            instead |= {"GRADLOOM_DATA_ALLOW": str(self.data)}
        return self.machine.run(self.objects.containers[role], name, mounts, **instead)

    def files_of(self, secret: str) -> TlsFiles:
        """A Secret as somebody has fetched it with kubectl."""
        volume = SecretVolume(self.machine.folder / secret)
        volume.show(self.authority.secret(secret))
        return tls_in(volume.folder)


def tls_in(folder: Path) -> TlsFiles:
    return TlsFiles(folder / "ca.crt", folder / "tls.crt", folder / "tls.key")


@pytest.fixture
def secured(here: Machine, data: Path) -> Secured:
    return Secured(here, rendered("overlays/production"), data)


def serial_at(port: int, files: TlsFiles) -> int:
    """Of the certificate that a server shows now."""
    context = ssl.create_default_context(cafile=str(files.ca))
    context.load_cert_chain(files.cert, files.key)
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("localhost", port), timeout=LIMIT_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        shown = wrapped.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


def test_production_lets_in_those_it_should_and_takes_up_what_changes(
    secured: Secured, reference: str
) -> None:
    secured.new_token("ana", Role.OPERATOR)
    coordinator = secured.run("coordinator").until_ready()
    address = f"localhost:{coordinator.ports['grpc']}"
    secured.run("worker", "gradloom-worker-a", GRADLOOM_CLUSTER=address).until_ready()
    admin = secured.files_of("gradloom-admin-tls")

    with Client(address, tls=admin) as client:
        assert completes(client, secured.data) == reference
    with (
        Client(address, tls=tls_in(secured.tls["worker"].folder)) as client,
        pytest.raises(NotAllowed, match="needs the role"),
    ):
        client.jobs()

    later = secured.new_token("bo", Role.VIEWER)  # no restart: the Secret changes under the coordinator
    with Client(address, tls=admin, token=later) as client:
        until(lambda: role_of(client) == Role.VIEWER, "the new token is known")

    before = serial_at(coordinator.ports["grpc"], admin)
    secured.renew("coordinator")
    until(lambda: serial_at(coordinator.ports["grpc"], admin) != before, "the renewed certificate is shown")
    with Client(address, tls=admin) as client:
        assert completes(client, secured.data) == reference


def completes(client: Client, data: Path) -> str:
    return str(ended(submit(client, data)).parameters_sha256)


def role_of(client: Client) -> str:
    try:
        return client.whoami().role
    except Unauthenticated:
        return ""


def test_people_log_in_to_productions_dashboard_and_keep_their_roles(secured: Secured) -> None:
    token = secured.new_token("ana", Role.OPERATOR)
    coordinator = secured.run("coordinator").until_ready()
    dashboard = secured.run(
        "dashboard", GRADLOOM_CLUSTER=f"localhost:{coordinator.ports['grpc']}"
    ).until_ready()
    page = f"http://127.0.0.1:{dashboard.ports['http']}"
    browser = build_opener(HTTPCookieProcessor())
    with browser.open(f"{page}/", timeout=LIMIT_S) as first:
        assert first.url.endswith("/login")
    form = Request(f"{page}/login", urlencode({"token": token, "next": "/"}).encode(), {"Origin": page})
    with browser.open(form, timeout=LIMIT_S) as inside:
        assert inside.url == f"{page}/"
    with browser.open(f"{page}/new", timeout=LIMIT_S) as steering:  # only for those who may steer
        assert steering.status == 200


def test_the_standby_is_alive_and_not_ready_until_the_leader_dies(
    here: Machine, data: Path, reference: str, database: str
) -> None:
    secured = Secured(here, rendered("overlays/standby"), data)
    secured.new_token("ana", Role.OPERATOR)
    leader = secured.run("coordinator", "gradloom-coordinator-0", GRADLOOM_STORE_URL=database).until_ready()
    standby = secured.run("coordinator", "gradloom-coordinator-1", GRADLOOM_STORE_URL=database)
    standby.until("startupProbe")
    both = ",".join(f"localhost:{pod.ports['grpc']}" for pod in (leader, standby))
    secured.run("worker", "gradloom-worker-a", GRADLOOM_CLUSTER=both).until_ready()
    with Client(both, tls=secured.files_of("gradloom-admin-tls")) as client:
        job = submit(client, data)
        until_round(job, 20)
        assert (standby.passes("livenessProbe"), standby.passes("readinessProbe")) == (True, False)
        leader.kill()
        standby.until("readinessProbe")
        assert ended(job).parameters_sha256 == reference
    assert "gradloom-coordinator-0.gradloom-coordinator-pods:50051" in standby.said


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    binaries = programs()
    if binaries is None:
        pytest.skip("no PostgreSQL: initdb is not installed")
    with running_postgres(binaries) as server:
        yield server.new_database()

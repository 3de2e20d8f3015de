"""The health port of a service, and ``gradloom health``, which asks it."""

import asyncio
import http.server
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from builders.certificates import cluster_tls
from gradloom.cli import main
from gradloom.cli.health import ask
from gradloom.credentials import Certificates, server_credentials
from gradloom.errors import InvalidInput, Unavailable
from gradloom.health import HealthServer

SERVICE = "gradloom.v1.JobService"
LIMIT_S = 30.0


class Probed:
    """A service whose readiness a test decides."""

    def __init__(self) -> None:
        self.is_ready = False
        self.address = ""

    async def says(self, service: str) -> str:
        """What ``gradloom health`` hears."""
        return await asyncio.to_thread(ask, self.address, service, LIMIT_S)


@pytest.fixture
async def probed() -> AsyncIterator[Probed]:
    service = Probed()
    server = HealthServer("127.0.0.1", 0, lambda: service.is_ready, (SERVICE,))
    service.address = await server.start()
    yield service
    await server.stop()


async def test_it_is_alive_before_it_is_ready(probed: Probed) -> None:
    assert [await probed.says(name) for name in ("", "live")] == ["SERVING"] * 2
    assert [await probed.says(name) for name in ("ready", SERVICE)] == ["NOT_SERVING"] * 2


async def test_readiness_comes_and_goes(probed: Probed) -> None:
    probed.is_ready = True
    assert [await probed.says(name) for name in ("ready", SERVICE)] == ["SERVING"] * 2
    probed.is_ready = False
    assert await probed.says("ready") == "NOT_SERVING"


async def test_an_unknown_service_is_named_with_those_that_there_are(probed: Probed) -> None:
    said = await probed.says("raedy")
    assert said == f"service 'raedy' is not known; there are: {SERVICE}, live, ready"


async def test_nobody_is_watched(probed: Probed) -> None:
    async with grpc.aio.insecure_channel(probed.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=LIMIT_S)
        assert await watch.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_port_in_use_is_refused_by_its_name(probed: Probed) -> None:
    port = int(probed.address.rpartition(":")[2])
    with pytest.raises(InvalidInput, match=f"health_port: {port} is in use; choose another"):
        await HealthServer("127.0.0.1", port, lambda: True).start()


@pytest.mark.parametrize("host", ["::", "::1"])
async def test_it_listens_on_ipv6(host: str) -> None:
    server = HealthServer(host, 0, lambda: True)
    address = await server.start()
    try:
        assert address.startswith(f"[{host}]:")
        said = await asyncio.to_thread(ask, f"[::1]:{address.rpartition(':')[2]}", "live", LIMIT_S)
    finally:
        await server.stop()
    assert said == "SERVING"


async def test_a_port_that_speaks_tls_is_told_from_one_where_nobody_is(tmp_path: Path) -> None:
    server = grpc.aio.server()
    certificates = Certificates(cluster_tls(tmp_path).coordinator)
    port = server.add_secure_port("127.0.0.1:0", server_credentials(certificates))
    await server.start()
    try:
        with pytest.raises(Unavailable, match=r"does not answer: it speaks TLS; .* --health-port"):
            await asyncio.to_thread(ask, f"127.0.0.1:{port}", "live", LIMIT_S)
    finally:
        await server.stop(None)


async def test_an_address_of_another_machine_is_refused_by_its_name() -> None:
    with pytest.raises(InvalidInput, match=r"health_host: 192\.0\.2\.7 is no address of this machine"):
        await HealthServer("192.0.2.7", 0, lambda: True).start()


async def test_it_can_be_stopped_twice() -> None:
    server = HealthServer("127.0.0.1", 0, lambda: True)
    address = await server.start()
    await server.stop()
    await server.stop()
    with pytest.raises(Unavailable, match=f"{address} does not answer"):
        await asyncio.to_thread(ask, address, "live", LIMIT_S)


# ---- the command


class Page(http.server.BaseHTTPRequestHandler):
    """200 for /health, 500 for everything else."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 500)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def page() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_page_is_well_if_it_says_200(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["health", f"{page}/health"]) == 0
    assert capsys.readouterr().out == "SERVING\n"
    assert main(["health", f"{page}/elsewhere"]) == 1
    assert capsys.readouterr().err == "HTTP status 500\n"


def test_json_says_what_was_asked_and_answered(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    target = f"{page}/health"
    assert main(["health", target, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"target": target, "healthy": True, "answer": "SERVING"}


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_silence_is_not_health(scheme: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # it accepts, and never says a word
        target = f"{scheme}127.0.0.1:{listener.getsockname()[1]}"
        assert main(["health", target, "--timeout", "0.2"]) == 1
    assert "does not answer" in capsys.readouterr().err


def test_words_that_are_missing_or_unknown_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["health"]) == main(["health", "localhost:1", "--servce", "live"]) == 2
    assert "unrecognized arguments: --servce live" in capsys.readouterr().err
    assert main(["health", "--help"]) == 0


@pytest.mark.parametrize(
    "words",
    [
        *(["localhost"], ["localhost:0"], ["localhost:70000"], ["localhost:1/health"], ["me@localhost:1"]),
        *(["http://"], ["http://localhost:many/"], ["https://localhost:1"], ["[::1:50051"], [""]),
        *(["localhost:1", "--timeout", value] for value in ("0", "-1", "nan", "61")),
    ],
)
def test_what_can_not_be_asked_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["health", *words]) == 2
    assert "is not allowed; it must" in capsys.readouterr().err

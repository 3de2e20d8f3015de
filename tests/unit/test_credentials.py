"""Mutual TLS over real sockets: who gets in, what those who don't are told, and that renewed files count."""

import asyncio
import contextlib
import logging
import shutil
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from builders.certificates import cluster_tls, folder_of, issued, now, serial_of
from gradloom.certificate_folder import renew_in
from gradloom.channels import Channels, Methods
from gradloom.client import Client
from gradloom.connection import CHANNEL_OPTIONS, CHANNEL_OPTIONS_OF_SEVERAL
from gradloom.credentials import Certificates, server_credentials
from gradloom.errors import InvalidInput, NotTrusted, Unavailable
from gradloom.handshake import find_trouble
from gradloom.settings import WorkerSettings
from gradloom.tls import ClusterTls, TlsFiles
from gradloom_coordinator.peers import PeerCertificate, peer_certificate
from gradloom_worker.calling import Line

OPTIONS = (("grpc.so_reuseport", 0),)


@pytest.fixture
def tls(tmp_path: Path) -> ClusterTls:
    return cluster_tls(tmp_path / "certs")


@asynccontextmanager
async def serving(credentials: grpc.ServerCredentials | None) -> AsyncIterator[tuple[str, list[Any]]]:
    """A server of one method that answers nothing; its address, and who called."""
    callers: list[PeerCertificate | None] = []

    async def answer(_: bytes, context: Any) -> bytes:
        callers.append(peer_certificate(context))
        return b""

    server = grpc.aio.server(options=OPTIONS)
    handler = grpc.method_handlers_generic_handler("t", {"Ask": grpc.unary_unary_rpc_method_handler(answer)})
    server.add_generic_rpc_handlers((handler,))
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield f"127.0.0.1:{port}", callers
    finally:
        await server.stop(None)


def ask(channels: Channels) -> None:
    class Stub:
        def __init__(self, channel: grpc.Channel) -> None:
            self.ask = channel.unary_unary("/t/Ask")

    Methods(Stub, channels).ask(b"", timeout=10.0)


async def asking(address: str, files: TlsFiles | None) -> str:
    """What a client with these files is told: nothing, or the trouble that is found."""

    def try_it() -> str:
        channels = Channels((address,), None if files is None else Certificates(files), ())
        try:
            with contextlib.suppress(grpc.RpcError):
                ask(channels)
                assert channels.trouble() == ""
            return channels.trouble()
        finally:
            channels.close()

    return await asyncio.to_thread(try_it)


async def test_a_caller_is_who_its_certificate_says(tls: ClusterTls) -> None:
    async with serving(server_credentials(Certificates(tls.coordinator))) as (address, callers):
        assert await asking(address, tls.client) == ""
        assert await asking(address.replace("127.0.0.1", "localhost"), tls.worker) == ""
    assert callers == [PeerCertificate("admin", "admin"), PeerCertificate("worker", "worker")]


async def test_nobody_in_particular_calls_in_plain_text() -> None:
    async with serving(None) as (address, callers):
        assert await asking(address, None) == ""
    assert callers == [None]


async def test_plain_text_goes_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment would read the token of a call that is for this machine alone."""
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for name in ("http_proxy", "https_proxy", "grpc_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        async with serving(None) as (address, callers):
            await asyncio.to_thread(ask, Channels((address,), None, CHANNEL_OPTIONS))
            await asyncio.to_thread(ask, Channels((address, address), None, CHANNEL_OPTIONS_OF_SEVERAL))
            line = Line(WorkerSettings(coordinator=address))
            async with line.open() as channel:
                await channel.unary_unary("/t/Ask")(b"", timeout=10.0)
        assert len(callers) == 3
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_a_worker_knows_when_its_certificate_ends_also_once_it_is_renewed(
    tls: ClusterTls, tmp_path: Path
) -> None:
    line = Line(WorkerSettings(tls=tls.worker))
    before = line.certificate_ends_at()
    assert before == Certificates(tls.worker).newest().valid_until.timestamp()
    issued(tmp_path / "certs", "worker", "worker", days=30.0)
    assert before - line.certificate_ends_at() == pytest.approx(60 * 86400, abs=3600)
    assert Line(WorkerSettings()).certificate_ends_at() == 0


async def test_certificates_that_are_not_accepted_are_named(tls: ClusterTls, tmp_path: Path) -> None:
    stranger = cluster_tls(tmp_path / "other").client
    bundle = tmp_path / "both.pem"  # the stranger trusts us, and we don't trust it
    bundle.write_bytes(stranger.ca.read_bytes() + tls.client.ca.read_bytes())
    async with serving(server_credentials(Certificates(tls.coordinator))) as (address, callers):
        said = await asking(address, TlsFiles(bundle, stranger.cert, stranger.key))
        assert f"the cluster at {address} does not accept the certificate of admin" in said
        said = await asking(address, stranger)
        assert f"the certificate of the cluster at {address} comes from an authority that" in said
        assert str(stranger.ca) in said
        said = await asking(address, None)
        assert f"the cluster at {address} speaks TLS, and this side does not" in said
        assert "--tls-ca" in said
    assert not callers


async def test_expired_certificates_are_refused_on_either_side(tls: ClusterTls, tmp_path: Path) -> None:
    long_ago = now() - timedelta(days=200)
    folder = tls.client.ca.parent
    expired = issued(folder, "late", "admin", at=long_ago)
    old = issued(folder, "old", "coordinator", at=long_ago)

    def then() -> Any:
        return long_ago

    async with serving(server_credentials(Certificates(tls.coordinator))) as (address, callers):
        channels = Channels((address,), Certificates(expired, then), ())
        with pytest.raises(grpc.RpcError):
            await asyncio.to_thread(ask, channels)
        assert "does not accept the certificate of late" in await asyncio.to_thread(channels.trouble)
        channels.close()
        assert not callers
    async with serving(server_credentials(Certificates(old, then))) as (address, _):
        assert "has expired" in await asking(address, tls.client)


async def test_a_server_is_called_by_a_name_in_its_certificate_alone(tls: ClusterTls) -> None:
    other = issued(tls.client.ca.parent, "other", "coordinator", ("gate.example", "10.9.8.7"))
    async with serving(server_credentials(Certificates(other))) as (address, _):
        said = await asking(address, tls.client)
    assert "is not for '127.0.0.1', but for gate.example, 10.9.8.7" in said
    assert "--host 127.0.0.1" in said


async def test_a_worker_s_certificate_can_t_serve(tls: ClusterTls) -> None:
    worker = issued(tls.client.ca.parent, "thief", "worker", ("127.0.0.1",))
    async with serving(server_credentials(Certificates(worker))) as (address, _):
        assert "unsuitable certificate purpose" in await asking(address, tls.client)


async def test_a_server_in_plain_text_is_told_from_one_that_is_away(tls: ClusterTls) -> None:
    async with serving(None) as (address, _):
        assert f"the cluster at {address} speaks plain text, and this side TLS" in await asking(
            address, tls.client
        )
    assert find_trouble(address, tls.client) == ""
    assert find_trouble(address, None) == ""
    assert find_trouble("unix:/nowhere", None) == ""
    assert find_trouble("a:1,b:2", None) == ""


@contextmanager
def listener(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Something that listens and is no gRPC; ``answer`` is given one connection after the other."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(10.0)


def test_whatever_else_listens_is_no_riddle_of_tls(tls: ClusterTls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradloom.handshake.LIMIT_S", 0.2)
    with listener(lambda connection: None) as address:  # hangs up
        assert find_trouble(address, None) == ""
    with listener(lambda connection: connection.recv(1 << 16) and None) as address:
        assert find_trouble(address, None) == ""
    silent = threading.Event()
    with listener(lambda connection: silent.wait(10.0) and None) as address:
        assert find_trouble(address, None) == ""
        assert find_trouble(address, tls.client) == ""
        silent.set()


@pytest.mark.parametrize(
    ("version", "spoken"),
    [("TLSv1", False), ("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_older_than_tls_1_2_is_not_spoken(tls: ClusterTls, version: str, spoken: bool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(tls.client.ca)
    context.load_cert_chain(tls.client.cert, tls.client.key)
    context.set_alpn_protocols(["h2"])
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    context.set_ciphers("ALL:@SECLEVEL=0")  # so that it is not our side that refuses

    def shake_hands(address: str) -> str | None:
        host, _, port = address.partition(":")
        with (
            socket.create_connection((host, int(port)), 10.0) as plain,
            context.wrap_socket(plain, server_hostname=host) as wrapped,
        ):
            return wrapped.version()

    async with serving(server_credentials(Certificates(tls.coordinator))) as (address, _):
        if spoken:
            assert await asyncio.to_thread(shake_hands, address) == version.replace("_", ".")
        else:
            with pytest.raises(ssl.SSLError):
                await asyncio.to_thread(shake_hands, address)


# ---- renewal


async def test_renewed_certificates_count_for_new_connections_on_both_sides(tls: ClusterTls) -> None:
    folder = tls.client.ca.parent
    async with serving(server_credentials(Certificates(tls.coordinator))) as (address, callers):
        first = await asyncio.to_thread(serial_of, address, tls.client)
        channels = Channels((address,), Certificates(tls.client), ())
        await asyncio.to_thread(ask, channels)
        before = channels.current()
        assert channels.current() is before
        renew_in(folder, now(), everything=True, new_keys=True)
        await asyncio.to_thread(ask, channels)
        assert channels.current() is not before
        assert await asyncio.to_thread(serial_of, address, tls.client) != first
        channels.close()
    assert len(callers) == 2


async def test_a_new_authority_is_taken_up_while_serving(tls: ClusterTls, tmp_path: Path) -> None:
    stranger = cluster_tls(tmp_path / "other").client
    folder = tls.client.ca.parent
    both = stranger.ca.read_bytes() + tls.client.ca.read_bytes()
    async with serving(server_credentials(Certificates(tls.coordinator))) as (address, callers):
        (tmp_path / "both.pem").write_bytes(both)
        files = TlsFiles(tmp_path / "both.pem", stranger.cert, stranger.key)
        assert "does not accept" in await asking(address, files)
        (folder / "new.pem").write_bytes(both)
        (folder / "new.pem").replace(folder / "ca.pem")
        assert await asking(address, files) == ""
    assert len(callers) == 1


def test_files_that_don_t_fit_change_nothing_until_they_do(
    tls: ClusterTls, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(tls.client)
    first = certificates.newest()
    other = folder_of(tmp_path / "other")
    shutil.copy(other / "admin.key", tls.client.key)  # the first of two files is replaced
    with caplog.at_level(logging.INFO, "gradloom.credentials"):
        assert certificates.newest() is first
        assert certificates.newest() is first
        assert caplog.text.count("the old ones stay") == 1
        shutil.copy(other / "admin.pem", tls.client.cert)
        shutil.copy(other / "ca.pem", tls.client.ca)
        second = certificates.newest()
        assert "renewed" in caplog.text
    assert second.cert == (other / "admin.pem").read_bytes()
    for path in (tls.client.key, tls.client.cert):
        path.unlink()
    assert certificates.newest() is second


def test_a_mount_that_is_swapped_as_kubernetes_does_it_is_noticed(tls: ClusterTls, tmp_path: Path) -> None:
    mount, one = tmp_path / "mount", tls.client.ca.parent
    two = folder_of(tmp_path / "two")
    mount.mkdir()
    (mount / "..data").symlink_to(one)
    for name in ("ca.pem", "admin.pem", "admin.key"):
        (mount / name).symlink_to(Path("..data") / name)
    certificates = Certificates(TlsFiles.of(mount, "admin"))
    first = certificates.newest()
    (mount / "..new").symlink_to(two)
    (mount / "..new").replace(mount / "..data")
    assert certificates.newest() is not first
    assert certificates.newest().ca == (two / "ca.pem").read_bytes()


# ---- the client


def test_a_client_refuses_what_is_wrong_before_it_connects(tls: ClusterTls) -> None:
    with pytest.raises(InvalidInput, match="another machine"):
        Client("coordinator.example:50051")
    with pytest.raises(InvalidInput, match="can't be read"):
        Client("coordinator.example:50051", tls=TlsFiles.of("/nowhere", "admin"))
    with Client("coordinator.example:50051", tls=tls.client):
        pass


def test_plain_text_beyond_this_machine_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    with Client("coordinator.example:50051", insecure=True):
        assert "INSECURE: what is said with coordinator.example" in caplog.text
    caplog.clear()
    with Client("127.0.0.1:50051", insecure=True):
        assert not caplog.text


async def test_a_client_says_that_a_certificate_is_the_problem_and_says_it_at_once(
    tls: ClusterTls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradloom.connection.FIRST_PAUSE_S", 60.0)  # another try would not come in time
    stranger = cluster_tls(tmp_path / "other").client
    async with serving(server_credentials(Certificates(tls.coordinator))) as (address, _):
        for files, words in (
            (stranger, "comes from an authority"),
            (None, "speaks TLS, and this side does not"),
        ):
            with Client(address, tls=files, timeout_s=30.0) as client, pytest.raises(NotTrusted, match=words):
                await asyncio.to_thread(client.jobs)
    with Client(address, tls=tls.client, timeout_s=0.3) as client, pytest.raises(Unavailable) as away:
        await asyncio.to_thread(client.jobs)
    assert not isinstance(away.value, NotTrusted)

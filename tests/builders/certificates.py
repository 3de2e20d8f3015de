"""Folders of certificates, as ``gradloom certs`` makes them, valid or not at a moment of one's choice."""

import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gradloom.certificate_folder import found_authority, issue_into
from gradloom.certificates import CertificateRole, Wish
from gradloom.tls import ClusterTls, TlsFiles

HERE = ("localhost", "127.0.0.1", "::1")
YEAR = timedelta(days=365)


def now() -> datetime:
    return datetime.now(UTC)


def folder_of(path: Path, at: datetime | None = None) -> Path:
    """An authority, and certificates for a coordinator on this machine, its workers and an admin."""
    at = at or now()
    found_authority(path, at)
    for role in (CertificateRole.COORDINATOR, CertificateRole.WORKER, CertificateRole.ADMIN):
        issued(path, role, role, at=at)
    return path


def issued(
    folder: Path,
    name: str,
    role: str = "admin",
    hosts: tuple[str, ...] | None = None,
    days: float = 90.0,
    at: datetime | None = None,
) -> TlsFiles:
    """One more certificate, or another one for a name."""
    wanted = CertificateRole(role)
    served = HERE if wanted is CertificateRole.COORDINATOR else ()
    issue_into(folder, Wish(name, wanted, served if hosts is None else hosts, days), at or now(), force=True)
    return TlsFiles.of(folder, name)


def cluster_tls(path: Path) -> ClusterTls:
    return ClusterTls.of(folder_of(path))


def serial_of(address: str, files: TlsFiles) -> str:
    """The serial number of the certificate that a server shows now."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(files.ca)
    context.load_cert_chain(files.cert, files.key)
    context.set_alpn_protocols(["h2"])
    host, _, port = address.partition(":")
    with (
        socket.create_connection((host, int(port)), 10.0) as plain,
        context.wrap_socket(plain, server_hostname=host) as wrapped,
    ):
        return str((wrapped.getpeercert() or {})["serialNumber"])


def variables(files: TlsFiles) -> dict[str, str]:
    """The files as the environment names them."""
    names = ("GRADLOOM_TLS_CA", "GRADLOOM_TLS_CERT", "GRADLOOM_TLS_KEY")
    return dict(zip(names, map(str, (files.ca, files.cert, files.key)), strict=True))

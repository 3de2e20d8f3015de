"""Makes the certificates of a small authority of one's own: EC P-256, signed with SHA-256. No file is touched here.

A certificate says who somebody is (its common name, CN), in which role (its organizational unit, OU), and, for a
coordinator, under which names and addresses it may be called (its subject alternative names). Only a coordinator's
may serve, so that a worker whose key was stolen can't stand in for it.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gradloom.errors import InvalidInput

MAX_NAME = 64
"""Characters that a common name may have."""
MAX_HOSTS = 100
MAX_HOST = 253
"""Characters that a name of the DNS may have."""
MAX_DAYS = 3650.0
CLOCKS_APART = timedelta(minutes=5)
"""A certificate is valid a little before it is made: other machines' clocks may be behind."""
RENEWABLE_FROM = 2 / 3
"""Of a certificate's life: from then on it is renewed."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


class CertificateRole(StrEnum):
    """What a certificate lets its owner be."""

    COORDINATOR = "coordinator"
    WORKER = "worker"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    DASHBOARD = "dashboard"
    """A control room that people log in to with tokens of their own: by itself it may do nothing."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A certificate as somebody wants it."""

    name: str
    role: CertificateRole
    hosts: tuple[str, ...]
    days: float


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """As a file holds it."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """As a file holds it, not encrypted."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key that nobody has."""
    return ec.generate_private_key(ec.SECP256R1())


def key_from(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """The key that a file of ours holds. Raises ValueError."""
    key = load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("it is no EC key")  # noqa: TRY004 - like all else that is wrong with the bytes
    return key


def make_authority(name: str, days: float, now: datetime) -> Pair:
    """A new authority, which signs itself. Raises InvalidInput."""
    check_name(name, spaces=True)
    check_days(days)
    key, subject = new_key(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    public = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        _begun(subject, subject, key.public_key(), now, now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(public, critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pair(certificate, key)


def issue(authority: Pair, wish: Wish, now: datetime, key: ec.EllipticCurvePrivateKey | None = None) -> Pair:
    """A certificate that an authority has signed, for a new key if none is given; it ends with the authority's.

    Raises InvalidInput.
    """
    check_wish(wish)
    key = key or new_key()
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, wish.name),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, wish.role.value),
        ]
    )
    ends = min(now + timedelta(days=wish.days), authority.certificate.not_valid_after_utc)
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if wish.role is CertificateRole.COORDINATOR:
        uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
    builder = (
        _begun(subject, authority.certificate.subject, key.public_key(), now, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False
        )
    )
    if wish.hosts:
        names = x509.SubjectAlternativeName([_general_name(host) for host in wish.hosts])
        builder = builder.add_extension(names, critical=False)
    return Pair(builder.sign(authority.key, hashes.SHA256()), key)


def wish_of(certificate: x509.Certificate) -> Wish:
    """What was wished for when a certificate of ours was issued. Raises ValueError if it is not one of ours."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return Wish(
        _said(certificate, NameOID.COMMON_NAME),
        CertificateRole(_said(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME)),
        hosts_in(certificate),
        (ends - begins - CLOCKS_APART) / timedelta(days=1),
    )


def hosts_in(certificate: x509.Certificate) -> tuple[str, ...]:
    """The names and addresses that a certificate is for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in found)


def is_due(certificate: x509.Certificate, now: datetime) -> bool:
    """Whether it is in the last third of its life, or beyond."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return now >= begins + RENEWABLE_FROM * (ends - begins)


def certificate_role_named(text: str) -> CertificateRole:
    """The role that a person wrote. Raises InvalidInput."""
    try:
        return CertificateRole(text.strip().lower())
    except ValueError:
        raise InvalidInput.unknown_name("role", text, CertificateRole) from None


def check_wish(wish: Wish) -> None:
    """Raise InvalidInput for what no certificate can be issued for."""
    check_name(wish.name)
    check_days(wish.days)
    if len(wish.hosts) > MAX_HOSTS:
        raise InvalidInput("host", f"{len(wish.hosts)} are too many; at most {MAX_HOSTS} are allowed")
    for host in wish.hosts:
        _check_host(host)
    if wish.role is CertificateRole.COORDINATOR and not wish.hosts:
        raise InvalidInput(
            "host", "a coordinator's certificate needs one: the name or address that it is called by"
        )


def check_name(name: str, *, spaces: bool = False) -> None:
    """Raise InvalidInput for a name that is no name of a file, or too long for a certificate."""
    if not _NAME.fullmatch(name.replace(" ", "") if spaces else name) or len(name) > MAX_NAME or ".." in name:
        raise InvalidInput(
            "name",
            f"{name!r} is not allowed; it must be letters, digits and . _ @ - (at most {MAX_NAME}), and begin with a"
            " letter or a digit",
        )


def check_days(days: float) -> None:
    """Raise InvalidInput for a life that is no time, or too long."""
    if not 0 < days <= MAX_DAYS:
        raise InvalidInput("days", f"{days:g} is not allowed; it must lie in (0, {MAX_DAYS:g}]")


def _check_host(host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        labels = host.removeprefix("*.").split(".")
        if len(host) > MAX_HOST or not all(map(_LABEL.fullmatch, labels)):
            raise InvalidInput(
                "host", f"{host!r} is not allowed; it must be a name or an IP address, without a port"
            ) from None


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _said(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    found: Sequence[x509.NameAttribute[str | bytes]] = certificate.subject.get_attributes_for_oid(oid)
    return str(found[0].value) if found else ""


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime,
    ends: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_APART)
        .not_valid_after(ends)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )

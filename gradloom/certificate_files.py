"""Reads the three files of mutual TLS and finds what is wrong with them before a connection is tried.

gRPC itself would say of most of it that the other side "can't be reached".
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from gradloom.errors import InvalidInput
from gradloom.tls import TlsFiles

MAX_FILE_BYTES = 1024 * 1024
MAX_CHAIN = 10
"""Certificates between one's own and its authority."""


@dataclass(frozen=True, slots=True)
class Material:
    """What the three files of one party hold, found to fit together."""

    ca: bytes
    cert: bytes
    key: bytes = field(repr=False)
    name: str
    """The certificate's common name."""
    issuer: str
    valid_until: datetime

    def __str__(self) -> str:
        return f"the certificate of {self.name} (issued by {self.issuer}, valid until {in_words(self.valid_until)})"


def in_words(moment: datetime) -> str:
    """A moment as people read it, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def read_material(files: TlsFiles, now: datetime) -> Material:
    """What the files hold at ``now``, which is compared with the certificate's dates.

    Raises InvalidInput naming ``tls_ca``, ``tls_cert`` or ``tls_key``: a file is missing or is something else, the
    key belongs to another certificate, the certificate has expired, is not valid yet, or comes from an authority
    that ``tls_ca`` does not hold.
    """
    ca_pem = read_pem("tls_ca", files.ca)
    cert_pem = read_pem("tls_cert", files.cert)
    key_pem = read_pem("tls_key", files.key)
    authorities = certificates_in("tls_ca", files.ca, ca_pem)
    chain = certificates_in("tls_cert", files.cert, cert_pem)
    _check_key(files, key_pem, chain[0])
    _check_dates(files.cert, chain[0], now)
    _check_issuer(files, chain, authorities)
    return Material(
        ca_pem,
        cert_pem,
        key_pem,
        name_of(chain[0].subject),
        name_of(chain[0].issuer),
        chain[0].not_valid_after_utc,
    )


def read_pem(field_name: str, path: Path) -> bytes:
    """A file's bytes. Raises InvalidInput if it can't be read or is too long to be one of these."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidInput(field_name, f"{path} can't be read: {error.strerror}") from None
    if len(content) > MAX_FILE_BYTES:
        raise InvalidInput(
            field_name, f"{path} is longer than {MAX_FILE_BYTES:,} bytes; it must be a PEM file"
        )
    return content


def certificates_in(field_name: str, path: Path, pem: bytes) -> list[x509.Certificate]:
    """The certificates in a PEM file, at least one. Raises InvalidInput."""
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        what = "a private key" if b"PRIVATE KEY" in pem else "no certificate in PEM"
        raise InvalidInput(
            field_name, f"{path} holds {what}; it must hold a line -----BEGIN CERTIFICATE-----"
        ) from None


def name_of(name: x509.Name) -> str:
    """The common name; else all that is said."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else name.rfc4514_string()


def issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether an authority's key has signed a certificate."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (
        ValueError,
        TypeError,
        InvalidSignature,
    ):  # another name, a kind of key that signs nothing, a wrong key
        return False
    return True


def _check_key(files: TlsFiles, pem: bytes, certificate: x509.Certificate) -> None:
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:
        raise InvalidInput(
            "tls_key",
            f"{files.key} is encrypted; take the password off with: openssl pkey -in KEY -out NEWKEY",
        ) from None
    except ValueError:
        what = "a certificate" if b"BEGIN CERTIFICATE" in pem else "no private key in PEM"
        raise InvalidInput(
            "tls_key", f"{files.key} holds {what}; it must hold a line -----BEGIN PRIVATE KEY-----"
        ) from None
    if not isinstance(key, EllipticCurvePrivateKey | RSAPrivateKey):
        raise InvalidInput(
            "tls_key", f"{files.key} is a kind of key that gRPC does not take; it must be EC (P-256) or RSA"
        )
    if key.public_key() != certificate.public_key():
        raise InvalidInput(
            "tls_key",
            f"{files.key} does not belong to the certificate of {name_of(certificate.subject)}"
            f" in {files.cert}",
        )


def _check_dates(path: Path, certificate: x509.Certificate, now: datetime) -> None:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > ends:
        raise InvalidInput(
            "tls_cert",
            f"{path} has expired: it was valid until {in_words(ends)}, and this machine's clock says {in_words(now)};"
            " renew it (gradloom certs renew)",
        )
    if now < begins:
        raise InvalidInput(
            "tls_cert",
            f"{path} is not valid yet: it will be from {in_words(begins)} on, and this machine's clock says"
            f" {in_words(now)}",
        )


def _check_issuer(
    files: TlsFiles, chain: Sequence[x509.Certificate], authorities: Sequence[x509.Certificate]
) -> None:
    """Follow the signatures from one's own certificate to an authority."""
    certificate = chain[0]
    for _ in range(MAX_CHAIN):
        if any(certificate == authority or issued_by(certificate, authority) for authority in authorities):
            return
        above = next(
            (other for other in chain[1:] if other != certificate and issued_by(certificate, other)), None
        )
        if above is None:
            break
        certificate = above
    raise InvalidInput(
        "tls_cert",
        f"{files.cert} was issued by {name_of(certificate.issuer)}, and {files.ca} holds only"
        f" {', '.join(name_of(authority.subject) for authority in authorities)}; all of a cluster need certificates"
        " of one authority",
    )

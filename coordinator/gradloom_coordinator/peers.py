"""Who is at the other end of a call: the certificate that gRPC has checked, or nobody in particular."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

KEPT = 1024
"""Certificates whose names are remembered: parsing one takes as long as a small call."""


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """The subject of a certificate that an authority of ours has signed; empty where it says nothing."""

    common_name: str
    """Who it is."""
    organizational_unit: str
    """The role."""


def peer_certificate(context: Any) -> PeerCertificate | None:
    """What a caller has proved to be, from the ServicerContext of a call; None over plain text.

    gRPC ends connections whose certificate is missing, expired or of a foreign authority before any call is heard.
    """
    pem = next(iter(context.auth_context().get("x509_pem_cert", ())), b"")
    return subject_of(bytes(pem)) if pem else None


@lru_cache(KEPT)
def subject_of(pem: bytes) -> PeerCertificate:
    """The names in a certificate; the first of each kind counts."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    subject = x509.load_pem_x509_certificate(pem).subject

    def first(oid: x509.ObjectIdentifier) -> str:
        found = subject.get_attributes_for_oid(oid)
        return str(found[0].value) if found else ""

    return PeerCertificate(first(NameOID.COMMON_NAME), first(NameOID.ORGANIZATIONAL_UNIT_NAME))

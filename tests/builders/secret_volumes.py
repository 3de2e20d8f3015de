"""Secrets as a cluster has them: cert-manager's, made of an overlay's Certificates, on volumes like a kubelet's."""

import itertools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from builders.manifests import Objects

USAGES = {"server auth": ExtendedKeyUsageOID.SERVER_AUTH, "client auth": ExtendedKeyUsageOID.CLIENT_AUTH}


@dataclass
class SecretVolume:
    """A folder whose files change all at once, as a kubelet does it: links through one link that is replaced."""

    folder: Path
    _versions: "itertools.count[int]" = field(default_factory=itertools.count)

    def show(self, files: Mapping[str, bytes]) -> None:
        """Have these files there, readable by owner and group."""
        version = self.folder / f"..version-{next(self._versions)}"
        version.mkdir(parents=True)
        for name, content in files.items():
            (version / name).write_bytes(content)
            (version / name).chmod(0o440)
        draft = self.folder / "..data_tmp"
        draft.symlink_to(version.name)
        draft.replace(self.folder / "..data")
        for name in files:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")


class CertManager:
    """Signs for the Certificates of an overlay."""

    def __init__(self, objects: Objects) -> None:
        self._specs = {one["spec"]["secretName"]: one["spec"] for one in objects.of("Certificate")}
        self._key = ec.generate_private_key(ec.SECP256R1())
        authority = self._specs["gradloom-ca"]
        assert authority["isCA"]
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, authority["commonName"])])
        self._certificate = (
            self._begun(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def secret(self, name: str) -> dict[str, bytes]:
        """What is in a Secret now: another certificate each time."""
        spec = self._specs[name]
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [
            x509.NameAttribute(NameOID.COMMON_NAME, spec["commonName"]),
            *(
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit)
                for unit in spec["subject"]["organizationalUnits"]
            ),
        ]
        names: list[Any] = [x509.DNSName(name) for name in spec.get("dnsNames", ())]
        names += [x509.IPAddress(ip_address(address)) for address in spec.get("ipAddresses", ())]
        usages = [USAGES[usage] for usage in spec["usages"] if usage in USAGES]
        certificate = (
            self._begun(x509.Name(subject), key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        return {
            "ca.crt": self._certificate.public_bytes(pem),
            "tls.crt": certificate.public_bytes(pem),
            "tls.key": key.private_bytes(
                pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        }

    def _begun(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=subject,
            public_key=key.public_key(),
            serial_number=secrets.randbits(120),
            not_valid_before=now - timedelta(minutes=1),
            not_valid_after=now + timedelta(hours=2160),
        )

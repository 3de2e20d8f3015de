"""Where TLS is needed, and which files make it. Rules alone: no file is read here, no connection is made.

Speech in plain text never leaves a machine unless somebody has said ``insecure``: whoever listens could read the
data, and whoever answers could steer the cluster.
"""

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from gradloom.errors import InvalidInput

LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})
WILDCARDS = frozenset({"", "0.0.0.0", "::", "*"})  # noqa: S104 - names of what is looked for
MAKE_THEM = "`gradloom certs init` makes them, docs/tls.md says the rest"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What one party of mutual TLS shows and trusts: three files in PEM."""

    ca: Path
    """Certificates of the authorities that the other side's certificate must come from."""
    cert: Path
    """One's own certificate, then those between it and the authority."""
    key: Path
    """Its private key, not encrypted."""

    @classmethod
    def of(cls, folder: str | os.PathLike[str], name: str) -> "TlsFiles":
        """Those of one name in a folder of ``gradloom certs``."""
        home = Path(folder).expanduser().absolute()
        return cls(home / "ca.pem", home / f"{name}.pem", home / f"{name}.key")


@dataclass(frozen=True, slots=True)
class ClusterTls:
    """What the parties of a cluster on one machine show and trust."""

    coordinator: TlsFiles
    worker: TlsFiles
    client: TlsFiles

    @classmethod
    def of(cls, folder: str | os.PathLike[str]) -> "ClusterTls":
        """Those of a folder that ``gradloom certs init`` has filled."""
        return cls(*(TlsFiles.of(folder, name) for name in ("coordinator", "worker", "admin")))


def tls_files(ca: object, cert: object, key: object) -> TlsFiles | None:
    """The files that somebody named; None if all three are empty. Raises InvalidInput if only some are given."""
    given = {"tls_ca": ca, "tls_cert": cert, "tls_key": key}
    paths = {name: Path(str(value)).expanduser().absolute() for name, value in given.items() if value}
    if not paths:
        return None
    for name in given:
        if name not in paths:
            there = " and ".join(map(_option, paths))
            raise InvalidInput(
                name,
                f"{_option(name)} is missing beside {there}; TLS takes all three files, on both sides",
            )
    return TlsFiles(paths["tls_ca"], paths["tls_cert"], paths["tls_key"])


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')} (GRADLOOM_{name.upper()})"


def is_loopback(host: str) -> bool:
    """Whether a host can be reached from this machine alone. ``host`` is a name or an address, without a port."""
    bare = host.removeprefix("[").removesuffix("]").partition("%")[0].lower().removesuffix(".")
    if bare in LOOPBACK_NAMES:
        return True
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback if mapped is None else bool(mapped.is_loopback)


def hosts_of(target: str) -> tuple[str, ...]:
    """The hosts that a gRPC target names; none for a socket in the file system.

    Of ``host:port``, ``[::1]:50051``, ``dns:///host:port``, ``ipv4:a:1,b:2``, ``ipv6:[::1]:50051``, ``unix:path``.
    """
    rest = target.strip()
    for scheme in ("unix-abstract:", "unix:"):
        if rest.startswith(scheme):
            return ()
    for scheme in ("dns:", "ipv4:", "ipv6:"):
        if rest.startswith(scheme):
            rest = rest.removeprefix(scheme).rpartition("/")[2]
            break
    return tuple(host_and_port(part)[0] for part in rest.split(","))


def host_and_port(address: str) -> tuple[str, str]:
    """Of ``host:port`` both parts; the port is empty where none is given. Brackets of IPv6 are taken off."""
    text = address.strip()
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, rest.removeprefix(":")
    if text.count(":") > 1:  # IPv6 without brackets has no port
        return text, ""
    host, _, port = text.partition(":")
    return host, port


def join_host_port(host: str, port: int) -> str:
    """``host:port``, with brackets around IPv6."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def reachable_from_here(address: str) -> str:
    """What this machine calls a server that listens at ``address``: a wildcard is no host to connect to."""
    host, port = host_and_port(address)
    if host not in WILDCARDS:
        return address
    return join_host_port("::1" if host == "::" else "127.0.0.1", int(port))


def check_listening(host: str, tls: TlsFiles | None, *, insecure: bool) -> None:
    """Raise InvalidInput for a server that would listen in plain text where other machines reach it."""
    if tls is None and not insecure and not is_loopback(host):
        raise InvalidInput(
            "host",
            f"{host!r} can be reached from other machines, and without TLS anybody there may read and steer"
            " everything; give --tls-ca, --tls-cert and --tls-key"
            f" ({MAKE_THEM}), or --insecure if that is what you want, or listen on 127.0.0.1",
        )


def check_target(field: str, target: str, tls: TlsFiles | None, *, insecure: bool) -> None:
    """Raise InvalidInput naming ``field`` for a connection in plain text that would leave this machine."""
    if tls is None and not insecure and (host := leaves_the_machine(target)):
        raise InvalidInput(
            field,
            f"{host} is another machine, and without TLS anybody in between may read and change what is said; give"
            f" the files of TLS (--tls-ca, --tls-cert, --tls-key; GRADLOOM_TLS_CA, ...; {MAKE_THEM}), or --insecure"
            " (GRADLOOM_INSECURE=1) if that network is trusted",
        )


def leaves_the_machine(target: str) -> str:
    """The first host of a gRPC target that is not this machine itself; empty if there is none."""
    return next((host or target for host in hosts_of(target) if not is_loopback(host)), "")

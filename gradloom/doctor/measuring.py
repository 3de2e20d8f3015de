"""Looks at this machine: packages, ports, certificates, folders, memory. Every step has a limit; nothing is judged."""

import errno
import http.client
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from platform import platform, python_version
from typing import TYPE_CHECKING

from gradloom.doctor.facts import MachineFact, PackageFact, PortFact, PortState, StorageFact, TlsFact
from gradloom.errors import InvalidInput, Unavailable
from gradloom.machine import cpu_cores, installed, memory_bytes, runtime
from gradloom.settings import DEFAULT_PORT
from gradloom.tls import TlsFiles, host_and_port, is_loopback, join_host_port

if TYPE_CHECKING:
    from gradloom.certificate_files import Material

LIMIT_S = 3.0
"""Of each question to a port or a database."""
SAMPLE_BYTES = 8 * 2**20
"""Written to each folder, and removed again."""
USUAL_PORTS = (
    (DEFAULT_PORT, "coordinator", "--port", True),
    (9464, "its metrics", "--metrics-port", False),
    (9465, "metrics of a worker", "--metrics-port", False),
    (8080, "control room", "--port", False),
)
_REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(\[[^]]*\])?\s*(>=(?P<floor>[0-9.]+))?")
_EXTRA = re.compile(r"extra == [\"'](?P<extra>[^\"']+)")


def packages() -> tuple[PackageFact, ...]:
    """What gradloom needs, and what of its extras is installed."""
    try:
        wanted = requires("gradloom") or []
    except PackageNotFoundError:  # run from a folder, never installed
        return ()
    found: dict[str, PackageFact] = {}
    for text in wanted:
        requirement, extra = _REQUIREMENT.match(text), _EXTRA.search(text)
        if requirement is None or requirement["name"] in found:
            continue
        name = requirement["name"]
        fact = PackageFact(
            name, installed(name), requirement["floor"] or "0", extra["extra"] if extra else ""
        )
        if fact.installed or not fact.extra:
            found[name] = fact
    return tuple(found.values())


def machine(coretype: str) -> MachineFact:
    """This machine, or what the container that we are in lets us have of it."""
    return MachineFact(
        python=python_version(),
        system=platform(terse=True),
        cores=cpu_cores(),
        machine_cores=os.cpu_count() or 1,
        memory_bytes=memory_bytes(),
        available_bytes=_available_bytes(),
        runtime=runtime(),
        coretype=coretype,
    )


def _available_bytes() -> int | None:
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    return None if found is None else min(int(found[1]) * 1024, memory_bytes())


# ---- ports


def usual_ports(ours: Collection[int] = (), files: TlsFiles | None = None) -> tuple[PortFact, ...]:
    """Those that services take unless they are told otherwise; ``ours`` and ``files`` as ``port_state`` takes them."""
    return tuple(
        PortFact(port, service, option, port_state("127.0.0.1", port, ours, files), needed)
        for port, service, option, needed in USUAL_PORTS
    )


def port(number: int, ours: Collection[int] = (), files: TlsFiles | None = None) -> PortFact:
    """One that somebody asks for."""
    state = port_state("127.0.0.1", number, ours, files)
    return PortFact(number, "asked for", "--port", state, needed=True)


def ports_here(address: str) -> frozenset[int]:
    """Those of ``address`` that are this machine's; ``address`` is one that has answered: ``host:port``, or several."""
    pairs = [host_and_port(part) for part in address.split(",")]
    return frozenset(int(number) for host, number in pairs if number.isdigit() and _is_this_machine(host))


def _is_this_machine(host: str) -> bool:
    if is_loopback(host):
        return True
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(place)  # sends nothing: it only chooses the address that we would speak from
            return bool(probe.getsockname()[0] == place[0])
    except OSError:
        return False


def port_state(
    host: str, number: int, ours: Collection[int] = (), files: TlsFiles | None = None
) -> PortState:
    """Whether a service could listen there.

    ``ours``: ports of which gradloom is known to answer; ``files``: to ask those with that speak TLS.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                known = number in ours or _answers(host, number, files)
                return PortState.OURS if known else PortState.TAKEN
            return PortState.FORBIDDEN
    return PortState.FREE


def _answers(host: str, number: int, files: TlsFiles | None) -> bool:
    """Whether something of gradloom listens there: gRPC with our services, our metrics, or the control room."""
    from gradloom.health import said_by

    for material in (None, *_material(files)):
        with suppress(Unavailable):
            said = said_by(join_host_port(host, number), "gradloom.v1.JobService", LIMIT_S, material)
            if said in ("SERVING", "NOT_SERVING"):
                return True
    return any("gradloom" in _page(host, number, path) for path in ("/metrics", "/"))


def _material(files: TlsFiles | None) -> "tuple[Material, ...]":
    """What the files hold; nothing if they are no good, which is a finding of its own."""
    from gradloom.certificate_files import read_material

    with suppress(InvalidInput):
        return () if files is None else (read_material(files, datetime.now(UTC)),)
    return ()


def _page(host: str, number: int, path: str) -> str:
    connection = http.client.HTTPConnection(host, number, timeout=LIMIT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().read(2**20).decode("utf-8", "replace").lower()
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


# ---- certificates


def tls(files: TlsFiles, now: datetime) -> TlsFact:
    """What the three files hold, and who may read the key."""
    from gradloom.certificate_files import certificates_in, read_material
    from gradloom.certificates import hosts_in

    try:
        material = read_material(files, now)
        certificate = certificates_in("tls_cert", files.cert, material.cert)[0]
        mode = files.key.stat().st_mode & 0o777
    except (InvalidInput, OSError) as error:
        return TlsFact("", "", (), now, str(files.key), 0, str(error))
    hosts = hosts_in(certificate)
    return TlsFact(material.name, material.issuer, hosts, material.valid_until, str(files.key), mode)


# ---- storage


def storage(option: str, uri: str) -> StorageFact:
    """Write a file there, see how long it takes until it is safe, and remove it; an absent folder is not made."""
    try:
        if "://" in uri and not uri.startswith("file://"):
            return StorageFact(option, uri, bytes_per_s=_written_remotely(uri))
        folder = _nearest(Path(uri.removeprefix("file://")).expanduser().absolute())
        return StorageFact(
            option, uri, free_bytes=shutil.disk_usage(folder).free, bytes_per_s=_written_here(folder)
        )
    except OSError as error:
        return StorageFact(option, uri, error.strerror or str(error))
    except Exception as error:  # noqa: BLE001 - each kind of file system raises errors of its own
        return StorageFact(option, uri, str(error) or type(error).__name__)


def _nearest(folder: Path) -> Path:
    """The folder itself, or the one in which it would be made. Raises OSError if something else is in the way."""
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "it is a file, or lies below one")
    return folder


def _written_here(folder: Path) -> float:
    path, start = folder / _name(), time.perf_counter()
    try:
        with path.open("xb") as file:
            file.write(bytes(SAMPLE_BYTES))
            file.flush()
            os.fsync(file.fileno())
        return SAMPLE_BYTES / (time.perf_counter() - start)
    finally:
        path.unlink(missing_ok=True)


def _written_remotely(uri: str) -> float:
    from gradloom.data.sources.opening import filesystem
    from gradloom.data.sources.stores import make_folder

    fs, folder = filesystem(uri)
    path, start = f"{folder.rstrip('/')}/{_name()}", time.perf_counter()
    make_folder(fs, folder)
    fs.pipe_file(path, bytes(SAMPLE_BYTES))
    seconds = time.perf_counter() - start
    fs.rm_file(path)
    return SAMPLE_BYTES / seconds


def _name() -> str:
    return f".gradloom-doctor-{uuid.uuid4().hex}"


def database(url: str) -> StorageFact:
    """Whether a PostgreSQL answers; a file of SQLite is storage like another. Raises InvalidInput for other kinds."""
    option, shown = "--store-url", re.sub(r"//[^@/]*@", "//***@", url)
    try:
        from gradloom.store_urls import parse_store_url
    except ModuleNotFoundError:
        needed = "a database needs sqlalchemy; run: pip install 'gradloom[coordinator]'"
        return StorageFact(option, shown, needed)
    parse_store_url(url)
    if url.startswith("sqlite:///"):
        return storage(option, str(Path(url.removeprefix("sqlite:///")).absolute().parent))
    try:
        import psycopg
    except ModuleNotFoundError:
        return StorageFact(option, shown, "PostgreSQL needs psycopg; run: pip install 'gradloom[postgres]'")
    try:
        with psycopg.connect(url.replace("+psycopg", "", 1), connect_timeout=int(LIMIT_S)) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error as error:
        return StorageFact(option, shown, " ".join(str(error).split()))
    return StorageFact(option, shown)


def folders(named: Sequence[tuple[str, str]]) -> tuple[StorageFact, ...]:
    """Those that were named, by option."""
    return tuple(storage(option, uri) for option, uri in named if uri)

"""The credentials of gRPC, from files that are looked at again: renewed certificates count without a restart.

A server looks whenever somebody connects, a client whenever it connects or calls. Connections that are there stay as
they are. Files that don't fit together (one was replaced and the other is about to be) change nothing but a warning.

What reads certificates takes long to import, and is imported only where there are some.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import grpc

from gradloom.errors import InvalidInput
from gradloom.tls import TlsFiles

if TYPE_CHECKING:
    from gradloom.certificate_files import Material

log = logging.getLogger(__name__)

Stamp = tuple[tuple[int, int, int], ...]
Options = Sequence[tuple[str, int]]

NO_PROXY = ("grpc.enable_http_proxy", 0)
"""In plain text a proxy of the environment would read all, the token too, even of what is for this machine alone."""


def utc_now() -> datetime:
    """This machine's clock."""
    return datetime.now(UTC)


class Certificates:
    """One party's files, and what they held when they last fitted together. Any thread may ask.

    Raises InvalidInput if they don't fit together to begin with.
    """

    def __init__(self, files: TlsFiles, now: Callable[[], datetime] = utc_now) -> None:
        self.files = files
        self._now = now
        self._lock = threading.Lock()
        self._stamp = _stamp(files)
        self._refused: Stamp | None = None
        self._material = self._read()

    def newest(self) -> "Material":
        """What the files hold; the same object as long as they have not been changed to something that fits."""
        with self._lock:
            stamp = _stamp(self.files)
            if stamp == self._stamp:
                return self._material
            try:
                self._material, self._stamp = self._read(), stamp
                log.info("renewed: TLS with %s", self._material)
            except InvalidInput as error:
                if stamp != self._refused:
                    log.warning("the new files of TLS are not used, the old ones stay: %s", error.message)
                self._refused = stamp
            return self._material

    def _read(self) -> "Material":
        from gradloom.certificate_files import read_material

        return read_material(self.files, self._now())


def expiry_of(certificates: Certificates | None) -> float:
    """When the certificate that is shown now ends, in seconds since the epoch; 0 = there is no TLS."""
    return 0.0 if certificates is None else certificates.newest().valid_until.timestamp()


def server_credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """Mutual TLS 1.2 or later; clients without a certificate of our authority are refused."""
    current = certificates.newest()

    def renewed() -> Any:
        nonlocal current
        newest = certificates.newest()
        if newest is current:
            return None
        current = newest
        return _configuration(newest)

    return grpc.dynamic_ssl_server_credentials(_configuration(current), renewed, True)


def channel_credentials(material: "Material") -> grpc.ChannelCredentials:
    """Mutual TLS 1.2 or later; the server's certificate must carry the name that it is called by."""
    return grpc.ssl_channel_credentials(material.ca, material.key, material.cert)


def open_channel(address: str, material: "Material | None", options: Options) -> grpc.Channel:
    """A channel over TLS, or in plain text where there is no material."""
    if material is None:
        return grpc.insecure_channel(address, options=(*options, NO_PROXY))
    return grpc.secure_channel(address, channel_credentials(material), options=options)


def open_aio_channel(address: str, material: "Material | None", options: Options) -> "grpc.aio.Channel":
    """The same for asyncio."""
    if material is None:
        return grpc.aio.insecure_channel(address, options=(*options, NO_PROXY))
    return grpc.aio.secure_channel(address, channel_credentials(material), options=options)


def _configuration(material: "Material") -> Any:
    pair = (material.key, material.cert)
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=material.ca)


def _stamp(files: TlsFiles) -> Stamp:
    """What changes when any of the files does; zeros for one that is missing."""
    stamps = []
    for path in (files.ca, files.cert, files.key):
        try:
            about = path.stat()
        except OSError:
            stamps.append((0, 0, 0))
        else:
            stamps.append((about.st_mtime_ns, about.st_size, about.st_ino))
    return tuple(stamps)

"""The channel of a client, and another one when its certificates were renewed or its coordinator is away.

No call is made here.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from gradloom.addresses import Rotation
from gradloom.credentials import Certificates, Options, open_channel
from gradloom.handshake import find_trouble

if TYPE_CHECKING:
    from gradloom.certificate_files import Material


@dataclass(frozen=True, slots=True)
class _Line:
    material: "Material | None"
    channel: grpc.Channel


class Channels:
    """Gives the channel that a call begins on, to one of the addresses; any thread may ask.

    Calls that go on when the certificates are renewed stay on the channel that they began on, until ``close``.
    """

    def __init__(
        self, addresses: tuple[str, ...], certificates: Certificates | None, options: Options
    ) -> None:
        self._addresses, self._certificates, self._options = Rotation(addresses), certificates, options
        self._lock = threading.Lock()
        self._lines: dict[str, _Line] = {}
        """The newest of each address."""
        self._older: list[_Line] = []
        self.current()

    @property
    def address(self) -> str:
        """The one that calls go to now."""
        return self._addresses.current

    def __len__(self) -> int:
        return len(self._addresses)

    @property
    def several(self) -> bool:
        """Whether there is another address to go on to."""
        return len(self._addresses) > 1

    def move_on(self, away: str) -> None:
        """Calls to the address ``away`` fail: the next ones go to the next one."""
        with self._lock:
            self._addresses.move_on(away)

    def current(self) -> grpc.Channel:
        """The channel of now."""
        with self._lock:
            line = self._lines.get(self.address)
            newest = None if self._certificates is None else self._certificates.newest()
            if line is None or line.material is not newest:
                if line is not None:
                    self._older.append(line)
                line = _Line(newest, open_channel(self.address, newest, self._options))
                self._lines[self.address] = line
            return line.channel

    def close(self) -> None:
        """End all calls."""
        with self._lock:
            for line in (*self._lines.values(), *self._older):
                line.channel.close()

    def trouble(self) -> str:
        """Why no secure connection comes about, in a sentence; empty if that is not what is wrong."""
        return trouble_with(self.address, self._certificates)


def trouble_with(address: str, certificates: Certificates | None) -> str:
    """Why no secure connection to an address comes about, in a sentence; empty if that is not what is wrong."""
    if certificates is None:
        return find_trouble(address, None)
    return find_trouble(address, certificates.files, str(certificates.newest()))


class Methods:
    """A generated stub whose calls begin on the channel of the moment they are made in, not looked up in."""

    def __init__(self, make_stub: Callable[[grpc.Channel], Any], channels: Channels) -> None:
        self._make_stub, self._channels = make_stub, channels
        channel = channels.current()
        self._last = channel, make_stub(channel)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            return getattr(self._newest(), name)(*arguments, **options)

        return call

    def _newest(self) -> Any:
        channel, stub = self._last
        newest = self._channels.current()
        if newest is not channel:
            stub = self._make_stub(newest)
            self._last = newest, stub
        return stub

"""A cluster may have several coordinators, of which one leads: their addresses, and which of them to ask next."""

from gradloom.errors import InvalidInput
from gradloom.tls import host_and_port

SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "xds:")
"""Of gRPC's own targets, in which a comma means something else."""
MAX_PORT = 65535
MAX_PORT_DIGITS = 5


def addresses_of(field: str, target: str) -> tuple[str, ...]:
    """Of ``a:50051,b:50051`` each, once, in this order; a target of gRPC's own stays whole.

    Raises InvalidInput naming ``field`` for a part that is no host with a port in [1, 65535].
    """
    if target.startswith(SCHEMES):
        return (target,)
    parts = [part.strip() for part in target.split(",")]
    for part in parts:
        if not _is_address(part):
            raise InvalidInput(
                field,
                f"{part!r} is not allowed; it must be HOST:PORT, or several with commas between, with ports in"
                " [1, 65535]",
            )
    return tuple(dict.fromkeys(parts))


def _is_address(text: str) -> bool:
    host, port = host_and_port(text)
    is_number = port.isascii() and port.isdigit() and len(port) <= MAX_PORT_DIGITS
    return bool(host) and is_number and 1 <= int(port) <= MAX_PORT


class Rotation:
    """Takes the addresses in turn: whoever finds one away goes on to the next."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self._addresses = addresses
        self._at = 0

    def __len__(self) -> int:
        return len(self._addresses)

    @property
    def current(self) -> str:
        """The one to ask."""
        return self._addresses[self._at]

    def move_on(self, away: str) -> None:
        """``away`` did not do; if others have found that out before, nothing changes."""
        if away == self.current:
            self._at = (self._at + 1) % len(self._addresses)

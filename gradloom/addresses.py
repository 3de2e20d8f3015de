"""A cluster may have several coordinators, of which one leads: their addresses, and which of them to ask next."""

from gradloom.errors import InvalidInput

SCHEMES = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "xds:")
"""Of gRPC's own targets, in which a comma means something else."""


def addresses_of(field: str, target: str) -> tuple[str, ...]:
    """Of ``a:50051,b:50051`` each, once, in this order; a target of gRPC's own stays whole.

    Raises InvalidInput naming ``field`` for a list with nothing between two commas.
    """
    if target.startswith(SCHEMES):
        return (target,)
    parts = [part.strip() for part in target.split(",")]
    if not all(parts):
        raise InvalidInput(
            field, f"{target!r} is not allowed; it must be HOST:PORT, or several with commas between"
        )
    return tuple(dict.fromkeys(parts))


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

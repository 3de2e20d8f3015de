"""How certificates look in a terminal and as JSON."""

from collections.abc import Iterable
from datetime import datetime

from rich.table import Table

from gradloom.certificate_folder import Held


def certificate_values(held: Held) -> dict[str, object]:
    """A certificate as JSON: moments in ISO 8601, paths as text."""
    return {
        "name": held.name,
        "role": held.role,
        "hosts": list(held.hosts),
        "issuer": held.issuer,
        "valid_from": held.valid_from.isoformat(),
        "valid_until": held.valid_until.isoformat(),
        "state": held.state,
        "cert": str(held.cert),
        "key": None if held.key is None else str(held.key),
    }


def certificates_table(held: Iterable[Held], now: datetime) -> Table:
    """Whose the certificates are, and for how long."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "role", "state", "until", "left", "file", "key", "for"):
        table.add_column(column, overflow="fold", no_wrap=column != "for")
    for one in held:
        table.add_row(
            one.name,
            one.role or "unknown",
            one.state,
            f"{one.valid_until:%Y-%m-%d}",
            f"{(one.valid_until - now).days} d",
            one.cert.name,
            "not here" if one.key is None else one.key.name,
            ", ".join(one.hosts),
        )
    return table

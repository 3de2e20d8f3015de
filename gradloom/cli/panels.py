"""In which order, and under which headings, ``gradloom --help`` lists the commands."""

import typer
from typer.core import TyperGroup

PANELS = {
    "Jobs": ("train", "jobs", "show", "watch", "cancel", "replay", "why", "report", "trace", "algorithms"),
    "Models": ("model", "predict", "evaluate"),
    "Steering": (
        "set",
        "pause",
        "resume",
        "step",
        "rollback",
        "note",
        "drain",
        "exclude",
        "readmit",
        "chaos",
    ),
    "Cluster": ("up", "workers", "top", "dashboard", "health", "doctor", "simulate"),
    "Access": ("certs", "token", "whoami", "audit", "keygen"),
}
_PANEL_OF = {name: panel for panel, names in PANELS.items() for name in names}
_ORDER = {name: at for at, name in enumerate(_PANEL_OF)}


class InPanels(TyperGroup):
    """Lists its commands as PANELS does; one that is not there comes first, under the usual heading."""

    def list_commands(self, ctx: "typer.Context") -> list[str]:  # type: ignore[override] # noqa: ARG002 - typer's
        """Their names, in this order."""
        names = sorted(self.commands, key=lambda name: _ORDER.get(name, -1))
        for name in names:
            if name in _PANEL_OF:
                self.commands[name].rich_help_panel = _PANEL_OF[name]  # type: ignore[attr-defined]
        return names

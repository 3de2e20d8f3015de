"""Rows of a page that change one by one: only what is new of them goes to the browser, in ``rows.js``."""

from collections.abc import Sequence

from nicegui import ui

from gradloom_dashboard.lanes import Row
from gradloom_dashboard.patches import patch_of


class Rows(ui.element, component="rows.js"):
    """Rows of one kind (``worker``, ``job``, ``share``, ``entry``), in pages of so many."""

    def __init__(self, kind: str, testid: str, empty: str, page_size: int) -> None:
        super().__init__()
        self._shown: Sequence[Row] = ()
        with self._props.suspend_updates():
            self._props["kind"], self._props["empty"], self._props["page"] = kind, empty, page_size
            self._props["rows"] = []
        self.props(f"data-testid={testid}")

    def fill(self, rows: Sequence[Row]) -> None:
        """Show these rows, in this order."""
        if rows is self._shown:
            return
        changed, order = patch_of(self._shown, rows)
        self._shown = rows
        with (
            self._props.suspend_updates()
        ):  # for a browser that loads the page; one that has it is told the rest
            self._props["rows"] = rows
        if changed or order is not None:
            self.run_method("patch", changed, order)

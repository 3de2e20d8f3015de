"""The committed dashboards, and what their queries ask."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "dashboard" / "grafana"
PROMETHEUS = ROOT / "dashboard" / "prometheus"
RUNBOOKS = ROOT / "docs" / "runbooks"
FAMILY = re.compile(r"\b(?:gradloom|process|python)_[a-z0-9_]+\b")


@dataclass(frozen=True)
class Asked:
    """One query of one panel."""

    board: str
    panel: str
    expr: str
    legend: str
    instant: bool

    def __str__(self) -> str:
        return f"{self.board} / {self.panel}: {self.expr}"

    @property
    def labels(self) -> set[str]:
        """What the legend needs of every series."""
        return set(re.findall(r"{{\s*(\w+)\s*}}", self.legend))

    def resolved(self, variables: Mapping[str, str]) -> str:
        """The query as Grafana would send it."""
        expr = self.expr
        for name in sorted(variables, key=len, reverse=True):
            expr = expr.replace(f"${{{name}}}", variables[name]).replace(f"${name}", variables[name])
        assert "$" not in expr, f"a variable is left over in {expr}"
        return expr


def boards() -> dict[str, Any]:
    """The dashboards by uid."""
    found = [json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))]
    return {board["uid"]: board for board in found}


def panels(board: Any) -> list[Any]:
    """Its panels, rows left out."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def asked() -> Iterator[Asked]:
    """Every query of every panel."""
    for uid, board in boards().items():
        for panel in panels(board):
            for target in panel["targets"]:
                instant = bool(target.get("instant"))
                yield Asked(uid, panel["title"], target["expr"], target["legendFormat"], instant)


def annotations() -> Iterator[Asked]:
    """Every query of every annotation."""
    for uid, board in boards().items():
        for mark in board["annotations"]["list"]:
            yield Asked(uid, mark["name"], mark["expr"], f"{mark['titleFormat']} {mark['textFormat']}", False)


def families_in(text: str) -> set[str]:
    """The metrics that an expression, or a file of rules, names: without the suffixes of histograms."""
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in FAMILY.findall(text)}

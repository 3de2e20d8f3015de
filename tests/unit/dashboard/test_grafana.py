"""The dashboards: generated as committed, with panels that can be read, and of the types that Grafana knows."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from builders.dashboards import GRAFANA, Asked, annotations, asked, boards, families_in, panels

LIMIT_S = 150.0
COLUMNS = 24
SDK_ONLY = ("auto", "auto_count", "auto_min", "allowCustomValue")
"""Fields that the generator's library writes on variables, and that the schema has for some kinds only."""

OF_PROMETHEUS = ("expr", "titleFormat", "textFormat", "useValueForTime")
"""What an annotation has for its data source: the schema knows nothing of those."""
HEAD = """import type { Dashboard } from "@grafana/schema";
type Plain<T> = T extends string ? `${T}` : T extends (infer U)[] ? Plain<U>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
"""
"""Enums as the words that they stand for, which is what JSON has."""


@pytest.fixture(params=sorted(boards()))
def board(request: pytest.FixtureRequest) -> Any:
    return boards()[request.param]


def test_the_committed_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    pytest.importorskip("grafana_foundation_sdk")
    script = [sys.executable, str(GRAFANA / "generate.py"), "--out", str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=LIMIT_S)
    assert (done.returncode, done.stderr) == (0, "")
    fresh = {path.name: path.read_text() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_text() for path in (GRAFANA / "dashboards").glob("*.json")}
    assert sorted(fresh) == sorted(committed)
    assert not [name for name in fresh if fresh[name] != committed[name]], (
        "`make dashboards` writes them anew"
    )


def test_the_rows_are_those_that_people_look_for() -> None:
    rows = [
        panel["title"] for panel in boards()["gradloom-cluster-and-job"]["panels"] if panel["type"] == "row"
    ]
    assert rows == [
        "Health",
        "Load balance",
        "Stragglers",
        "Retries and fault tolerance",
        "Training",
        "Gradients and network",
        "Coordinator",
        "Resources",
    ]


def test_every_panel_says_what_it_shows_and_how_to_read_it(board: Any) -> None:
    for panel in panels(board):
        title, defaults = panel["title"], panel["fieldConfig"]["defaults"]
        assert title
        assert len(panel["description"]) > 30, f"{title}: the description says too little"
        assert panel["description"].endswith("."), title
        assert defaults["unit"], title
        steps = defaults["thresholds"]["steps"]
        assert steps[0]["value"] is None, title
        values = [step["value"] for step in steps[1:]]
        assert values == sorted(values), title


def test_titles_and_ids_are_unique(board: Any) -> None:
    ids = [panel["id"] for panel in board["panels"]]
    titles = [panel["title"] for panel in panels(board)]
    assert len(set(ids)) == len(ids)
    assert 0 not in ids
    assert len(set(titles)) == len(titles)
    for panel in panels(board):
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == list("ABCDEFGH"[: len(letters)])


def test_panels_lie_side_by_side(board: Any) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS
        for cell in [
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]:
            assert cell not in taken, f"{panel['title']} lies on {taken[cell]}"
            taken[cell] = panel["title"]


def test_nothing_is_bound_to_one_data_source(board: Any) -> None:
    first = board["templating"]["list"][0]
    assert (first["name"], first["type"], first["query"]) == ("datasource", "datasource", "prometheus")
    source = {"type": "prometheus", "uid": "${datasource}"}
    assert all(variable["datasource"] == source for variable in board["templating"]["list"][1:])
    for panel in panels(board):
        assert panel["datasource"] == source
        assert all(target["datasource"] == source for target in panel["targets"])
    assert all(mark["datasource"] == source for mark in board["annotations"]["list"])
    assert "__inputs" not in board


def test_rates_go_by_the_interval_of_the_scrapes() -> None:
    def ranges(query: Asked) -> set[str]:
        return set(re.findall(r"\[([^\]]+)\]", query.expr))

    assert {interval for query in asked() for interval in ranges(query)} <= {"$__rate_interval", "$__range"}
    assert all("$__range" not in ranges(query) or query.instant for query in asked())


def test_the_marks_say_what_happened_when() -> None:
    names = {mark["name"] for mark in boards()["gradloom-cluster-and-job"]["annotations"]["list"]}
    assert {
        "Worker lost",
        "Worker joined",
        "Worker excluded",
        "Coordinator started",
        "Checkpoint",
        "Steering",
        "Chaos",
    } <= names
    for board in boards().values():
        for mark in board["annotations"]["list"]:
            assert mark["useValueForTime"]
            assert mark["expr"].endswith("* 1000"), "Grafana wants milliseconds"
    assert all(families_in(mark.expr) for mark in annotations())


def test_drill_downs_are_about_one() -> None:
    chosen = {uid: {v["name"]: v for v in board["templating"]["list"]} for uid, board in boards().items()}
    assert not chosen["gradloom-worker"]["worker"]["multi"]
    assert not chosen["gradloom-job"]["job_id"]["multi"]
    both = chosen["gradloom-cluster-and-job"]
    assert both["worker"]["multi"]
    assert both["job_id"]["includeAll"]


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Grafana's own types and a TypeScript compiler."""
    missing = [tool for tool in ("node", "npm") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not found: install the Debian packages nodejs and npm")
    folder = tmp_path_factory.mktemp("schema")
    here = Path(__file__).parent / "grafana_schema"
    for name in ("package.json", "package-lock.json"):
        shutil.copy(here / name, folder)
    command = ["npm", "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    return folder


def plain(board: Any) -> Any:
    """What the schema describes: without what others add to variables and annotations."""
    variables = [
        {key: value for key, value in variable.items() if key not in SDK_ONLY}
        for variable in board["templating"]["list"]
    ]
    marks = [
        {key: value for key, value in mark.items() if key not in OF_PROMETHEUS}
        for mark in board["annotations"]["list"]
    ]
    return {**board, "templating": {"list": variables}, "annotations": {"list": marks}}


def test_the_dashboards_are_of_grafanas_own_types(schema: Path) -> None:
    for uid, board in boards().items():
        literal = json.dumps(plain(board), indent=1)
        (schema / f"{uid}.ts").write_text(f"{HEAD}export const board: Plain<Dashboard> = {literal};\n")
    options = ["--strict", "--noEmit", "--skipLibCheck", "--module", "nodenext", "--target", "es2022"]
    files = [f"{uid}.ts" for uid in boards()]
    command = ["node_modules/.bin/tsc", *options, *files]
    done = subprocess.run(command, cwd=schema, capture_output=True, text=True, timeout=LIMIT_S)
    assert (done.returncode, done.stdout) == (0, "")

"""The rules: valid, tested case by case, and each alert with a page that says what to do."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from builders.dashboards import PROMETHEUS, ROOT, RUNBOOKS, boards, panels

LIMIT_S = 60.0
ALERTS = {
    "WorkerLost",
    "HeartbeatStale",
    "ChronicStraggler",
    "LoadImbalance",
    "RetryRate",
    "RetryBudgetLow",
    "NoProgress",
    "NonFinite",
    "SpeculationLosing",
    "CheckpointOld",
    "CoordinatorLag",
    "MemoryNearLimit",
    "CompressionErrorHigh",
    "AuthFailures",
    "NoLeader",
    "CertificateExpiresSoon",
    "ScrapeDown",
}


def promtool(*words: str | Path) -> str:
    done = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alerts() -> list[dict[str, Any]]:
    rules = yaml.safe_load((PROMETHEUS / "rules" / "gradloom.alerts.yml").read_text())
    return [rule for group in rules["groups"] for rule in group["rules"]]


def test_prometheus_takes_the_configuration() -> None:
    assert "is valid" in promtool("check", "config", PROMETHEUS / "prometheus.yml")


def test_the_rules_do_what_their_cases_say() -> None:
    assert "SUCCESS" in promtool("test", "rules", PROMETHEUS / "tests" / "gradloom.test.yml")


def test_every_alert_is_there_and_has_a_case() -> None:
    assert {rule["alert"] for rule in alerts()} == ALERTS
    tests = yaml.safe_load((PROMETHEUS / "tests" / "gradloom.test.yml").read_text())["tests"]
    fired = {
        case["alertname"] for test in tests for case in test.get("alert_rule_test", ()) if case["exp_alerts"]
    }
    assert fired == ALERTS


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_every_alert_says_what_is_wrong_and_where_to_read_on(name: str) -> None:
    runbook = f"docs/runbooks/{name}.md"
    rules = [rule for rule in alerts() if rule["alert"] == name]
    severities = [rule["labels"]["severity"] for rule in rules]
    assert set(severities) <= {"info", "warning", "critical"}
    assert len(set(severities)) == len(rules)
    for rule in rules:
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"].endswith(".")
        assert rule["annotations"]["runbook"] == runbook
    page = (ROOT / runbook).read_text()
    assert page.startswith(f"# {name}\n")
    assert "\n## Where to look\n" in page
    assert "\n## What to do\n" in page


def test_no_page_is_about_nothing() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == ALERTS


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_pages_name_panels_that_exist(name: str) -> None:
    board = boards()["gradloom-cluster-and-job"]
    known = {panel["title"] for panel in panels(board)}
    page = (RUNBOOKS / f"{name}.md").read_text().replace("\n", " ")
    named = re.findall(r"\*\*[A-Z][^*/]* / ([^*]+)\*\*", page)
    named = [re.sub(r"\s+", " ", title) for title in named]
    assert not [title for title in named if title not in known]

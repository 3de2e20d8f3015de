"""What people type is shown as they typed it: in the control room and in a report none of it is ever markup or code."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from builders.browsing import part, submitted
from builders.dawdling import dawdle
from builders.durable import until
from builders.shell import Shell
from gradloom import LocalCluster
from gradloom.client import Client, Job

pytestmark = pytest.mark.system

IMAGE = '"><img src=x onerror="window.pwned=1">'
SCRIPT = "</script><script>window.pwned=1</script>"
TEMPLATE = "{{constructor.constructor('window.pwned=1')()}} ${window.pwned=1} {b|x}"
HOSTILE = (IMAGE, SCRIPT, TEMPLATE)


@pytest.fixture(scope="module")
def stranger(cluster: LocalCluster) -> Iterator[str]:
    """A worker whose name and labels are markup."""
    name = f"<b>w</b>{IMAGE}"
    worker = subprocess.Popen(
        [sys.executable, "-m", "gradloom_worker", "--coordinator", cluster.address, "--metrics-port", "-1"],
        env={
            **os.environ,
            "GRADLOOM_WORKER_NAME": name,
            "GRADLOOM_LABELS": f"zone={SCRIPT}",
            "GRADLOOM_NODE": IMAGE,
            "GRADLOOM_ALLOW_CHAOS": "1",
        },
        stderr=subprocess.DEVNULL,
    )
    with Client(cluster.address) as client:
        until(lambda: any(one.worker == name for one in client.workers()), "the stranger is here")
        dawdle(client, 50.0, [name])
        yield name
    worker.terminate()
    worker.wait(20)


@pytest.fixture
def job(cluster: LocalCluster, table: Path, stranger: str) -> Iterator[Job]:
    with Client(cluster.address, user=f"eve{IMAGE}") as client:
        job = submitted(client, table)
        yield job
        if not job.view().state.final:
            job.cancel(SCRIPT)


def unharmed(page: Page) -> None:
    assert page.evaluate("() => window.pwned") is None
    assert page.locator("img[src=x]").count() == 0


def test_notes_names_and_reasons_are_text_and_nothing_else(
    page: Page, room: str, job: Job, stranger: str
) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(room)
    expect(page.get_by_text(stranger, exact=False).first).to_be_visible()
    unharmed(page)
    page.goto(f"{room}/jobs/{job.id}")
    for words in HOSTILE:
        job.note(words)
        expect(part(page, "timeline")).to_contain_text(words)
    job.pause(f"because {IMAGE}")
    expect(part(page, "timeline")).to_contain_text(f"because {IMAGE}")
    part(page, "note").fill(SCRIPT)
    part(page, "add-note").click()
    job.update(settings={"learning_rate": "0.004"})
    expect(part(page, "changes")).to_contain_text("learning_rate")
    unharmed(page)
    page.goto(f"{room}/new")
    part(page, "data").fill(f"/{IMAGE}")
    part(page, "submit").click()
    page.wait_for_url("**/jobs/logistic-*")
    expect(part(page, "timeline")).to_contain_text(IMAGE)
    unharmed(page)
    assert dialogs == []


def test_a_report_holds_no_script_of_others(
    page: Page, room: str, cluster: LocalCluster, job: Job, tmp_path: Path
) -> None:
    for words in HOSTILE:
        job.note(words)
    job.cancel(IMAGE)
    out = tmp_path / "report.html"
    (tmp_path / "empty").mkdir()
    Shell(tmp_path / "empty").text("report", job.id, "--out", str(out), "--cluster", cluster.address)
    page.goto(room)  # of the same host as all else that a page may ask
    page.goto(out.as_uri())
    expect(page.get_by_text(SCRIPT, exact=False).first).to_be_attached()
    unharmed(page)
    assert page.locator("script").count() == 0

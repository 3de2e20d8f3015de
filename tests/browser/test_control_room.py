"""What people do in the control room, in headless Chromium, on a real cluster."""

import re
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, expect

from builders.browsing import part, submitted
from builders.shell import NOTHING, Shell
from gradloom import LocalCluster
from gradloom.client import Client, Job
from gradloom.jobs import JobState

pytestmark = pytest.mark.system


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster.address, user="bob@lab") as one:
        yield one


@pytest.fixture
def job(client: Client, table: Path) -> Iterator[Job]:
    job = submitted(client, table)
    yield job
    if not job.view().state.final:
        job.cancel("seen enough")


def test_a_job_is_submitted_watched_and_steered(page: Page, room: str, table: Path) -> None:
    page.goto(f"{room}/new")
    part(page, "data").fill(str(table))
    part(page, "field-target").fill("20")
    for name, words in (
        ("batch_size", "1024"),
        ("max_rounds", "90000"),
        ("tolerance", "0"),
        ("learning_rate", "-3"),
    ):
        part(page, f"field-{name}").fill(words)
    part(page, "field-solver").click()
    page.get_by_role("option", name="adam").click()
    part(page, "submit").click()
    expect(part(page, "form-refusal")).to_contain_text(
        "learning_rate: '-3' is not allowed; it should be greater than 0"
    )
    expect(page.get_by_text("'-3' is not allowed; it should be greater than 0", exact=True)).to_be_visible()
    part(page, "field-learning_rate").fill("0.001")
    part(page, "submit").click()

    page.wait_for_url("**/jobs/logistic-*")
    expect(part(page, "state")).to_have_text("running")
    the_loss_falls(page)
    the_learning_rate_is_changed(page)
    it_is_paused_and_stepped(page)
    it_is_set_back(page)
    it_goes_on(page)
    it_is_cancelled(page)


def the_loss_falls(page: Page) -> None:
    expect(part(page, "loss")).not_to_have_text("-")
    first = float(part(page, "loss").inner_text())
    page.wait_for_function(
        "first => parseFloat(document.querySelector('[data-testid=loss]').innerText) < 0.95 * first",
        arg=first,
    )
    # the curve itself: a line of many points
    page.wait_for_function(
        "() => document.querySelector('[data-testid=loss-chart] svg').innerHTML.length > 5000"
    )


def the_learning_rate_is_changed(page: Page) -> None:
    part(page, "set-learning_rate").fill("-1")
    part(page, "apply").click()
    expect(part(page, "steer")).to_contain_text("'-1' is not allowed; it should be greater than 0")
    part(page, "set-learning_rate").fill("0.004")
    expect(part(page, "apply")).to_have_text("Apply 1 change")
    part(page, "apply").click()
    expect(part(page, "changes")).to_contain_text("learning_rate: 0.001 → 0.004, from round")
    expect(part(page, "changes")).to_contain_text("by ann@lab")
    expect(part(page, "loss-chart")).to_contain_text("learning_rate 0.004")
    expect(part(page, "timeline")).to_contain_text("learning_rate: 0.001 -> 0.004")
    expect(part(page, "loss-chart")).not_to_contain_text("by ann@lab")
    part(page, "loss-chart").get_by_text("learning_rate 0.004").hover(force=True)
    expect(part(page, "loss-chart")).to_contain_text("learning_rate: 0.001 → 0.004, from round")
    expect(part(page, "loss-chart")).to_contain_text("by ann@lab")
    part(page, "log").click()
    expect(part(page, "loss-chart")).to_contain_text("learning_rate 0.004")


def it_is_paused_and_stepped(page: Page) -> None:
    part(page, "pause").click()
    expect(part(page, "state")).to_have_text("paused")
    part(page, "note").fill("<b>three</b> more")
    part(page, "add-note").click()
    expect(part(page, "timeline")).to_contain_text("ann@lab: <b>three</b> more")
    before = rounds(page)
    part(page, "steps").fill("3")
    part(page, "step").click()
    expect(part(page, "round")).to_contain_text(f"{before + 3:,} /")
    expect(part(page, "resume")).to_be_visible()


def it_goes_on(page: Page) -> None:
    part(page, "resume").click()
    expect(part(page, "state")).to_have_text("running")
    part(page, "why").click()
    expect(part(page, "reasons")).to_contain_text("running")
    page.get_by_role("button", name="Close").click()


def it_is_set_back(page: Page) -> None:
    part(page, "rollback").click()
    part(page, "rollback-round").click()
    offered = page.get_by_role("option", name=re.compile(r"round [\d,]+, taken at")).last
    kept = re.findall(r"round ([\d,]+)", offered.inner_text())[0].replace(",", "")
    offered.click()
    part(page, "rollback-yes").click()
    expect(part(page, "changes")).to_contain_text(f"set back to the checkpoint of round {kept}")
    expect(part(page, "loss-chart")).to_contain_text(f"back to {kept}")


def it_is_cancelled(page: Page) -> None:
    part(page, "cancel").click()
    part(page, "reason").fill("seen enough")
    part(page, "yes").click()
    expect(part(page, "state")).to_have_text("cancelled")
    expect(part(page, "pause")).to_be_disabled()


def rounds(page: Page) -> int:
    return int(part(page, "round").inner_text().split("/")[0].replace(",", ""))


def test_a_worker_is_excluded_and_let_in_again(page: Page, room: str, client: Client) -> None:
    page.goto(room)
    lane = part(page, "worker-worker-0")
    lane.get_by_role("button", name="Exclude").click()
    part(page, "reason").fill("its fan is loud")
    part(page, "yes").click()
    expect(lane).to_have_attribute("data-state", "excluded")
    expect(lane).to_contain_text("its fan is loud")
    lane.get_by_role("button", name="Readmit").click()
    part(page, "yes").click()
    expect(lane).to_have_attribute("data-state", "idle")


def test_two_people_see_each_other_s_changes(page: Page, room: str, job: Job) -> None:
    page.goto(f"{room}/jobs/{job.id}")
    expect(part(page, "set-learning_rate")).to_have_value("0.002")
    part(page, "set-batch_size").fill("512")
    job.update(settings={"learning_rate": 0.003})
    expect(part(page, "set-learning_rate")).to_have_value("0.003")
    part(page, "apply").click()
    expect(part(page, "refusal")).to_contain_text("was changed")
    part(page, "apply").click()
    expect(part(page, "changes")).to_contain_text("batch_size: 2048 → 512")
    expect(part(page, "changes")).to_contain_text("by bob@lab")


def test_the_coordinator_is_killed_under_an_open_page(
    page: Page, room: str, job: Job, cluster: LocalCluster
) -> None:
    page.goto(f"{room}/jobs/{job.id}")
    page.wait_for_function("() => parseInt(document.querySelector('[data-testid=round]').innerText) > 20")
    cluster.kill_coordinator()
    expect(part(page, "banner")).to_contain_text("does not answer")
    cluster.restart_coordinator()
    expect(part(page, "banner")).to_be_hidden()
    expect(part(page, "state")).to_have_text("running")
    reached = rounds(page)
    page.wait_for_function(
        "reached => parseInt(document.querySelector('[data-testid=round]').innerText.replace(',', '')) > reached",
        arg=reached,
    )
    expect(part(page, "timeline")).to_contain_text("the coordinator came back")


def test_viewers_see_everything_and_touch_nothing(
    page: Page, viewers_room: str, job: Job, client: Client
) -> None:
    page.goto(viewers_room)
    expect(part(page, "viewer")).to_be_visible()
    expect(part(page, "worker-worker-0")).to_be_visible()
    expect(part(page, "lanes").get_by_role("button")).to_have_count(0)
    part(page, f"job-{job.id}").click()
    expect(part(page, "state")).to_have_text("running")
    expect(part(page, "steer")).to_have_count(0)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{viewers_room}/new", timeout=10)
    assert job.view().state is JobState.RUNNING


def test_the_command_waits_for_a_cluster_and_leaves_nothing(page: Page, tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    with shell.start("dashboard", "--cluster", "127.0.0.1:1", "--port", "0") as process:
        try:
            assert process.stdout is not None
            url = re.search(r"http://\S+", process.stdout.readline())
            assert url
            page.goto(url[0])
            expect(part(page, "banner")).to_contain_text("The coordinator does not answer since")
            expect(part(page, "lanes")).to_contain_text("No worker")
            page.goto(f"{url[0]}/jobs/none")
            expect(part(page, "banner")).to_be_visible()
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(20)
    psutil.wait_procs(shell.processes(), timeout=20)
    assert shell.left_behind() == NOTHING


def test_nothing_is_wider_than_a_phone(page: Page, room: str, job: Job) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for path, name in (("/", "lanes"), ("/new", "submit"), (f"/jobs/{job.id}", "pause")):
        page.goto(f"{room}{path}")
        expect(part(page, name)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path


def test_a_worker_that_is_killed_is_named(page: Page, room: str, job: Job, cluster: LocalCluster) -> None:
    page.goto(f"{room}/jobs/{job.id}")
    expect(part(page, "share-worker-2")).to_be_visible()
    cluster.workers[2].kill()
    expect(part(page, "share-worker-2")).to_have_attribute("data-state", "left")
    expect(part(page, "timeline")).to_contain_text("worker-2")
    page.get_by_role("link", name="Cluster").click()
    expect(part(page, "worker-worker-2")).to_have_attribute("data-state", "left")

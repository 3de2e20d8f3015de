"""What the control room is told without asking: lanes that change, and where the time of the workers goes."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from builders.browsing import opened, part, submitted
from builders.counted import CountingWire
from gradloom import LocalCluster
from gradloom.children import stop
from gradloom.client import Client

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def wire(cluster: LocalCluster) -> Iterator[CountingWire]:
    found = CountingWire(cluster.address)
    yield found
    found.close()


@pytest.fixture(scope="module")
def room_on_a_wire(
    cluster: LocalCluster, wire: CountingWire, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    child = opened(wire.address, tmp_path_factory.mktemp("wired"))
    try:
        yield child.announced(60)["url"]
    finally:
        stop([child])


def test_news_are_pushed_and_nothing_is_asked_for_them(
    page: Page, room_on_a_wire: str, wire: CountingWire, cluster: LocalCluster, table: Path
) -> None:
    page.goto(room_on_a_wire)
    expect(part(page, "workers")).to_have_text("3")
    before = wire.calls
    assert before > 0
    with Client(cluster.address, user="bob@lab") as client:
        job = submitted(client, table)
        lane = part(page, f"job-{job.id}")
        expect(lane).to_contain_text("running")
        page.wait_for_function(
            "id => parseInt(document.querySelector(`[data-testid=job-${id}]`).innerText"
            ".match(/round ([0-9,]+)/)[1].replace(',', '')) > 30",
            arg=job.id,
        )
        lanes = part(page, "lanes")
        expect(lanes.locator("[data-part=does]").first).to_contain_text(
            re.compile(f"computes {job.id} round|waits for work of {job.id}")
        )
        bar = part(page, "worker-worker-0").locator("[data-part=phases]")
        expect(bar).to_contain_text(re.compile(r"(compute|wait|send|load) \d+ %"))
        expect(bar.locator("i.gl-p-compute")).to_have_count(1)
        expect(bar.get_by_role("img")).to_have_attribute("aria-label", re.compile(r"computes \d+ %"))
        job.pause()
        expect(lane).to_contain_text("paused")
        job.cancel("seen enough")
        expect(lane).to_contain_text("cancelled")
    assert wire.calls == before, "the page has changed, and nobody has called"


def test_a_worker_that_stands_still_is_seen_at_once(page: Page, room: str, cluster: LocalCluster) -> None:
    page.goto(room)
    lane = part(page, "worker-worker-2")
    expect(lane).to_have_attribute("data-state", "idle")
    process = cluster.workers[2]
    process.send_signal(19)
    try:
        # two seconds later it is given up: who is busy for so long sees no more than that
        expect(lane).to_have_attribute("data-state", re.compile("suspect|away|left"))
    finally:
        process.send_signal(18)
    expect(lane).to_have_attribute("data-state", "idle")

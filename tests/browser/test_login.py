"""Who gets in: people with tokens of their own, and nobody else's pages."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from builders.browsing import answer, opened, part, submitted
from builders.guarded import GuardedCluster, guarded
from gradloom.children import Child, stop
from gradloom.client import Job
from gradloom.roles import Role

pytestmark = pytest.mark.system
SOCKET = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedCluster]:
    """A coordinator that wants tokens, and no worker."""
    with guarded(tmp_path_factory.mktemp("guarded")) as cluster:
        cluster.token("olga", Role.OPERATOR)
        cluster.token("vic", Role.VIEWER)
        cluster.token("temp", Role.OPERATOR)
        cluster.token("worker", Role.WORKER)
        cluster.start()
        yield cluster


@pytest.fixture(scope="module")
def door(gate: GuardedCluster) -> Iterator[str]:
    """The address of a control room that has no token of its own."""
    child = opened(gate.address, gate.folder)
    try:
        yield child.announced(60)["url"]
    finally:
        stop([child])


@pytest.fixture
def job(gate: GuardedCluster, table: Path) -> Iterator[Job]:
    with gate.client("olga") as client:
        job = submitted(client, table)
        yield job
        if not job.view().state.final:
            job.cancel("seen enough")


def log_in(page: Page, door: str, gate: GuardedCluster, name: str, path: str = "/") -> None:
    page.goto(f"{door}{path}")
    page.wait_for_url(re.compile("/login"))
    part(page, "token").fill(gate.text(name))
    part(page, "enter").click()


def test_people_log_in_with_their_own_tokens_and_act_in_their_own_name(
    page: Page, door: str, gate: GuardedCluster, job: Job
) -> None:
    page.goto(f"{door}/jobs/{job.id}")
    page.wait_for_url(f"**/login?next=/jobs/{job.id}")
    part(page, "token").fill(gate.text("olga"))
    part(page, "enter").click()
    page.wait_for_url(f"**/jobs/{job.id}")
    expect(part(page, "who")).to_have_text("olga")
    part(page, "note").fill("looks good")
    part(page, "add-note").click()
    expect(part(page, "timeline")).to_contain_text("olga: looks good")

    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    assert gate.text("olga") not in str((cookie, page.content(), page.url))
    assert (
        page.evaluate("[...Object.values(localStorage), ...Object.values(sessionStorage)].join()").find(
            gate.text("olga")
        )
        == -1
    )
    part(page, "logout").click()
    page.wait_for_url("**/login")
    page.goto(door)
    page.wait_for_url("**/login")


def test_viewers_see_no_controls_and_the_coordinator_refuses_them_anyhow(
    page: Page, door: str, gate: GuardedCluster, job: Job
) -> None:
    log_in(page, door, gate, "vic", f"/jobs/{job.id}")
    expect(part(page, "who")).to_have_text("vic")
    expect(part(page, "viewer")).to_be_visible()
    expect(part(page, "state")).to_have_text(re.compile("running|planning|queued"))
    expect(part(page, "steer")).to_have_count(0)
    expect(page.get_by_role("link", name="New job")).to_have_count(0)
    cookie = "; ".join(f"{one['name']}={one['value']}" for one in page.context.cookies())
    assert answer(door, "/new", Cookie=cookie).status == 403
    assert not job.view().state.final


def test_a_token_that_is_none_lets_nobody_in(browser: Browser, door: str, gate: GuardedCluster) -> None:
    with browser.new_context() as context:  # a page of its own: a refusal is an error in the console
        page = context.new_page()
        page.goto(f"{door}/login")
        for token, words in (
            ("gradloom_wrong" + "x" * 30, "the token is not known to this cluster"),
            (gate.text("worker"), "the role worker"),
        ):
            part(page, "token").fill(token)
            part(page, "enter").click()
            expect(part(page, "login-refusal")).to_contain_text(words)
        assert context.cookies() == []


def test_a_token_that_is_revoked_ends_its_visits(page: Page, door: str, gate: GuardedCluster) -> None:
    log_in(page, door, gate, "temp")
    expect(part(page, "lanes")).to_contain_text("No worker")
    gate.revoke("temp")
    page.wait_for_url("**/login")


def test_a_room_with_a_token_of_its_own_asks_nobody_unless_it_is_told_to(
    gate: GuardedCluster, page: Page
) -> None:
    own = ("--token-file", str(gate.folder / "vic.token"))
    rooms: list[Child] = []
    try:
        for name, options in (("open", own), ("closed", (*own, "--require-login"))):
            (gate.folder / name).mkdir()
            rooms.append(opened(gate.address, gate.folder / name, *options))
        free, asking = (room.announced(60)["url"] for room in rooms)
        page.goto(free)
        expect(part(page, "viewer")).to_be_visible()
        page.goto(asking)
        page.wait_for_url("**/login")
    finally:
        stop(rooms)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", ""])
def test_only_known_names_are_answered(door: str, host: str) -> None:
    refused = answer(door, Host=host)
    assert refused.status == 400
    assert b"--allowed-host" in refused.body
    assert answer(door, "/health", Host=host or "10.0.0.7").status == 200


def test_other_sites_can_not_act_through_a_browser(door: str) -> None:
    own = door
    for origin in ("https://evil.example", "http://localhost:1", "null", ""):
        headers = {"Origin": origin} if origin else {}
        assert answer(door, SOCKET, **UPGRADE, **headers).status == 403, origin
        polled = answer(door, SOCKET.replace("websocket", "polling"), "POST", "40", **headers)
        assert polled.status == 403, origin
        assert answer(door, "/login", "POST", "token=x", **headers).status == 403, origin
        assert answer(door, "/logout", "POST", **headers).status == 403, origin
    assert answer(door, SOCKET, **UPGRADE, Origin=own).status == 403, "who has not logged in has no socket"
    assert answer(door, "/logout", "POST", Origin=own).status == 303


def test_every_answer_carries_its_headers(door: str) -> None:
    for path, status in (("/login", 200), ("/", 303), ("/nothing", 303), ("/health", 200)):
        got = answer(door, path)
        assert got.status == status, path
        policy = got.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe-inline" not in policy.partition("style-src")[0]
        assert got.headers["X-Frame-Options"] == "DENY"
        assert got.headers["X-Content-Type-Options"] == "nosniff"
        assert got.headers["Referrer-Policy"] == "same-origin"
    assert answer(door, "//evil.example/x").headers["Location"].startswith("/login")

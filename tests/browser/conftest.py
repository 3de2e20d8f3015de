"""A real cluster, a real control room, and a real browser that must find nothing to complain of."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from builders.browsing import CHROMIUM, LIMIT_MS, opened
from builders.dawdling import dawdle
from builders.stillness import still_network
from gradloom import LocalCluster
from gradloom.children import stop


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40,000 rows of 20 columns and a binary target in column "20"."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal((40_000, 20))
    y = X @ rng.standard_normal(20) + rng.standard_normal(len(X)) > 0
    path = tmp_path_factory.mktemp("data") / "table.npy"
    np.save(path, np.column_stack([X, y]))
    return path


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """A coordinator that takes checkpoints often, and three workers that leave most of the machine to the browser."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GRADLOOM_CHECKPOINT_EVERY", "0.3")
        with LocalCluster(workers=3, allow_chaos=True) as running:
            with running.client() as client:
                dawdle(client, 50.0)
            yield running


@pytest.fixture(scope="module")
def room(cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a control room's page."""
    child = opened(cluster.address, tmp_path_factory.mktemp("room"))
    try:
        yield child.announced(60)["url"]
    finally:
        stop([child])


@pytest.fixture(scope="module")
def viewers_room(cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same for people who may only look."""
    child = opened(cluster.address, tmp_path_factory.mktemp("viewers-room"), "--viewer")
    try:
        yield child.announced(60)["url"]
    finally:
        stop([child])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    assert path, "chromium not found: install the Debian package chromium"
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=path, args=CHROMIUM) as running,
    ):
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of 1280 pixels; afterwards it has asked one host only and had no error in its console."""
    with still_network(), browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.set_default_timeout(LIMIT_MS)
        errors: list[str] = []
        hosts: set[str] = set()
        page.on(
            "console", lambda said: errors.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname or "data"))
        page.on("websocket", lambda socket: hosts.add(urlsplit(socket.url).hostname or ""))
        yield page
        assert errors == []
        assert hosts - {"data"} == {"127.0.0.1"}

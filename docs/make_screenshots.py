"""Takes pictures of the control room in headless Chromium, of a real cluster with a real job; needs /usr/bin/chromium.

.venv/bin/python docs/make_screenshots.py [FOLDER]

Without a folder it writes docs/control-room.png and docs/control-room-cluster.png; with one, every page there, wide
and narrow, light and dark.
"""

import queue
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from gradloom import LocalCluster
from gradloom.children import Child, stop
from gradloom.client import Client, Job
from gradloom.faults import Fault, FaultKind
from gradloom.jobs import RoundCompleted

OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
SIZES = {"wide": (1280, 1000), "narrow": (390, 844)}
PICTURE, CLUSTER_PICTURE = Path("docs/control-room.png"), Path("docs/control-room-cluster.png")


def a_table(folder: Path) -> Path:
    """200,000 rows of 40 columns with a binary target in the last one."""
    rng = np.random.default_rng(7)
    X = rng.standard_normal((200_000, 40))
    y = X @ rng.standard_normal(40) + 2 * rng.standard_normal(len(X)) > 0
    path = folder / "visits.npy"
    np.save(path, np.column_stack([X, y]))
    return path


def until_round(job: Job, wanted: int) -> None:
    """Wait for a round of a job."""
    for event in job.watch(timeout_s=120):
        if isinstance(event.what, RoundCompleted) and event.what.round >= wanted:
            return


def steered(cluster: LocalCluster, data: Path) -> str:
    """A job that somebody has changed twice, with one worker that is slow."""
    with Client(cluster.address, user="ann@lab") as client:
        settings = {
            "solver": "adam",
            "batch_size": 4096,
            "learning_rate": 0.002,
            "max_rounds": 4000,
            "tolerance": 0,
        }
        first = client.submit("linear", data=str(data), target="40", settings={"max_rounds": 30})
        first.wait(60)
        more = {**settings, "validation_fraction": 0.1}
        job = client.submit(
            "logistic", data=str(data), target="40", shards=16, test_fraction=0.1, settings=more
        )
        until_round(job, 150)
        job.update(settings={"learning_rate": 0.01})
        job.note("a larger step: the loss falls too slowly")
        client.inject(client.workers()[1].worker, Fault(FaultKind.SLOW, 60.0, 6.0))
        until_round(job, 330)
        job.update(codec="topk:0.1")
        until_round(job, 420)
    return job.id


def look(
    browser: Browser, url: str, size: str, path: Path, *, scheme: str = "light", whole: bool = False
) -> None:
    """One picture of one page."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if scheme == "dark" else "light"
    )
    page: Page = context.new_page()
    page.goto(url)
    page.wait_for_selector(".gl-page")
    page.wait_for_timeout(3500)  # the curves are there, and workers have said where their time goes
    page.screenshot(path=path, full_page=whole)
    context.close()


def main() -> None:
    """Start everything, take the pictures, end everything."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as place, LocalCluster(4, allow_chaos=True) as cluster:
        arguments = ["--cluster", cluster.address, "--port", "0", "--user", "ann@lab"]
        room = Child("dashboard", "gradloom_dashboard", arguments, Path(place) / "log", queue.SimpleQueue())
        try:
            url = room.announced(60)["url"]
            job_id = steered(cluster, a_table(Path(place)))
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=OPTIONS)
                if folder is None:
                    look(browser, f"{url}/jobs/{job_id}", "wide", PICTURE)
                    look(browser, url, "wide", CLUSTER_PICTURE)
                else:
                    folder.mkdir(parents=True, exist_ok=True)
                    pages = {"cluster": url, "job": f"{url}/jobs/{job_id}", "new": f"{url}/new"}
                    for name, address in pages.items():
                        for size in SIZES:
                            look(
                                browser, address, size, folder / f"{name}-{size}.png", whole=size == "narrow"
                            )
                        look(browser, address, "wide", folder / f"{name}-dark.png", scheme="dark")
                browser.close()
        finally:
            stop([room])


if __name__ == "__main__":
    started = time.monotonic()
    main()
    sys.stdout.write(f"{time.monotonic() - started:.0f} s\n")

"""A control room as a process, and what is found on its pages."""

import http.client
import queue
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Locator, Page, expect

from gradloom.children import Child
from gradloom.client import Client, Job

LIMIT_MS = 40_000
CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
"""Options for a browser that asks nobody but the pages that are tested."""
expect.set_options(timeout=LIMIT_MS)


def opened(address: str, folder: Path, *options: str) -> Child:
    """The process of a control room that is starting."""
    arguments = ["--cluster", address, "--port", "0", "--user", "ann@lab", *options]
    return Child("dashboard", "gradloom_dashboard", arguments, folder / "log", queue.SimpleQueue())


def part(page: Page, name: str) -> Locator:
    """What stands on a page under a name."""
    return page.get_by_test_id(name)


def submitted(client: Client, table: Path) -> Job:
    """A job that goes on until it is cancelled."""
    settings = {
        "solver": "adam",
        "batch_size": 2048,
        "max_rounds": 90_000,
        "tolerance": 0,
        "learning_rate": 0.002,
    }
    return client.submit("logistic", data=str(table), target="20", shards=12, settings=settings)


def answer(
    url: str, path: str = "/", method: str = "GET", body: str = "", **headers: str
) -> http.client.HTTPResponse:
    """What a server says to a request with just these headers; ``Host`` is added if it is not given."""
    address = urlsplit(url).netloc
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    for name, value in {"Host": address, "Content-Length": str(len(body)), **headers}.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders(body.encode())
    response = connection.getresponse()
    response.body = response.read()  # type: ignore[attr-defined]
    connection.close()
    return response

"""The web server of the control room: registers the pages, serves until it is told to stop."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI
from nicegui import ui

from gradloom.client import Client
from gradloom.errors import InvalidInput
from gradloom_dashboard import feed as feeds
from gradloom_dashboard.cluster_page import cluster_page
from gradloom_dashboard.feed import Feed
from gradloom_dashboard.job_page import JobPage
from gradloom_dashboard.room import Room
from gradloom_dashboard.submit_page import SubmitPage

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 18 18"><g fill="#2f6fde">'
    '<rect width="3" height="18" rx="1"/><rect x="5" y="4" width="3" height="14" rx="1"/>'
    '<rect x="10" y="9" width="3" height="9" rx="1"/><rect x="15" y="12" width="3" height="6" rx="1"/></g></svg>'
)


@dataclass(frozen=True, slots=True)
class Settings:
    """How one control room runs."""

    cluster: str
    """``host:port`` of the coordinator; it may come later."""
    host: str = "127.0.0.1"
    port: int = 8080
    """0 = any free one."""
    viewer: bool = False
    user: str | None = None
    """Who is said to have changed what; None = whom this process belongs to."""


async def serve(settings: Settings, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
    """Serve until ``stop`` is set or the process is told to end; ``ready`` is called with the page's address.

    Raises InvalidInput if the address can't be listened at.
    """
    listener = _listener(settings.host, settings.port)
    feed = Feed(feeds.of_cluster(settings.cluster))
    with Client(settings.cluster, user=settings.user) as client:
        server = uvicorn.Server(_config(Room(feed, client, settings.viewer)))
        feed.start()
        try:
            host, port = listener.getsockname()[:2]
            ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
            watch = asyncio.create_task(_end(server, stop))
            await server.serve(sockets=[listener])
            watch.cancel()
        finally:
            feed.close()
            listener.close()


def _config(room: Room) -> uvicorn.Config:
    web = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _register(room)
    ui.run_with(
        web,
        title="gradloom",
        favicon=ICON,
        dark=None,
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=10.0,
    )
    return uvicorn.Config(web, log_level="warning", ws="websockets-sansio", timeout_graceful_shutdown=2)


def _register(room: Room) -> None:
    ui.page("/")(lambda: cluster_page(room))

    @ui.page("/jobs/{job_id}")
    def job(job_id: str) -> None:
        ui.page_title(f"{job_id} - gradloom")
        JobPage(room, job_id)

    if not room.viewer:

        @ui.page("/new")
        def new() -> None:
            SubmitPage(room)


async def _end(server: uvicorn.Server, stop: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True


def _listener(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise InvalidInput("port", f"{host}:{port} can't be listened at: {error}") from error

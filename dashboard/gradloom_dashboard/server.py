"""The web server of the control room: registers the pages, serves until it is told to stop."""

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from nicegui import ui

from gradloom.errors import GradloomError, InvalidInput
from gradloom.roles import Role
from gradloom.settings import Access
from gradloom.tls import is_loopback, join_host_port
from gradloom_dashboard.cluster_page import cluster_page
from gradloom_dashboard.gates import HEALTH, LOGIN, LOGOUT, Gates, check_openness, gates_of, next_page
from gradloom_dashboard.guard import Guard
from gradloom_dashboard.job_page import JobPage
from gradloom_dashboard.login_page import login_page
from gradloom_dashboard.reception import Cluster, Reception
from gradloom_dashboard.room import Room
from gradloom_dashboard.submit_page import SubmitPage
from gradloom_dashboard.visits import CHECK_EVERY_S, VISIT_FOR_S

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 18 18"><g fill="#2f6fde">'
    '<rect width="3" height="18" rx="1"/><rect x="5" y="4" width="3" height="14" rx="1"/>'
    '<rect x="10" y="9" width="3" height="9" rx="1"/><rect x="15" y="12" width="3" height="6" rx="1"/></g></svg>'
)
COOKIE = "gradloom-visit"
MAX_FORM_BYTES = 8192
READ_ONLY = "this control room only shows: who submits jobs needs the role operator\n"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """How one control room runs."""

    cluster: str
    """``host:port`` of the coordinator; it may come later."""
    host: str = "127.0.0.1"
    port: int = 8080
    """0 = any free one."""
    role: Role = Role.OPERATOR
    """What anybody may do here at most: ``viewer`` only looks."""
    user: str | None = None
    """Who is said to have changed what, where the coordinator asks nobody; None = whom this process belongs to."""
    access: Access = field(default_factory=Access)
    """What this process itself shows to the coordinator."""
    require_login: bool = False
    """Whether people log in with tokens of their own in any case; else only if the coordinator refuses us."""
    allowed_hosts: tuple[str, ...] = ()
    """Names, beside those of this machine, under which browsers may ask."""


async def serve(settings: Settings, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
    """Serve until ``stop`` is set or the process is told to end; ``ready`` is called with the page's address.

    Raises InvalidInput if the address can't be listened at, or would be open to strangers.
    """
    login, insecure = settings.require_login, settings.access.insecure
    check_openness(settings.host, login=login, insecure=insecure)
    if not is_loopback(settings.host):
        risk = "tokens travel in plain text unless a proxy speaks TLS" if login else "anybody there may steer"
        log.warning("%s can be reached from other machines: %s", settings.host, risk)
    gates = gates_of(settings.host, settings.allowed_hosts)
    listener = _listener(settings.host, settings.port)
    with contextlib.closing(listener):
        cluster = Cluster(settings.cluster, settings.access, settings.user, settings.role)
        with contextlib.closing(Reception(cluster, require_login=login)) as reception:
            server = uvicorn.Server(_config(reception, gates))
            host, port = listener.getsockname()[:2]
            ready(f"http://{join_host_port(host, port)}")
            aside = [asyncio.create_task(_end(server, stop)), asyncio.create_task(_keep_checking(reception))]
            await server.serve(sockets=[listener])
            for task in aside:
                task.cancel()


def _config(reception: Reception, gates: Gates) -> uvicorn.Config:
    web = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    web.get(HEALTH)(lambda: JSONResponse({"status": "SERVING"}))  # of this process, not of the cluster
    _register_login(web, reception)
    _register_pages(reception)
    ui.run_with(
        web,
        title="gradloom",
        favicon=ICON,
        dark=None,
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=10.0,
    )
    web.add_middleware(Guard, gates=gates, admits=reception.admits, cookie=COOKIE)
    # without a configuration of its own its lines go where ours go
    return uvicorn.Config(
        web,
        log_config=None,
        log_level="warning",
        ws="websockets-sansio",
        timeout_graceful_shutdown=2,
        server_header=False,
    )


def _register_pages(reception: Reception) -> None:
    def room_of(request: Request) -> Room | None:
        return reception.room(request.cookies.get(COOKIE, ""))

    @ui.page("/")
    def cluster(request: Request) -> Response | None:
        room = room_of(request)
        if room is None:
            return RedirectResponse(LOGIN, 303)
        cluster_page(room)
        return None

    @ui.page("/jobs/{job_id}")
    def job(request: Request, job_id: str) -> Response | None:
        room = room_of(request)
        if room is None:
            return RedirectResponse(LOGIN, 303)
        ui.page_title(f"{job_id} - gradloom")
        JobPage(room, job_id)
        return None

    @ui.page("/new")
    def new(request: Request) -> Response | None:
        room = room_of(request)
        if room is None:
            return RedirectResponse(LOGIN, 303)
        if not room.may_steer:
            return PlainTextResponse(READ_ONLY, 403)
        SubmitPage(room)
        return None


def _register_login(web: FastAPI, reception: Reception) -> None:
    address = reception.cluster.address

    @web.get(LOGIN)
    def ask(request: Request) -> Response:
        wanted = next_page(request.query_params.get("next", "/"))
        if reception.admits(request.cookies.get(COOKIE, "")):
            return RedirectResponse(wanted, 303)
        return login_page(address, wanted, secrets.token_urlsafe(16))

    @web.post(LOGIN)
    async def enter(request: Request) -> Response:
        form = await _form(request)
        wanted = next_page(form.get("next", "/"))
        try:
            visit = await asyncio.to_thread(reception.log_in, form.get("token", "").strip())
        except GradloomError as error:
            return login_page(address, wanted, secrets.token_urlsafe(16), error.message, 401)
        answer = RedirectResponse(wanted, 303)
        answer.set_cookie(
            COOKIE,
            visit,
            max_age=int(VISIT_FOR_S),
            httponly=True,
            samesite="strict",
            secure=urlsplit(request.headers.get("origin", "")).scheme == "https",
        )
        return answer

    @web.post(LOGOUT)
    def leave(request: Request) -> Response:
        reception.visits.leave(request.cookies.get(COOKIE, ""))
        answer = RedirectResponse(LOGIN, 303)
        answer.delete_cookie(COOKIE)
        return answer


async def _form(request: Request) -> dict[str, str]:
    """The fields of a small form; none of one that is too big."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            return {}
    return {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


async def _keep_checking(reception: Reception) -> None:
    while True:
        await asyncio.sleep(CHECK_EVERY_S)
        try:
            await asyncio.to_thread(reception.check)
        except Exception:
            log.exception("the logins could not be checked")


async def _end(server: uvicorn.Server, stop: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True


def _listener(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise InvalidInput("port", f"{join_host_port(host, port)} can't be listened at: {error}") from error

"""Stands before all pages: asks ``gates`` whether a request is answered, and gives every answer its headers."""

import re
import secrets
from collections.abc import Callable, Iterable
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gradloom_dashboard.gates import Asked, Gates, Refused, login_path, needs_no_login, policy, refusal

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
POLICY = "Content-Security-Policy"
SCRIPT = re.compile(rb"<script\b(?![^>]*\snonce=)")
POLICY_VIOLATION = 1008
"""How a WebSocket is closed that is not let in."""


class Guard:
    """Middleware of ASGI. ``admits`` says whether whoever shows a cookie may see pages."""

    def __init__(self, app: ASGIApp, gates: Gates, admits: Callable[[str], bool], cookie: str) -> None:
        self._app, self._gates, self._admits, self._cookie = app, gates, admits, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        method = scope["method"] if scope["type"] == "http" else ""
        asked = Asked(scope["path"], method, _only(headers, "host"), _only(headers, "origin"))
        answer: Response | None = None
        if (refused := refusal(self._gates, asked)) is not None:
            answer = _words(refused)
        elif not needs_no_login(asked.path) and not self._admits(cookie_of(headers, self._cookie)):
            answer = _to_login(asked)
        if answer is None:
            await self._app(_without_compression(scope), receive, Dressing(send))
        elif scope["type"] == "http":
            await answer(scope, receive, Dressing(send))
        else:
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})


class Dressing:
    """Sends an answer on with our headers; scripts in a page of HTML get the nonce of its policy."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        """One part of the answer."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if POLICY not in headers and headers.get("content-type", "").startswith("text/html"):
                self._start = message
                return
            headers.setdefault(POLICY, policy("", scripts=False))
        elif self._start is not None and message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._send_page(self._start)
            return
        await self._send(message)

    async def _send_page(self, start: Message) -> None:
        nonce = secrets.token_urlsafe(16)
        body = SCRIPT.sub(b'<script nonce="%s"' % nonce.encode(), self._body)
        headers = MutableHeaders(scope=start)
        headers[POLICY] = policy(nonce)
        headers["Cache-Control"] = "no-store"
        headers["Content-Length"] = str(len(body))
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})


def cookie_of(headers: Headers, name: str) -> str:
    """What a cookie holds; empty = it is not there."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _only(headers: Headers, name: str) -> str:
    """A header that may be there once; one that is there twice says nothing."""
    found = headers.getlist(name)
    return found[0] if len(found) == 1 else ""


def _words(refused: Refused) -> Response:
    return PlainTextResponse(f"{refused.words}\n", refused.status)


def _to_login(asked: Asked) -> Response:
    if asked.method == "GET":
        return RedirectResponse(login_path(asked.path), 303)
    return PlainTextResponse("log in first\n", 401)


def _without_compression(scope: Scope) -> Scope:
    """Pages are looked through on their way out; what the browser keeps for good may be compressed."""
    if scope["type"] != "http" or needs_no_login(scope["path"]):
        return scope
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return {**scope, "headers": [pair for pair in headers if pair[0].lower() != b"accept-encoding"]}

"""Which requests are answered at all: under which names, and from which pages. Pure.

A browser sends our cookie along whoever's page makes it ask, and any name may be made to point at this machine. So
pages are only given under names that are known (else another site could read them: DNS rebinding), and whatever may
change something must come from a page of ours (else another site could steer: cross-site requests and WebSockets).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from gradloom.errors import InvalidInput
from gradloom.tls import WILDCARDS, host_and_port, is_loopback

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
HEALTH, LOGIN, LOGOUT = "/health", "/login", "/logout"
OPEN_PATHS = (LOGIN, LOGOUT, "/favicon.ico")
ASSETS = "/_nicegui/"
"""The scripts and styles of NiceGUI itself: the same for everybody, and public."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Gates:
    """What is let in."""

    names: frozenset[str]
    """Hosts under which pages are given, without a port."""
    trusted: frozenset[str]
    """Those of them that a person has named: a proxy may give them whatever port."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known of a request before anything is done for it."""

    path: str
    method: str
    """Empty = a WebSocket."""
    host: str
    origin: str
    """Where the page is from that asks; empty = its browser does not say, or it is no browser."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request is not answered."""

    status: int
    words: str


def gates_of(host: str, allowed_hosts: Iterable[str]) -> Gates:
    """Those of a server that listens at ``host``. Raises InvalidInput for what is no name of a host."""
    trusted = frozenset(_checked(name) for name in allowed_hosts)
    own = () if host in WILDCARDS else (host.lower(),)
    return Gates(frozenset({*LOCAL_NAMES, *own, *trusted}), trusted)


def _checked(name: str) -> str:
    wanted = name.strip().lower().removesuffix(".")
    bare, port = host_and_port(wanted)
    if not bare or port or "/" in bare or "*" in bare or " " in bare:
        raise InvalidInput(
            "allowed_host", f"{name!r} is not allowed; it must be the name of a host, without scheme or port"
        )
    return bare


def check_openness(host: str, *, login: bool, insecure: bool) -> None:
    """Raise InvalidInput for pages that everybody on other machines could steer by."""
    if not login and not insecure and not is_loopback(host):
        raise InvalidInput(
            "host",
            f"{host!r} can be reached from other machines, and without a login anybody there may see and steer"
            " everything; give --require-login, or --insecure if that is what you want, or listen on 127.0.0.1",
        )


def refusal(gates: Gates, asked: Asked) -> Refused | None:
    """Why a request is not answered; None = it is."""
    if asked.path == HEALTH and asked.method in SAFE_METHODS:
        return None  # probes ask by whatever address, and learn nothing
    name = _name(asked.host)
    if name not in gates.names:
        return Refused(
            400,
            f"this control room is not known as {name!r}; if it should be: --allowed-host {name or 'NAME'}",
        )
    if asked.method in SAFE_METHODS or _same_site(gates, asked):
        return None
    return Refused(403, f"only pages of this control room may do that, and not those of {asked.origin!r}")


def _name(host: str) -> str:
    return host_and_port(host)[0].lower().removesuffix(".")


def _same_site(gates: Gates, asked: Asked) -> bool:
    origin = urlsplit(asked.origin)
    if origin.scheme not in ("http", "https"):
        return False
    return origin.netloc.lower() == asked.host.lower() or (origin.hostname or "") in gates.trusted


def needs_no_login(path: str) -> bool:
    """Whether something is there for people who are not known yet."""
    return path in OPEN_PATHS or path == HEALTH or path.startswith(ASSETS)


def login_path(wanted: str) -> str:
    """Where somebody is sent to log in, who wanted to see a page."""
    return LOGIN if wanted in ("", "/") else f"{LOGIN}?next={quote(wanted, safe='/')}"


def next_page(wanted: str) -> str:
    """Where somebody goes who has logged in: a page of ours, whatever was asked for."""
    is_ours = wanted.startswith("/") and not wanted.startswith("//") and "\\" not in wanted
    return wanted if is_ours and wanted.isprintable() and wanted not in OPEN_PATHS else "/"


def policy(nonce: str, *, scripts: bool = True) -> str:
    """What a page of ours may load and do, as a Content-Security-Policy.

    Scripts must be ours by their address or carry the nonce. Vue compiles its templates, so it needs ``eval``; and it
    makes styles as it goes.
    """
    may_run = f"script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; connect-src 'self'; " if scripts else ""
    styles = "'unsafe-inline'" if scripts else f"'nonce-{nonce}'"
    return (
        f"default-src 'none'; {may_run}style-src 'self' {styles}; img-src 'self' data:; font-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )

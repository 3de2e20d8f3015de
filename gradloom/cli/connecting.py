"""How a command reaches a running cluster: what its options and the environment say of certificates and tokens.

Every command that takes ``--cluster`` is given the options of access here, so that none can lack one of them.
"""

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradloom.settings import (
    ACCESS_VARIABLES,
    Access,
    access_from_environment,
    read_token,
    token_from_environment,
)
from gradloom.tls import tls_files

if TYPE_CHECKING:
    from gradloom.client import Client

PANEL = "Access to the cluster"
_CA, _CERT, _KEY, _INSECURE, _TOKEN, _TOKEN_FILE = ACCESS_VARIABLES
TlsCa = Annotated[
    Path | None,
    typer.Option(
        envvar=_CA, metavar="FILE", help="TLS: the trusted authorities, PEM.", rich_help_panel=PANEL
    ),
]
TlsCert = Annotated[
    Path | None,
    typer.Option(envvar=_CERT, metavar="FILE", help="TLS: your certificate, PEM.", rich_help_panel=PANEL),
]
TlsKey = Annotated[
    Path | None,
    typer.Option(envvar=_KEY, metavar="FILE", help="TLS: its private key, PEM.", rich_help_panel=PANEL),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure", envvar=_INSECURE, help="Let plain text leave this machine.", rich_help_panel=PANEL
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        envvar=_TOKEN_FILE,
        metavar="FILE",
        help=f"Holds your token; or {_TOKEN} is it.",
        rich_help_panel=PANEL,
    ),
]


@dataclass(frozen=True, slots=True)
class _Given:
    """What a command line said, the environment where it did not."""

    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure: bool = False
    token_file: Path | None = None


_OPTIONS: dict[str, Any] = {
    "tls_ca": TlsCa,
    "tls_cert": TlsCert,
    "tls_key": TlsKey,
    "insecure": Insecure,
    "token_file": TokenFile,
}
_given: ContextVar[_Given | None] = ContextVar("given", default=None)


def access() -> Access:
    """What the command that runs was given. Raises InvalidInput."""
    given = _given.get()
    if given is None:
        return access_from_environment()
    tls = tls_files(given.tls_ca, given.tls_cert, given.tls_key)
    token = token_from_environment() or read_token(given.token_file or "")
    return Access(tls, token, given.insecure)


def connect(cluster: str) -> "Client":
    """A client of a running cluster, with what the command was given. Raises InvalidInput."""
    from gradloom.client import Client

    given = access()
    return Client(cluster, tls=given.tls, token=given.token, insecure=given.insecure)


def add_to(app: typer.Typer) -> None:
    """Give the options of access to all commands that are registered by now and take ``--cluster``."""
    for command in app.registered_commands:
        if command.callback is not None and "cluster" in inspect.signature(command.callback).parameters:
            command.callback = _with_options(command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            add_to(group.typer_instance)


def _with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same command with the options of access, which it need not know of."""

    @functools.wraps(command)
    def reaching(*words: Any, **named: Any) -> Any:
        _given.set(_Given(**{name: named.pop(name) for name in _OPTIONS}))
        return command(*words, **named)

    signature = inspect.signature(command)
    own = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=getattr(_Given(), name), annotation=annotation
        )
        for name, annotation in _OPTIONS.items()
    ]
    reaching.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *own])  # type: ignore[attr-defined]
    reaching.__annotations__ = {**command.__annotations__, **_OPTIONS}
    return reaching

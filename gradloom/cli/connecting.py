"""How a command reaches a running cluster: what its options and the environment say of certificates and tokens.

Every command that takes ``--cluster`` is given the options of access here, so that none can lack one of them.
"""

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gradloom import service_options
from gradloom.settings import Access, access_from_environment, access_given

if TYPE_CHECKING:
    from gradloom.client import Client


@dataclass(frozen=True, slots=True)
class _Given:
    """What a command line said, the environment where it did not."""

    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure: bool = False
    token_file: Path | None = None


_OPTIONS: dict[str, Any] = {
    "tls_ca": service_options.TlsCa,
    "tls_cert": service_options.TlsCert,
    "tls_key": service_options.TlsKey,
    "insecure": service_options.Insecure,
    "token_file": service_options.TokenFile,
}
_given: ContextVar[_Given | None] = ContextVar("given", default=None)


def access() -> Access:
    """What the command that runs was given. Raises InvalidInput."""
    given = _given.get()
    if given is None:
        return access_from_environment()
    return access_given(
        given.tls_ca, given.tls_cert, given.tls_key, given.token_file, insecure=given.insecure
    )


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

"""``gradloom health``: asks one process whether it is well, in the words of grpc.health.v1 or of HTTP.

A container's probe runs it every few seconds. So it takes its words apart by itself: typer looks at the options of all
commands first, which takes longer than to ask. gRPC is imported for a gRPC port alone.
"""

import argparse
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

from gradloom.errors import InvalidInput, Unavailable

MAX_TIMEOUT_S = 60.0
SERVING = "SERVING"
ALLOWED = "it must be HOST:PORT or http://HOST:PORT/PATH"


def health(arguments: Sequence[str]) -> int:
    """Run the command and return its exit status: 0 well, 1 not or no answer, 2 for words that are wrong."""
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as over:  # argparse has said why
        return int(over.code or 0)
    try:
        answer = ask(options.target, options.service, options.timeout)
    except Unavailable as error:
        answer = str(error)
    except InvalidInput as error:
        from gradloom.cli.refusals import refuse

        return refuse(error, as_json=options.json)
    is_well = answer == SERVING
    if options.json:
        from gradloom.cli.output import write_json

        write_json({"target": options.target, "healthy": is_well, "answer": answer})
    else:
        (sys.stdout if is_well else sys.stderr).write(f"{answer}\n")
    return 0 if is_well else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gradloom health",
        description="Ask a coordinator, a worker or a control room whether it is well.",
        epilog="Exit status: 0 it is; 1 it is not, or does not answer; 2 bad input.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "target", metavar="TARGET", help="HOST:PORT of a health port, or http://HOST:PORT/health"
    )
    parser.add_argument("--service", default="ready", help="live or ready; of a gRPC port alone")
    parser.add_argument(
        "--timeout", type=float, default=3.0, metavar="SECONDS", help="the longest wait for an answer"
    )
    parser.add_argument("--json", action="store_true", help="write JSON on stdout, and nothing else")
    return parser


def ask(target: str, service: str, timeout_s: float) -> str:
    """What the process at ``target``, ``HOST:PORT`` or ``http://...``, says of itself: SERVING, or why not.

    Raises InvalidInput for a target that is none, Unavailable if nobody answers within ``timeout_s``.
    """
    if not 0 < timeout_s <= MAX_TIMEOUT_S:
        raise InvalidInput(
            "timeout", f"{timeout_s:g} is not allowed; it must lie in (0, {MAX_TIMEOUT_S:g}] seconds"
        )
    if target.startswith("http://"):
        return _ask_http(*_host_port_path(target), timeout_s)
    _, port, path = _host_port_path(f"grpc://{target}")
    if path or not port:
        raise InvalidInput("target", f"{target!r} is not allowed; {ALLOWED}")
    from gradloom.health import said_by

    return said_by(target, service, timeout_s)


def _host_port_path(url: str) -> tuple[str, int, str]:
    """Port 0 = none is named."""
    try:
        parts = urlsplit(url)
        if parts.hostname and "@" not in parts.netloc:
            return parts.hostname, parts.port or 0, parts.path
    except ValueError:  # a port out of bounds, a bracket that nobody closes
        pass
    raise InvalidInput("target", f"{url.removeprefix('grpc://')!r} is not allowed; {ALLOWED}")


def _ask_http(host: str, port: int, path: str, timeout_s: float) -> str:
    import http.client

    connection = http.client.HTTPConnection(host, port or None, timeout=timeout_s)
    try:
        connection.request("GET", path or "/")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"{host}:{port or 80} does not answer: {error or type(error).__name__}") from None
    finally:
        connection.close()
    return SERVING if status == http.client.OK else f"HTTP status {status}"

"""The control room's process: arguments, log, exit status."""

import asyncio
import json
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gradloom import logs, service_options
from gradloom.errors import GradloomError, InvalidInput
from gradloom.logs import LogFormat
from gradloom.process import stop_at_end_of_stdin
from gradloom.roles import Role
from gradloom.settings import DEFAULT_PORT, access_given
from gradloom_dashboard import options

if TYPE_CHECKING:
    from gradloom_dashboard.server import Settings

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]}
)
log = logging.getLogger("gradloom_dashboard")
ROLES = (Role.VIEWER, Role.OPERATOR)
LEAVE_LIMIT_S = 8.0


@app.command()
def dashboard(
    cluster: options.Cluster = f"localhost:{DEFAULT_PORT}",
    host: options.Host = "127.0.0.1",
    port: options.Port = 8080,
    role: options.MayDo = Role.OPERATOR,
    viewer: options.Viewer = False,
    require_login: options.RequireLogin = False,
    allowed_host: options.AllowedHost = "",
    user: options.User = None,
    tls_ca: service_options.TlsCa = None,
    tls_cert: service_options.TlsCert = None,
    tls_key: service_options.TlsKey = None,
    insecure: service_options.Insecure = False,
    token_file: service_options.TokenFile = None,
    announce: Annotated[bool, typer.Option(help="Print one JSON line once serving.")] = False,
    exit_with_stdin: Annotated[bool, typer.Option(help="Stop when standard input ends.")] = False,
    log_level: service_options.LogLevel = "WARNING",
    log_format: service_options.LogLines = LogFormat.TEXT,
) -> None:
    """Serve the control room, a web page that shows and steers a live cluster, until Ctrl-C."""
    try:
        logs.configure(log_level, log_format)
        from gradloom_dashboard.server import Settings

        settings = Settings(
            cluster,
            host,
            port,
            Role.VIEWER if viewer else _role(role),
            user,
            access_given(tls_ca, tls_cert, tls_key, token_file, insecure=insecure),
            require_login,
            tuple(name.strip() for name in allowed_host.split(",") if name.strip()),
        )
        asyncio.run(_serve(settings, log_format, announce=announce, exit_with_stdin=exit_with_stdin))
    except ModuleNotFoundError as error:
        _refuse(f"{error.name} is not installed; run: pip install 'gradloom[dashboard]'", 3)
    except GradloomError as error:
        _refuse(str(error), 2)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _role(words: str) -> Role:
    if words not in ROLES:
        raise InvalidInput.unknown_name("role", words, ROLES)
    return Role(words)


async def _serve(
    settings: "Settings", log_format: LogFormat, *, announce: bool, exit_with_stdin: bool
) -> None:
    from gradloom_dashboard.server import serve

    stop = asyncio.Event()
    if exit_with_stdin:
        stop_at_end_of_stdin(stop)

    def ready(url: str) -> None:
        if not announce and log_format is LogFormat.JSON:
            log.info("control room at %s", url)
            return
        words = json.dumps({"url": url}) if announce else f"control room  {url}  (stop it: Ctrl-C)"
        sys.stdout.write(f"{words}\n")
        sys.stdout.flush()

    limit = asyncio.create_task(_limit_leaving(stop))
    await serve(settings, stop, ready)
    limit.cancel()
    # threads that wait for a cluster which is away would be waited for
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


async def _limit_leaving(stop: asyncio.Event) -> None:
    """Whatever hangs on the way out: the process is gone soon after it was told to leave."""
    await stop.wait()
    timer = threading.Timer(LEAVE_LIMIT_S, os._exit, (0,))
    timer.daemon = True
    timer.start()


def _refuse(sentence: str, status: int) -> NoReturn:
    logs.refuse(sentence)
    raise typer.Exit(status)


def main(name: str | None = None) -> None:
    """Run the process; ``name`` is what its help calls it, by default that of the script that was started."""
    app(prog_name=name)


if __name__ == "__main__":
    main("gradloom dashboard")  # which starts it as a module

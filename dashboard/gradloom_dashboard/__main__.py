"""The control room's process: arguments, log, exit status."""

import asyncio
import json
import logging
import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gradloom.errors import GradloomError
from gradloom.process import stop_at_end_of_stdin
from gradloom.settings import DEFAULT_PORT

if TYPE_CHECKING:
    from gradloom_dashboard.server import Settings

app = typer.Typer(add_completion=False)


@app.command()
def dashboard(
    cluster: Annotated[
        str, typer.Option(metavar="HOST:PORT", envvar="GRADLOOM_CLUSTER", help="The coordinator.")
    ] = f"localhost:{DEFAULT_PORT}",
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 = any free port.")] = 8080,
    viewer: Annotated[bool, typer.Option("--viewer", help="Only show: no controls.")] = False,
    user: Annotated[
        str | None, typer.Option(help="Who is said to have changed what; yourself if not given.")
    ] = None,
    announce: Annotated[bool, typer.Option(help="Print one JSON line once serving.")] = False,
    exit_with_stdin: Annotated[bool, typer.Option(help="Stop when standard input ends.")] = False,
) -> None:
    """Serve the control room, a web page that shows and steers a live cluster, until Ctrl-C."""
    logging.basicConfig(level="WARNING", format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        from gradloom_dashboard.server import Settings
    except ModuleNotFoundError as error:
        _refuse(f"{error.name} is not installed; run: pip install 'gradloom[dashboard]'", 3)
    try:
        settings = Settings(cluster, host, port, viewer, user)
        asyncio.run(_serve(settings, announce=announce, exit_with_stdin=exit_with_stdin))
    except GradloomError as error:
        _refuse(str(error), 2)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


async def _serve(settings: "Settings", *, announce: bool, exit_with_stdin: bool) -> None:
    from gradloom_dashboard.server import serve

    stop = asyncio.Event()
    if exit_with_stdin:
        stop_at_end_of_stdin(stop)

    def ready(url: str) -> None:
        words = json.dumps({"url": url}) if announce else f"control room  {url}  (stop it: Ctrl-C)"
        sys.stdout.write(f"{words}\n")
        sys.stdout.flush()

    await serve(settings, stop, ready)


def _refuse(sentence: str, status: int) -> NoReturn:
    sys.stderr.write(f"error: {sentence}\n")
    raise typer.Exit(status)


def main() -> None:
    """Run the process."""
    app()


if __name__ == "__main__":
    main()

"""The coordinator's process: arguments, environment, log, exit code."""

import asyncio
import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from threadpoolctl import threadpool_limits

from gradloom.errors import GradloomError
from gradloom.memory import tune_collector, tune_malloc
from gradloom.process import stop_at_end_of_stdin
from gradloom.settings import DEFAULT_PORT, CoordinatorSettings
from gradloom_coordinator import options
from gradloom_coordinator.server import Addresses, serve

app = typer.Typer(add_completion=False)


@app.command()
def coordinator(
    host: Annotated[str, typer.Option(envvar="GRADLOOM_HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="GRADLOOM_PORT", help="0 = any free port.")] = DEFAULT_PORT,
    metrics_port: options.MetricsPort = 9464,
    data_dir: options.DataDir = Path("gradloom-data"),
    store_url: options.StoreUrl = "",
    checkpoint_uri: options.CheckpointUri = "",
    checkpoint_every: options.CheckpointEvery = 10.0,
    checkpoint_every_rounds: options.CheckpointEveryRounds = 0,
    durable: options.IsDurable = True,
    upload_uri: options.UploadUri = "",
    upload_limit: options.UploadLimit = 16.0,
    announce: Annotated[bool, typer.Option(help="Print one JSON line once serving.")] = False,
    exit_with_stdin: Annotated[bool, typer.Option(help="Stop when standard input ends.")] = False,
    log_level: Annotated[str, typer.Option(envvar="GRADLOOM_LOG_LEVEL")] = "INFO",
) -> None:
    """Serve a gradloom cluster: take in jobs and workers, decide who computes what."""
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    tune_malloc()
    tune_collector()
    settings = CoordinatorSettings(
        host=host,
        port=port,
        metrics_port=None if metrics_port < 0 else metrics_port,
        data_dir=data_dir.absolute(),
        store_url=store_url,
        checkpoint_uri=checkpoint_uri,
        checkpoint_every_s=checkpoint_every,
        checkpoint_every_rounds=checkpoint_every_rounds,
        durable=durable,
        upload_uri=upload_uri,
        upload_limit_bytes=int(upload_limit * 1024**3),
    )
    try:
        with threadpool_limits(limits=1):  # more threads would give an update other bits
            asyncio.run(_serve(settings, announce=announce, exit_with_stdin=exit_with_stdin))
    except GradloomError as error:
        sys.stderr.write(f"error: {error.message}\n")
        raise typer.Exit(2) from None


async def _serve(settings: CoordinatorSettings, *, announce: bool, exit_with_stdin: bool) -> None:
    stop = asyncio.Event()
    ready: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
    if announce:
        ready.add_done_callback(_announce)
    if exit_with_stdin:
        stop_at_end_of_stdin(stop)
    await serve(settings, stop, ready)
    # a thread that looks at files on a dead mount would be waited for without end
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _announce(ready: "asyncio.Future[Addresses]") -> None:
    addresses = ready.result()
    line = {"address": addresses.address, "metrics_address": addresses.metrics_address}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the command."""
    app()


if __name__ == "__main__":
    main()

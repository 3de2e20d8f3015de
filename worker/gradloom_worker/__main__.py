"""The worker's process: arguments, environment, log, exit code."""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Annotated

import typer
from prometheus_client import start_http_server
from threadpoolctl import threadpool_limits

from gradloom.errors import InvalidInput
from gradloom.memory import tune_malloc
from gradloom.process import stop_at_end_of_stdin
from gradloom.settings import DEFAULT_PORT, DRAIN_TIMEOUT_S, WorkerSettings
from gradloom_worker.host import cpu_cores, memory_bytes
from gradloom_worker.runtime import WorkerRuntime

app = typer.Typer(add_completion=False)

CACHE_FRACTION = 0.5
"""Of the memory that falls to this worker when every core has one."""


@app.command()
def worker(
    coordinator: Annotated[
        str, typer.Option(envvar="GRADLOOM_CLUSTER", help="host:port of the coordinator.")
    ] = f"127.0.0.1:{DEFAULT_PORT}",
    name: Annotated[str, typer.Option(envvar="GRADLOOM_WORKER_NAME", help="Wished name.")] = "worker",
    node: Annotated[
        str, typer.Option(envvar="GRADLOOM_NODE", help="Name of the machine; empty = the host's own.")
    ] = "",
    label: Annotated[
        list[str] | None,
        typer.Option(
            envvar="GRADLOOM_LABELS", help="NAME=VALUE that jobs may ask for; repeat, or use commas."
        ),
    ] = None,
    metrics_host: Annotated[str, typer.Option(envvar="GRADLOOM_METRICS_HOST")] = "127.0.0.1",
    metrics_port: Annotated[
        int, typer.Option(envvar="GRADLOOM_METRICS_PORT", help="Port of /metrics; 0 = any, -1 = none.")
    ] = 9465,
    cache_bytes: Annotated[
        int, typer.Option(envvar="GRADLOOM_CACHE_BYTES", help="Memory for shards; 0 = by this machine.")
    ] = 0,
    drain_timeout_s: Annotated[
        float, typer.Option(envvar="GRADLOOM_DRAIN_TIMEOUT_S", min=0, help="Longest stay after SIGTERM.")
    ] = DRAIN_TIMEOUT_S,
    allow_chaos: Annotated[
        bool,
        typer.Option("--allow-chaos", envvar="GRADLOOM_ALLOW_CHAOS", help="Let operators inject faults."),
    ] = False,
    announce: Annotated[bool, typer.Option(help="Print one JSON line once welcomed.")] = False,
    exit_with_stdin: Annotated[bool, typer.Option(help="Leave when standard input ends.")] = False,
    log_level: Annotated[str, typer.Option(envvar="GRADLOOM_LOG_LEVEL")] = "INFO",
) -> None:
    """Join a gradloom cluster and compute on its shards."""
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    tune_malloc()
    try:
        labels = _labels(label or ())
    except InvalidInput as error:
        sys.stderr.write(f"error: {error}\n")
        raise typer.Exit(2) from None
    settings = WorkerSettings(
        coordinator=coordinator,
        name=name,
        node=node,
        labels=labels,
        metrics_port=None if metrics_port < 0 else metrics_port,
        cache_bytes=cache_bytes or int(CACHE_FRACTION * memory_bytes() / max(1.0, cpu_cores())),
        drain_timeout_s=drain_timeout_s,
        allow_chaos=allow_chaos,
    )
    # more BLAS threads would part the sums differently: the same bits need one thread wherever a shard is computed
    with threadpool_limits(limits=1):
        code = asyncio.run(_run(settings, metrics_host, announce=announce, exit_with_stdin=exit_with_stdin))
    raise typer.Exit(code)


def _labels(texts: Iterable[str]) -> Mapping[str, str]:
    """Of ``["zone=a", "disk=ssd,gpu=no"]``: zone, disk and gpu. Raises InvalidInput."""
    labels: dict[str, str] = {}
    for part in ",".join(texts).split(","):
        name, equals, value = (word.strip() for word in part.partition("="))
        if part.strip() and not (name and equals):
            raise InvalidInput("label", f"{part!r} is not allowed; it must be NAME=VALUE")
        if name:
            labels[name] = value
    return labels


async def _run(settings: WorkerSettings, metrics_host: str, *, announce: bool, exit_with_stdin: bool) -> int:
    runtime = WorkerRuntime(settings, on_welcome=_announce if announce else lambda _: None)
    if settings.metrics_port is not None:
        try:
            server, _ = start_http_server(
                settings.metrics_port, addr=metrics_host, registry=runtime.metrics.registry
            )
        except OSError as error:
            sys.stderr.write(
                f"error: metrics_port: {settings.metrics_port} can't be bound: {error.strerror}\n"
            )
            return 2
        runtime.metrics_address = f"{metrics_host}:{server.server_port}"
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, runtime.leave, signal.Signals(number).name)
    if exit_with_stdin:
        parent_gone = asyncio.Event()
        stop_at_end_of_stdin(parent_gone)
        watcher = asyncio.create_task(_leave_when(parent_gone, runtime))
        watcher.add_done_callback(lambda _: None)
    code = await runtime.run()
    if code:
        sys.stderr.write(f"error: {runtime.ended_because}\n")
    return code


async def _leave_when(gone: asyncio.Event, runtime: WorkerRuntime) -> None:
    await gone.wait()
    runtime.leave("the parent process is gone")


def _announce(worker: str) -> None:
    line = json.dumps({"worker": worker}) + "\n"
    # that nobody reads is no reason to leave the cluster; what sys.stdout could not write it would try again at exit
    with suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), line.encode())


def main() -> None:
    """Run the command."""
    app()


if __name__ == "__main__":
    main()

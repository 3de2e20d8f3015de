"""The worker's process: arguments, environment, log, exit code."""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Annotated

import typer
from prometheus_client import start_http_server
from threadpoolctl import threadpool_limits

from gradloom import logs, service_options
from gradloom.data.allowed import given_roots
from gradloom.errors import InvalidInput
from gradloom.health import HealthServer
from gradloom.logs import LogFormat
from gradloom.machine import cpu_cores, memory_bytes
from gradloom.memory import tune_malloc
from gradloom.process import refusing, stop_at_end_of_stdin
from gradloom.settings import DEFAULT_PORT, DRAIN_TIMEOUT_S, WorkerSettings, token_from_environment
from gradloom.tls import join_host_port, tls_files
from gradloom_worker import options
from gradloom_worker.runtime import WorkerRuntime

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]}
)
log = logging.getLogger("gradloom_worker")

CACHE_FRACTION = 0.5
"""Of the memory that falls to this worker when every core has one."""


@app.command()
def worker(
    coordinator: options.Coordinator = f"127.0.0.1:{DEFAULT_PORT}",
    name: Annotated[str, typer.Option(envvar="GRADLOOM_WORKER_NAME", help="Wished name.")] = "worker",
    node: options.Node = "",
    label: options.Labels = None,
    metrics_host: options.MetricsHost = "127.0.0.1",
    metrics_port: options.MetricsPort = 9465,
    cache_bytes: options.CacheBytes = 0,
    drain_timeout_s: options.DrainTimeout = DRAIN_TIMEOUT_S,
    allow_chaos: options.AllowChaos = False,
    tls_ca: service_options.TlsCa = None,
    tls_cert: service_options.TlsCert = None,
    tls_key: service_options.TlsKey = None,
    insecure: service_options.Insecure = False,
    token_file: service_options.TokenFile = None,
    announce: Annotated[bool, typer.Option(help="Print one JSON line once welcomed.")] = False,
    exit_with_stdin: Annotated[bool, typer.Option(help="Leave when standard input ends.")] = False,
    health_host: service_options.HealthHost = "127.0.0.1",
    health_port: service_options.HealthPort = -1,
    log_level: service_options.LogLevel = "INFO",
    log_format: service_options.LogLines = LogFormat.TEXT,
    data_allow: service_options.DataAllow = "",
) -> None:
    """Join a gradloom cluster and compute on its shards."""
    tune_malloc()
    with refusing():
        logs.configure(log_level, log_format)
        settings = WorkerSettings(
            coordinator=coordinator,
            name=name,
            node=node,
            labels=_labels(label or ()),
            metrics_port=None if metrics_port < 0 else metrics_port,
            cache_bytes=cache_bytes or int(CACHE_FRACTION * memory_bytes() / max(1.0, cpu_cores())),
            drain_timeout_s=drain_timeout_s,
            allow_chaos=allow_chaos,
            data_allow=given_roots(data_allow),
            tls=tls_files(tls_ca, tls_cert, tls_key),
            insecure=insecure,
            token=token_from_environment(),
            token_file=token_file,
            health_host=health_host,
            health_port=None if health_port < 0 else health_port,
        )
        # more BLAS threads would part the sums differently: the same bits need one thread wherever a shard is computed
        with threadpool_limits(limits=1):
            code = asyncio.run(
                _run(settings, metrics_host, announce=announce, exit_with_stdin=exit_with_stdin)
            )
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
    try:
        runtime = WorkerRuntime(settings, on_welcome=_announce if announce else lambda _: None)
    except InvalidInput as error:
        logs.refuse(str(error))
        return 2
    if settings.metrics_port is not None:
        try:
            server, _ = start_http_server(
                settings.metrics_port, addr=metrics_host, registry=runtime.metrics.registry
            )
        except OSError as error:
            logs.refuse(f"metrics_port: {settings.metrics_port} can't be bound: {error.strerror}")
            return 2
        runtime.metrics_address = join_host_port(metrics_host, server.server_port)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, runtime.leave, signal.Signals(number).name)
    if exit_with_stdin:
        parent_gone = asyncio.Event()
        stop_at_end_of_stdin(parent_gone)
        watcher = asyncio.create_task(_leave_when(parent_gone, runtime))
        watcher.add_done_callback(lambda _: None)
    try:
        async with _probed(settings, runtime):
            code = await runtime.run()
    except InvalidInput as error:
        logs.refuse(str(error))
        return 2
    if code:
        logs.refuse(runtime.ended_because)
    return code


@asynccontextmanager
async def _probed(settings: WorkerSettings, runtime: WorkerRuntime) -> AsyncIterator[None]:
    """Answer probes meanwhile: alive, and ready while the coordinator has it."""
    if settings.health_port is None:
        yield
        return
    server = HealthServer(settings.health_host, settings.health_port, lambda: runtime.welcome)
    log.info("health at %s", await server.start())
    try:
        yield
    finally:
        await server.stop()


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

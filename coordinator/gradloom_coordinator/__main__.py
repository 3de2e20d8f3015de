"""The coordinator's process: arguments, environment, log, exit code."""

import asyncio
import json
import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from threadpoolctl import threadpool_limits

from gradloom import logs, service_options
from gradloom.data.allowed import given_roots
from gradloom.logs import LogFormat
from gradloom.memory import tune_collector, tune_malloc
from gradloom.process import refusing, stop_at_end_of_stdin
from gradloom.settings import DEFAULT_PORT, CoordinatorSettings, keys_from_environment, with_store_password
from gradloom.tls import tls_files
from gradloom_coordinator import options
from gradloom_coordinator.listening import Addresses
from gradloom_coordinator.server import serve

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]}
)


@app.command()
@refusing()
def coordinator(
    host: Annotated[str, typer.Option(envvar="GRADLOOM_HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="GRADLOOM_PORT", help="0 = any free port.")] = DEFAULT_PORT,
    metrics_port: options.MetricsPort = 9464,
    metrics_host: options.MetricsHost = "",
    data_dir: options.DataDir = Path("gradloom-data"),
    store_url: options.StoreUrl = "",
    checkpoint_uri: options.CheckpointUri = "",
    checkpoint_every: options.CheckpointEvery = 10.0,
    checkpoint_every_rounds: options.CheckpointEveryRounds = 0,
    durable: options.IsDurable = True,
    upload_uri: options.UploadUri = "",
    upload_limit: options.UploadLimit = 16.0,
    partials_limit: options.PartialsLimit = 2.0,
    data_allow: service_options.DataAllow = "",
    lease: options.Lease = False,
    lease_ttl: options.LeaseTtl = 6.0,
    advertise: options.Advertise = "",
    announce: Annotated[bool, typer.Option(help="Print one JSON line once serving.")] = False,
    exit_with_stdin: Annotated[bool, typer.Option(help="Stop when standard input ends.")] = False,
    tls_ca: service_options.TlsCa = None,
    tls_cert: service_options.TlsCert = None,
    tls_key: service_options.TlsKey = None,
    insecure: service_options.Insecure = False,
    tokens_file: options.TokensFile = None,
    calls_per_second: options.CallsPerSecond = 2000.0,
    health_host: service_options.HealthHost = "127.0.0.1",
    health_port: service_options.HealthPort = -1,
    log_level: service_options.LogLevel = "INFO",
    log_format: service_options.LogLines = LogFormat.TEXT,
) -> None:
    """Serve a gradloom cluster: take in jobs and workers, decide who computes what."""
    logs.configure(log_level, log_format)
    settings = CoordinatorSettings(
        host=host,
        port=port,
        metrics_port=None if metrics_port < 0 else metrics_port,
        metrics_host=metrics_host,
        data_dir=data_dir.absolute(),
        store_url=with_store_password(store_url),
        checkpoint_uri=checkpoint_uri,
        checkpoint_every_s=checkpoint_every,
        checkpoint_every_rounds=checkpoint_every_rounds,
        durable=durable,
        upload_uri=upload_uri,
        upload_limit_bytes=int(upload_limit * 1024**3),
        partials_limit_bytes=int(partials_limit * 1024**3),
        data_allow=given_roots(data_allow),
        keys=keys_from_environment(),
        lease=lease,
        lease_ttl_s=lease_ttl,
        advertise=advertise,
        tls=tls_files(tls_ca, tls_cert, tls_key),
        insecure=insecure,
        tokens_file=tokens_file,
        calls_per_s=calls_per_second,
        health_host=health_host,
        health_port=None if health_port < 0 else health_port,
    )
    _run(settings, announce=announce, exit_with_stdin=exit_with_stdin)


def _run(settings: CoordinatorSettings, *, announce: bool, exit_with_stdin: bool) -> None:
    tune_malloc()
    tune_collector()
    with threadpool_limits(limits=1):  # more threads would give an update other bits
        asyncio.run(_serve(settings, announce=announce, exit_with_stdin=exit_with_stdin))


async def _serve(settings: CoordinatorSettings, *, announce: bool, exit_with_stdin: bool) -> None:
    stop = asyncio.Event()
    ready: asyncio.Future[Addresses] = asyncio.get_running_loop().create_future()
    if announce:
        ready.add_done_callback(_announce)
    if exit_with_stdin:
        stop_at_end_of_stdin(stop)
    status = await serve(settings, stop, ready)
    # a thread that looks at files on a dead mount would be waited for without end
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _announce(ready: "asyncio.Future[Addresses]") -> None:
    addresses = ready.result()
    line = asdict(addresses)
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the command."""
    app()


if __name__ == "__main__":
    main()

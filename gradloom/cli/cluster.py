"""The commands that run a cluster on this machine, and that look at one. Each one translates and hands over.

Only typer is imported at the top: a command imports what it needs when it runs.
"""

from pathlib import Path
from typing import Annotated

import typer

from gradloom.cli.options import DEFAULT_CLUSTER, AsJson, Certs, Cluster, Insecure, WorkerName
from gradloom.service_options import DataAllow
from gradloom.settings import DEFAULT_PORT


def add_to(app: typer.Typer) -> None:
    """Make the commands known."""
    for command in (up, workers, top, chaos):
        app.command()(command)
    # programs of their own: what they are given is theirs, --help included
    theirs = {"allow_extra_args": True, "ignore_unknown_options": True}
    for program in (dashboard, simulate, health):
        app.command(add_help_option=False, context_settings=theirs)(program)


def up(
    workers: Annotated[
        int | None, typer.Option(help="Worker processes; as many as cores, at most 4.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port for clients and workers; 0 = any free one.")] = DEFAULT_PORT,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    data_dir: Annotated[
        Path | None, typer.Option(help="Keeps jobs and logs; a temporary folder if not given.")
    ] = None,
    metrics_port: Annotated[int, typer.Option(help="Port of the Prometheus metrics; 0 = any free one.")] = 0,
    allow_chaos: Annotated[
        bool, typer.Option("--allow-chaos", envvar="GRADLOOM_ALLOW_CHAOS", help="See: gradloom chaos.")
    ] = False,
    certs: Certs = None,
    insecure: Insecure = False,
    data_allow: DataAllow = "",
    as_json: AsJson = False,
) -> None:
    """Run a cluster on this machine until Ctrl-C."""
    from gradloom.cli import serving
    from gradloom.cli.training import default_workers
    from gradloom.data.allowed import given_roots
    from gradloom.local import LocalCluster
    from gradloom.tls import ClusterTls

    count = default_workers() if workers is None else workers
    cluster = LocalCluster(
        count,
        port=port,
        host=host,
        data_dir=data_dir,
        metrics_port=metrics_port,
        allow_chaos=allow_chaos,
        tls=None if certs is None else ClusterTls.of(certs),
        insecure=insecure,
        data_allow=given_roots(data_allow),
    )
    serving.up(cluster, as_json=as_json)


def workers(cluster: Cluster = DEFAULT_CLUSTER, as_json: AsJson = False) -> None:
    """List the workers of a cluster."""
    from dataclasses import asdict

    from gradloom.cli import views
    from gradloom.cli.connecting import connect
    from gradloom.cli.output import results, write_json

    with connect(cluster) as client:
        found = client.workers()
    if as_json:
        write_json([asdict(view) for view in found])
    else:
        results().print(views.workers_table(found))


def top(cluster: Cluster = DEFAULT_CLUSTER) -> None:
    """Show the workers and the jobs of a cluster as they change, until Ctrl-C."""
    import sys

    from gradloom.cli import live
    from gradloom.cli.connecting import connect
    from gradloom.cli.output import results
    from gradloom.cli.top import pictures

    with connect(cluster) as client:
        live.show_top(pictures(client.watch_cluster()), results(), once=not sys.stdout.isatty())


def chaos(
    worker: WorkerName,
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="slow, kill, pause, partition, corrupt or nan.")
    ],
    for_: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="TIME", help="How long it is slow, paused or cut off; 10s if not given."
        ),
    ] = None,
    factor: Annotated[float | None, typer.Option(help="How many times slower; 5 if not given.")] = None,
    count: Annotated[int | None, typer.Option(help="How many results are damaged; 1 if not given.")] = None,
    observe: Annotated[
        str, typer.Option(metavar="TIME", help="How long to look at rounds before and after the fault.")
    ] = "10s",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to keep the report.")] = None,
    cluster: Cluster = DEFAULT_CLUSTER,
    as_json: AsJson = False,
) -> None:
    """Have a worker suffer a fault and report what the running jobs made of it.

    The worker must have been started with --allow-chaos.
    """
    from gradloom.cli import chaos as command
    from gradloom.cli.connecting import connect
    from gradloom.cli.training import check_writable

    fault = command.fault_of(kind, for_, factor, count)
    observe_s = command.seconds_of("observe", observe)
    if out is not None:
        check_writable(out)
    with connect(cluster) as client:
        command.chaos(client, worker, fault, observe_s, out, as_json)


def dashboard(context: typer.Context) -> None:
    """Serve the control room, a web page that shows and steers a cluster, until Ctrl-C; --help lists its options."""
    from gradloom.cli import control_room

    raise typer.Exit(control_room.serve(context.args))


def simulate(context: typer.Context) -> None:
    """Compare scheduling policies on speed traces, without a cluster; --help lists its options."""
    from gradloom.cli import simulating

    raise typer.Exit(simulating.simulate(context.args))


def health(context: typer.Context) -> None:
    """Ask a coordinator, a worker or a control room whether it is well; --help lists its options."""
    from gradloom.cli import health as command

    raise typer.Exit(command.health(context.args))

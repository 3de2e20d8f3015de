"""The commands and their options. Each one translates its words and hands over; nothing is decided here.

Only typer is imported at the top: a command imports what it needs when it runs.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradloom.cli import access, certs, connecting, control, doctor, keygen, reporting
from gradloom.cli.options import (
    DEFAULT_CLUSTER,
    AlgorithmSettings,
    AsJson,
    Certs,
    Cluster,
    ClusterIfAny,
    Codec,
    Data,
    DataAllow,
    Downlink,
    Format,
    Insecure,
    JobId,
    ModelFile,
    Placement,
    Reason,
    RequiredLabels,
    ShareWeight,
    Speculation,
    Synchrony,
    WorkerName,
)
from gradloom.cli.panels import InPanels
from gradloom.settings import DEFAULT_PORT

if TYPE_CHECKING:
    from gradloom.jobs import AlgorithmDescription

EPILOG = (
    "Exit status: 0 done; 1 the job failed, or the cluster refused; 2 bad input; 3 the cluster can't be reached; "
    "4 not found; 5 the job was cancelled; 130 interrupted. GRADLOOM_DEBUG=1 shows tracebacks."
)

app = typer.Typer(
    cls=InPanels,
    help="Train models on data that is spread over many machines.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def gradloom(
    version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False,
) -> None:
    """Train models on data that is spread over many machines."""
    if version:
        import gradloom as package
        from gradloom.cli.output import write_line

        write_line(f"gradloom {package.__version__}")
        raise typer.Exit


@app.command()
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


@app.command()
def train(
    algorithm: Annotated[str, typer.Argument(metavar="ALGORITHM", help="See: gradloom algorithms.")],
    data: Data,
    target: Annotated[
        str, typer.Option(metavar="COLUMN", help="What to learn; npz and svmlight carry it.")
    ] = "",
    workers: Annotated[
        int | None, typer.Option(help="Workers of a cluster of its own; as many as cores, at most 4.")
    ] = None,
    features: Annotated[
        str, typer.Option(metavar="A,B,C", help="Columns to learn from; all others if empty.")
    ] = "",
    weight: Annotated[str, typer.Option(metavar="COLUMN", help="Weight of each row; 1 if not given.")] = "",
    data_format: Format = None,
    shards: Annotated[int, typer.Option(help="Number of shards; 0 = by the size of the data.")] = 0,
    test_fraction: Annotated[float, typer.Option(help="Share of the rows held out for the scores.")] = 0.0,
    seed: Annotated[
        int, typer.Option(help="Decides which rows are held out, and the order of rows in batches.")
    ] = 0,
    placement: Placement = "",
    synchrony: Synchrony = "",
    codec: Codec = "",
    downlink: Downlink = "",
    speculation: Speculation = True,
    share_weight: ShareWeight = 1.0,
    required_labels: RequiredLabels = None,
    settings: AlgorithmSettings = None,
    cluster: ClusterIfAny = None,
    watch: Annotated[
        bool, typer.Option("--watch/--detach", help="Follow the job to its end, or leave it to the cluster.")
    ] = True,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to keep the model.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train a model: on a cluster of its own, or with --cluster on a running one."""
    from gradloom.cli import training

    spec = training.spec_of(
        algorithm,
        data,
        target=target,
        features=features,
        weight=weight,
        data_format=data_format or "",
        shards=shards,
        test_fraction=test_fraction,
        seed=seed,
        placement=placement,
        synchrony=synchrony,
        codec=codec,
        downlink=downlink,
        speculation=speculation,
        share_weight=share_weight,
        required_labels=required_labels or [],
        settings=settings or [],
    )
    where = training.Where(cluster or None, workers, detach=not watch)
    training.train(spec, where, out, as_json=as_json)


@app.command()
def jobs(cluster: Cluster = DEFAULT_CLUSTER, as_json: AsJson = False) -> None:
    """List the jobs of a cluster, the newest first."""
    from gradloom.cli import views
    from gradloom.cli.connecting import connect
    from gradloom.cli.output import results, write_json

    with connect(cluster) as client:
        found = client.jobs()
    if as_json:
        write_json([views.job_values(view) for view in found])
    else:
        results().print(views.jobs_table(found))


@app.command()
def show(job: JobId, cluster: Cluster = DEFAULT_CLUSTER, as_json: AsJson = False) -> None:
    """Show one job."""
    from gradloom.cli import views
    from gradloom.cli.connecting import connect
    from gradloom.cli.output import results, write_json

    with connect(cluster) as client:
        view = client.job(job).view()
    if as_json:
        write_json(views.job_values(view))
    else:
        results().print(views.job_details(view))


@app.command()
def watch(job: JobId, cluster: Cluster = DEFAULT_CLUSTER, as_json: AsJson = False) -> None:
    """Follow a job to its end; its exit status is the job's."""
    from gradloom.cli import training
    from gradloom.cli.connecting import connect

    with connect(cluster) as client:
        training.watch(client, client.job(job), as_json=as_json)


@app.command()
def top(cluster: Cluster = DEFAULT_CLUSTER) -> None:
    """Show the workers and the jobs of a cluster as they change, until Ctrl-C."""
    import sys

    from gradloom.cli import live
    from gradloom.cli.connecting import connect
    from gradloom.cli.output import results
    from gradloom.cli.top import pictures

    with connect(cluster) as client:
        live.show_top(pictures(client.watch_cluster()), results(), once=not sys.stdout.isatty())


@app.command(
    add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def dashboard(context: typer.Context) -> None:
    """Serve the control room, a web page that shows and steers a cluster, until Ctrl-C; --help lists its options."""
    from gradloom.cli import control_room

    raise typer.Exit(control_room.serve(context.args))


@app.command()
def cancel(
    job: JobId,
    reason: Reason = "",
    cluster: Cluster = DEFAULT_CLUSTER,
    as_json: AsJson = False,
) -> None:
    """End a job that has not ended."""
    from gradloom.cli import views
    from gradloom.cli.connecting import connect
    from gradloom.cli.output import write_json, write_line

    with connect(cluster) as client:
        view = client.job(job).cancel(reason)
    if as_json:
        write_json(views.job_values(view))
    else:
        write_line(f"job {view.job_id} is {view.state}")


@app.command()
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


@app.command()
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


@app.command()
def model(
    job: JobId,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to keep the model.")],
    cluster: Cluster = DEFAULT_CLUSTER,
    as_json: AsJson = False,
) -> None:
    """Fetch the model of a completed job."""
    from gradloom.cli.connecting import connect
    from gradloom.cli.output import write_json, write_line
    from gradloom.cli.training import check_writable

    check_writable(out)
    with connect(cluster) as client:
        trained = client.job(job).model()
    trained.save(out)
    if as_json:
        write_json({"job_id": job, "model": str(out), "parameters_sha256": trained.parameters_sha256})
    else:
        write_line(f"model   {out}\nsha256  {trained.parameters_sha256}")


@app.command()
def predict(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A model file; with --cluster a job's id too.")
    ],
    data: Data,
    out: Annotated[Path, typer.Option(metavar="FILE", help="A .csv or .parquet file, a line for each row.")],
    data_format: Format = None,
    cluster: ClusterIfAny = None,
    as_json: AsJson = False,
) -> None:
    """Predict with a model file, without a cluster; or with a job's model, or a job that serves queries."""
    from gradloom.cli import offline
    from gradloom.cli.online import predictor
    from gradloom.cli.output import write_json, write_line

    offline.check_output(out)
    with predictor(model, cluster) as found:
        rows = offline.predict(found, data, data_format, out)
    if as_json:
        write_json({"rows": rows, "out": str(out)})
    else:
        write_line(f"{rows:,} predictions  {out}")


@app.command()
def evaluate(
    model: ModelFile,
    data: Data,
    target: Annotated[
        str, typer.Option(metavar="COLUMN", help="The truth; the model's own target if empty.")
    ] = "",
    data_format: Format = None,
    as_json: AsJson = False,
) -> None:
    """Score a model file on data whose truth is known, without a cluster."""
    from gradloom.cli import offline
    from gradloom.cli.output import write_json, write_line
    from gradloom.models import load_model

    rows, scores = offline.evaluate(load_model(model), data, data_format, target)
    if as_json:
        write_json({"rows": rows, "scores": scores})
        return
    write_line(f"rows       {rows:,}")
    for name, score in scores.items():
        write_line(f"{name:<10} {score:.6g}")


@app.command(
    add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def simulate(context: typer.Context) -> None:
    """Compare scheduling policies on speed traces, without a cluster; --help lists its options."""
    from gradloom.cli import simulating

    raise typer.Exit(simulating.simulate(context.args))


@app.command(
    add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def health(context: typer.Context) -> None:
    """Ask a coordinator, a worker or a control room whether it is well; --help lists its options."""
    from gradloom.cli import health as command

    raise typer.Exit(command.health(context.args))


@app.command()
def algorithms(
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", envvar="GRADLOOM_CLUSTER", help="Ask a running cluster what it knows."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the algorithms and their settings."""
    from gradloom.cli import views
    from gradloom.cli.output import results, write_json

    found = _algorithms(cluster)
    if as_json:
        write_json([views.algorithm_values(one) for one in found])
        return
    for one in found:
        results().print(views.algorithm_details(one))


def _algorithms(cluster: str | None) -> "list[AlgorithmDescription]":
    if cluster:
        from gradloom.cli.connecting import connect

        with connect(cluster) as client:
            return client.algorithms()
    from gradloom.algorithms import describe, names

    return [describe(name) for name in names()]


control.add_to(app)
reporting.add_to(app)
access.add_to(app)
certs.add_to(app)
keygen.add_to(app)
doctor.add_to(app)
connecting.add_to(app)  # the last: it looks at what the others have added

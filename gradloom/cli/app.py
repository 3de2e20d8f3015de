"""The commands about jobs, and all others gathered. Each translates its words and hands over; nothing is decided here.

Only typer is imported at the top: a command imports what it needs when it runs.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradloom.cli import access, certs, cluster, connecting, control, doctor, keygen, models, reporting
from gradloom.cli.options import (
    DEFAULT_CLUSTER,
    AlgorithmSettings,
    AsJson,
    Cluster,
    ClusterIfAny,
    Codec,
    Data,
    Downlink,
    Format,
    JobId,
    Placement,
    Reason,
    RequiredLabels,
    ShareWeight,
    Speculation,
    Synchrony,
)
from gradloom.cli.panels import InPanels

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


cluster.add_to(app)
models.add_to(app)
control.add_to(app)
reporting.add_to(app)
access.add_to(app)
certs.add_to(app)
keygen.add_to(app)
doctor.add_to(app)
connecting.add_to(app)  # the last: it looks at what the others have added

"""The commands about trained models: fetch one, predict with it, score it. Each one translates and hands over.

Only typer is imported at the top: a command imports what it needs when it runs.
"""

from pathlib import Path
from typing import Annotated

import typer

from gradloom.cli.options import (
    DEFAULT_CLUSTER,
    AsJson,
    Cluster,
    ClusterIfAny,
    Data,
    Format,
    JobId,
    ModelFile,
)


def add_to(app: typer.Typer) -> None:
    """Make the commands known."""
    for command in (model, predict, evaluate):
        app.command()(command)


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

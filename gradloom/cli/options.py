"""Options that several commands share, or that say much: their names, metavars and help."""

from pathlib import Path
from typing import Annotated

import typer

from gradloom.settings import DEFAULT_PORT

DEFAULT_CLUSTER = f"localhost:{DEFAULT_PORT}"

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON on stdout, and nothing else.")]
Cluster = Annotated[
    str,
    typer.Option("--cluster", metavar="HOST:PORT", envvar="GRADLOOM_CLUSTER", help="The running cluster."),
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]
WorkerName = Annotated[str, typer.Argument(metavar="WORKER", help="See: gradloom workers.")]
Reason = Annotated[str, typer.Option(help="Why, for those who read it later.")]
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="A model file.")]
Data = Annotated[
    list[str],
    typer.Option(metavar="URI", help="File, glob or folder, local or s3://, gs://, ...; may be repeated."),
]
Format = Annotated[
    str | None,
    typer.Option("--format", help="parquet, csv, npy, npz or svmlight; by the file name if not given."),
]
Placement = Annotated[
    str, typer.Option(help="balanced, local, round_robin or random; the cluster's default if empty.")
]
Synchrony = Annotated[
    str, typer.Option(help="When a round is over: synchronous, backup:B, bounded:S, asynchronous, local:H.")
]
Codec = Annotated[
    str,
    typer.Option(
        help="How gradients travel: none, float16, bfloat16, int8, topk:RATIO, dgc:RATIO, powersgd:RANK, signsgd "
        "or auto."
    ),
]
Downlink = Annotated[
    str,
    typer.Option(help="How changes of the parameters travel to workers: as --codec, but for dgc and auto."),
]
Speculation = Annotated[
    bool, typer.Option("--speculation/--no-speculation", help="Copy tasks that take too long.")
]
ShareWeight = Annotated[float, typer.Option(help="The job's share of the workers beside other jobs.")]
RequiredLabels = Annotated[
    list[str] | None,
    typer.Option("--require-label", metavar="NAME=VALUE", help="Only on such workers; may be repeated."),
]
AlgorithmSettings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting of the algorithm; may be repeated."),
]
ClusterIfAny = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="HOST:PORT",
        envvar="GRADLOOM_CLUSTER",
        help="A running cluster, not one of its own.",
    ),
]
Certs = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        envvar="GRADLOOM_CERTS",
        help="Mutual TLS with the certificates in a folder of: gradloom certs init.",
    ),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure",
        envvar="GRADLOOM_INSECURE",
        help="Let plain text leave this machine: anybody there may do everything.",
    ),
]

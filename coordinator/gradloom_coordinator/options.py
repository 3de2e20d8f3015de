"""The longer options of the coordinator's command: what each is called in the environment, and what it says."""

from pathlib import Path
from typing import Annotated

import typer

MetricsPort = Annotated[
    int, typer.Option(envvar="GRADLOOM_METRICS_PORT", help="Port of /metrics; 0 = any, -1 = none.")
]
DataDir = Annotated[
    Path, typer.Option(envvar="GRADLOOM_DATA_DIR", help="Where jobs, checkpoints and models are kept.")
]
StoreUrl = Annotated[
    str,
    typer.Option(
        envvar="GRADLOOM_STORE_URL",
        help="Where jobs are kept: sqlite:///FILE or postgresql://USER@HOST/DB; a file in --data-dir if empty.",
    ),
]
CheckpointUri = Annotated[
    str,
    typer.Option(
        envvar="GRADLOOM_CHECKPOINT_URI",
        help="Folder of the checkpoints, e.g. s3://bucket/checkpoints; one in --data-dir if empty.",
    ),
]
CheckpointEvery = Annotated[
    float, typer.Option(envvar="GRADLOOM_CHECKPOINT_EVERY", help="Seconds between checkpoints.", min=0.0)
]
CheckpointEveryRounds = Annotated[
    int,
    typer.Option(
        envvar="GRADLOOM_CHECKPOINT_EVERY_ROUNDS", help="Rounds between checkpoints; 0 = by time.", min=0
    ),
]
IsDurable = Annotated[
    bool,
    typer.Option(
        envvar="GRADLOOM_DURABLE", help="Without: no database, no checkpoints; jobs end with the coordinator."
    ),
]
UploadUri = Annotated[
    str,
    typer.Option(
        envvar="GRADLOOM_UPLOAD_URI",
        help="Folder of data that clients send from memory; all workers must read it; in --data-dir if empty.",
    ),
]
UploadLimit = Annotated[
    float, typer.Option(envvar="GRADLOOM_UPLOAD_LIMIT", help="GiB of all uploads together.", min=0.0)
]

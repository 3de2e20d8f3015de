"""The longer options of the coordinator's command: what each is called in the environment, and what it says."""

from pathlib import Path
from typing import Annotated

import typer

from gradloom_coordinator.leadership.lease import LONGEST_S, SHORTEST_S

MetricsPort = Annotated[
    int, typer.Option(envvar="GRADLOOM_METRICS_PORT", help="Port of /metrics; 0 = any, -1 = none.")
]
MetricsHost = Annotated[
    str,
    typer.Option(envvar="GRADLOOM_METRICS_HOST", help="Where /metrics is served; at --host if empty."),
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
PartialsLimit = Annotated[
    float,
    typer.Option(
        envvar="GRADLOOM_PARTIALS_LIMIT",
        help="GiB of memory for big partials that are not summed yet; others wait at their workers.",
        min=0.0,
    ),
]
UploadLimit = Annotated[
    float, typer.Option(envvar="GRADLOOM_UPLOAD_LIMIT", help="GiB of all uploads together.", min=0.0)
]
Lease = Annotated[
    bool,
    typer.Option(
        envvar="GRADLOOM_LEASE",
        help="Share the PostgreSQL database of --store-url with other coordinators: one leads, the others stand by.",
    ),
]
LeaseTtl = Annotated[
    float,
    typer.Option(
        "--lease-ttl",
        envvar="GRADLOOM_LEASE_TTL",
        help="Seconds that a leader which fell silent is waited for before another one leads.",
        min=SHORTEST_S,
        max=LONGEST_S,
    ),
]
Advertise = Annotated[
    str,
    typer.Option(
        envvar="GRADLOOM_ADVERTISE",
        metavar="HOST:PORT",
        help="What a standby calls this coordinator while it leads; by its host and port if empty.",
    ),
]
TokensFile = Annotated[
    Path | None,
    typer.Option(
        envvar="GRADLOOM_TOKENS_FILE",
        metavar="FILE",
        help="Tokens of those who may call, as `gradloom token create` writes them; looked at every second.",
    ),
]
CallsPerSecond = Annotated[
    float,
    typer.Option(
        envvar="GRADLOOM_CALLS_PER_SECOND", help="Of one caller, on average; 0 = no limit.", min=0.0
    ),
]

"""The longer options of the worker's command: what each is called in the environment, and what it says."""

from typing import Annotated

import typer

Coordinator = Annotated[
    str,
    typer.Option(
        envvar="GRADLOOM_CLUSTER",
        help="host:port of the coordinator; several with commas between, of which one leads.",
    ),
]
Node = Annotated[
    str, typer.Option(envvar="GRADLOOM_NODE", help="Name of the machine; empty = the host's own.")
]
Labels = Annotated[
    list[str] | None,
    typer.Option(envvar="GRADLOOM_LABELS", help="NAME=VALUE that jobs may ask for; repeat, or use commas."),
]
MetricsHost = Annotated[
    str, typer.Option(envvar="GRADLOOM_METRICS_HOST", help="Address that /metrics is served at.")
]
MetricsPort = Annotated[
    int, typer.Option(envvar="GRADLOOM_METRICS_PORT", help="Port of /metrics; 0 = any, -1 = none.")
]
CacheBytes = Annotated[
    int, typer.Option(envvar="GRADLOOM_CACHE_BYTES", help="Memory for shards; 0 = by this machine.")
]
DrainTimeout = Annotated[
    float, typer.Option(envvar="GRADLOOM_DRAIN_TIMEOUT_S", min=0, help="Longest stay after SIGTERM.")
]
AllowChaos = Annotated[
    bool, typer.Option("--allow-chaos", envvar="GRADLOOM_ALLOW_CHAOS", help="Let operators inject faults.")
]

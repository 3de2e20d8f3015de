"""Options of every service's command, and of access to a cluster: their names in the environment, and their help."""

from pathlib import Path
from typing import Annotated

import typer

from gradloom.logs import LogFormat

ACCESS = "Access to the cluster"
"""The heading under which a command that has others lists the options of access."""
LogLevel = Annotated[
    str, typer.Option(envvar="GRADLOOM_LOG_LEVEL", help="DEBUG, INFO, WARNING, ERROR or CRITICAL.")
]
LogLines = Annotated[
    LogFormat,
    typer.Option("--log-format", envvar="GRADLOOM_LOG_FORMAT", help="Lines of text, or of JSON."),
]
DataAllow = Annotated[
    str,
    typer.Option(
        metavar="ROOTS",
        envvar="GRADLOOM_DATA_ALLOW",
        help="Data that jobs may read: /FOLDER or s3://BUCKET/PREFIX, with commas between; none = only what clients "
        "sent, which is the default beyond loopback; on loopback it is everything.",
    ),
]
TlsCa = Annotated[
    Path | None,
    typer.Option(
        envvar="GRADLOOM_TLS_CA",
        metavar="FILE",
        help="Mutual TLS: certificates of the trusted authorities, PEM.",
        rich_help_panel=ACCESS,
    ),
]
TlsCert = Annotated[
    Path | None,
    typer.Option(
        envvar="GRADLOOM_TLS_CERT",
        metavar="FILE",
        help="Mutual TLS: one's own certificate, PEM.",
        rich_help_panel=ACCESS,
    ),
]
TlsKey = Annotated[
    Path | None,
    typer.Option(
        envvar="GRADLOOM_TLS_KEY",
        metavar="FILE",
        help="Mutual TLS: its private key, PEM.",
        rich_help_panel=ACCESS,
    ),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure",
        envvar="GRADLOOM_INSECURE",
        help="Let plain text leave this machine: no secrets, no proof.",
        rich_help_panel=ACCESS,
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        envvar="GRADLOOM_TOKEN_FILE",
        metavar="FILE",
        help="Holds the token to show to the coordinator; or GRADLOOM_TOKEN is it.",
        rich_help_panel=ACCESS,
    ),
]
HealthHost = Annotated[
    str, typer.Option(envvar="GRADLOOM_HEALTH_HOST", help="Address that the health port listens on.")
]
HealthPort = Annotated[
    int,
    typer.Option(
        envvar="GRADLOOM_HEALTH_PORT",
        help="Port of grpc.health.v1 for probes, always plaintext; 0 = any, -1 = none.",
        min=-1,
        max=65535,
    ),
]

"""The options of the control room's command: what each is called in the environment, and what it says."""

from typing import Annotated

import typer

Cluster = Annotated[
    str, typer.Option(metavar="HOST:PORT", envvar="GRADLOOM_CLUSTER", help="The coordinator.")
]
Host = Annotated[str, typer.Option(envvar="GRADLOOM_DASHBOARD_HOST", help="Address to listen at.")]
Port = Annotated[int, typer.Option(envvar="GRADLOOM_DASHBOARD_PORT", help="0 = any free port.")]
MayDo = Annotated[
    str,
    typer.Option(
        envvar="GRADLOOM_DASHBOARD_ROLE",
        metavar="viewer|operator",
        help="What anybody may do here at most: viewer only looks. The coordinator has the last word.",
    ),
]
Viewer = Annotated[bool, typer.Option("--viewer", help="The same as --role viewer.")]
RequireLogin = Annotated[
    bool,
    typer.Option(
        "--require-login",
        envvar="GRADLOOM_DASHBOARD_REQUIRE_LOGIN",
        help="Have people log in with their own tokens, also where this process has one.",
    ),
]
AllowedHost = Annotated[
    str,
    typer.Option(
        metavar="NAME[,NAME]",
        envvar="GRADLOOM_DASHBOARD_ALLOWED_HOSTS",
        help="Names under which browsers may ask, beside those of this machine.",
    ),
]
User = Annotated[
    str | None,
    typer.Option(help="Who is said to have changed what where nobody logs in; yourself if not given."),
]

"""The commands about who may do what: tokens, who one is, who did what. Each one translates and hands over.

Only typer is imported at the top: a command imports what it needs when it runs.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradloom.cli.moments import iso_time
from gradloom.cli.options import DEFAULT_CLUSTER, AsJson, Cluster

if TYPE_CHECKING:
    from gradloom.tokens import Token

TokensFile = Annotated[
    Path,
    typer.Option(
        "--file", metavar="FILE", envvar="GRADLOOM_TOKENS_FILE", help="The coordinator's file of tokens."
    ),
]

tokens_app = typer.Typer(
    help="Make, list and revoke the tokens of a cluster, in the file that its coordinator watches.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def add_to(app: typer.Typer) -> None:
    """Make the commands known."""
    app.add_typer(tokens_app, name="token")
    app.command()(whoami)
    app.command()(audit)


@tokens_app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of a person, a program or a kind of worker.")],
    role: Annotated[str, typer.Option(help="viewer, operator, admin or worker.")],
    file: TokensFile,
    days: Annotated[float, typer.Option(help="How long it counts; 0 = until it is revoked.")] = 90.0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the token there, for GRADLOOM_TOKEN_FILE, not to the screen."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a token. It is shown once: only its hash is kept.

    A second token for a name lets it change to that one before the first is revoked.
    """
    import time

    from gradloom import token_file, tokens
    from gradloom.cli.output import say, write_json, write_line
    from gradloom.cli.views import until_text
    from gradloom.roles import role_named

    now = time.time()
    text, token = tokens.new_token(name, role_named(role), now, days or None)
    with token_file.secret_kept(out, text):
        token_file.change(file, lambda book: book.with_one(token))
    shown = {} if out is not None else {"token": text}
    if as_json:
        write_json({**_values(token), **shown})
        return
    if out is None:
        write_line(text)
    say(f"{token.name} is {token.role}, {until_text(token, now)}; id {token.id}")
    say(f"it is in {out}" if out is not None else "this is shown once; give it to gradloom in GRADLOOM_TOKEN")


@tokens_app.command("list")
def list_(file: TokensFile, as_json: AsJson = False) -> None:
    """List the tokens: whose they are and how long they count, never what they are."""
    import time

    from gradloom import token_file
    from gradloom.cli import views
    from gradloom.cli.output import results, write_json

    found = sorted(token_file.read(file).tokens, key=lambda token: (token.name, token.created))
    if as_json:
        write_json([_values(token) for token in found])
        return
    results().print(views.tokens_table(found, time.time()))


@tokens_app.command()
def revoke(
    name: Annotated[
        str, typer.Argument(metavar="NAME|ID", help="All tokens of a name, or the one with this id.")
    ],
    file: TokensFile,
    as_json: AsJson = False,
) -> None:
    """Have tokens count no more; a running coordinator refuses them within about a second."""
    from gradloom import token_file
    from gradloom.cli.output import write_json, write_line

    before = token_file.read(file)
    left = token_file.change(file, lambda book: book.without(name))
    gone = [token for token in before.tokens if not left.holds(token)]
    if as_json:
        write_json([_values(token) for token in gone])
    for token in () if as_json else gone:
        write_line(f"revoked {token.id} of {token.name} ({token.role})")


def whoami(cluster: Cluster = DEFAULT_CLUSTER, as_json: AsJson = False) -> None:
    """Say whom a cluster takes you for, and what your role is."""
    from dataclasses import asdict

    from gradloom.cli.connecting import connect
    from gradloom.cli.output import write_json, write_line
    from gradloom.words import time_text

    with connect(cluster) as client:
        me = client.whoami()
    if as_json:
        write_json({**asdict(me), "expires": iso_time(me.expires)})
    elif me.how == "open":
        write_line("this cluster asks nobody who they are: whoever reaches it may do everything")
    else:
        until = "" if me.expires is None else f", until {time_text(me.expires)}"
        by = "token and certificate" if me.how == "both" else me.how
        role = f"role {me.role}" if me.role else "no role"
        write_line(f"{me.name} ({role}), by {by}{until}")


def audit(
    last: Annotated[int, typer.Option(min=1, max=10_000, help="How many calls.")] = 30,
    cluster: Cluster = DEFAULT_CLUSTER,
    as_json: AsJson = False,
) -> None:
    """Show who has changed what, the newest last; for admins."""
    from dataclasses import asdict

    from gradloom.cli import views
    from gradloom.cli.connecting import connect
    from gradloom.cli.output import results, write_json

    with connect(cluster) as client:
        found = client.audit(last)
    if as_json:
        write_json([{**asdict(entry), "at": iso_time(entry.at)} for entry in found])
        return
    results().print(views.audit_table(found))


def _values(token: "Token") -> dict[str, object]:
    return {
        "name": token.name,
        "role": token.role,
        "id": token.id,
        "created": iso_time(token.created),
        "expires": iso_time(token.expires),
    }

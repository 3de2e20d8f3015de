"""``gradloom doctor``: what a cluster stands on, what is wrong with it, and how to mend that.

Only typer is imported at the top: a command imports what it needs when it runs.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradloom.cli.options import AsJson, ClusterIfAny

if TYPE_CHECKING:
    from rich.table import Table

    from gradloom.doctor.facts import Facts, Finding

MARKS = {"ok": ("ok", "green"), "warn": ("warn", "yellow"), "bad": ("BAD", "red")}


def add_to(app: typer.Typer) -> None:
    """Make the command known."""
    app.command()(doctor)


def doctor(
    cluster: ClusterIfAny = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(envvar="GRADLOOM_DATA_DIR", metavar="FOLDER", help="See whether it can be written to."),
    ] = None,
    checkpoint_uri: Annotated[
        str, typer.Option(envvar="GRADLOOM_CHECKPOINT_URI", metavar="URI", help="The same.")
    ] = "",
    upload_uri: Annotated[
        str, typer.Option(envvar="GRADLOOM_UPLOAD_URI", metavar="URI", help="The same.")
    ] = "",
    store_url: Annotated[
        str,
        typer.Option(envvar="GRADLOOM_STORE_URL", metavar="URL", help="See whether the database answers."),
    ] = "",
    port: Annotated[
        list[int] | None,
        typer.Option(
            help="See whether a service could listen there; the usual ones if none is given.", max=65535
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look at this machine and a running cluster, and say what is wrong and how to mend it."""
    from gradloom.cli.output import results, write_json
    from gradloom.doctor.facts import Level
    from gradloom.doctor.rules import findings, worst

    named = (
        ("--data-dir", "" if data_dir is None else str(data_dir)),
        ("--checkpoint-uri", checkpoint_uri),
        ("--upload-uri", upload_uri),
    )
    found = findings(_facts(cluster, named, store_url, port or ()))
    if as_json:
        write_json([_values(one) for one in found])
    else:
        results().print(_table(found))
        results().print(_sum(found))
    raise typer.Exit(1 if worst(found) is Level.BAD else 0)


def _facts(
    cluster: str | None,
    named: tuple[tuple[str, str], ...],
    store_url: str,
    ports: "tuple[int, ...] | list[int]",
) -> "Facts":
    """Measure everything. Raises InvalidInput for options that mean nothing."""
    from gradloom import __version__
    from gradloom.cli.connecting import access
    from gradloom.credentials import utc_now
    from gradloom.doctor import measuring
    from gradloom.doctor.asking import ask
    from gradloom.doctor.facts import Facts
    from gradloom.settings import with_store_password

    given, now = access(), utc_now()
    store = measuring.database(with_store_password(store_url)) if store_url else None
    answer = None if cluster is None else ask(cluster, given)
    ours = measuring.ports_here(answer.address) if answer is not None and not answer.problem else frozenset()
    return Facts(
        now=now,
        version=__version__,
        machine=measuring.machine(os.environ.get("OPENBLAS_CORETYPE", "")),
        packages=measuring.packages(),
        ports=tuple(measuring.port(number, ours, given.tls) for number in ports)
        or measuring.usual_ports(ours, given.tls),
        tls=None if given.tls is None else measuring.tls(given.tls, now),
        insecure=given.insecure,
        storage=measuring.folders(named),
        store=store,
        cluster=answer,
    )


def _values(finding: "Finding") -> dict[str, str]:
    return {"level": finding.level.value, "area": finding.area, "what": finding.what, "mend": finding.mend}


def _table(found: "list[Finding]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    from gradloom.visible import visible

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("area")
    table.add_column("what was found", overflow="fold")
    area = ""
    for one in found:
        word, colour = MARKS[one.level.value]
        what = Text(visible(one.what))
        if one.mend:
            what.append(f"\n-> {visible(one.mend)}", style="bold")
        table.add_row(Text(word, style=colour), one.area if one.area != area else "", what)
        area = one.area
    return table


def _sum(found: "list[Finding]") -> str:
    counts = {word: sum(one.level.value == level for one in found) for level, (word, _) in MARKS.items()}
    if not counts["BAD"] and not counts["warn"]:
        return "\neverything is well"
    return f"\n{counts['BAD']} bad, {counts['warn']} to look at, {counts['ok']} well"

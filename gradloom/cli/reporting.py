"""``gradloom report`` and ``gradloom trace``: what a run came to, as files. Each one asks, and says what it wrote.

Only typer is imported at the top: a command imports what it needs when it runs.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradloom.cli.options import DEFAULT_CLUSTER, AsJson, Cluster, JobId

if TYPE_CHECKING:
    from gradloom.reports.facts import RunFacts


def add_to(app: typer.Typer) -> None:
    """Make the commands known."""
    for command in (report, trace):
        app.command()(command)


def report(
    job: JobId,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page, e.g. report.html.")],
    cluster: Cluster = DEFAULT_CLUSTER,
    as_json: AsJson = False,
) -> None:
    """Write what a job came to as one page: curves, balance, stragglers, retries, bytes, and whether it paid."""
    from gradloom.cli.output import write_json, write_line
    from gradloom.reports.page import page_of

    facts = _facts(job, out, cluster)
    size = _write(out, page_of(facts))
    if as_json:
        write_json({"job_id": job, "report": str(out), "bytes": size, "goodput": facts.goodput})
    else:
        write_line(f"report  {out}  ({size / 1000:.0f} KB, nothing else is needed to show it)")


def trace(
    job: JobId,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The trace, e.g. trace.json.")],
    cluster: Cluster = DEFAULT_CLUSTER,
    as_json: AsJson = False,
) -> None:
    """Write a job's rounds and tasks as a trace for ui.perfetto.dev, and the workers' speeds for gradloom simulate."""
    import json

    from gradloom.cli.output import say, write_json, write_line
    from gradloom.errors import NotFound
    from gradloom.reports.perfetto import trace_file

    facts = _facts(job, out, cluster)
    if facts.trace is None:
        raise NotFound(facts.no_trace_because)
    _write(out, json.dumps(trace_file(facts), allow_nan=False, separators=(",", ":")))
    rounds, tasks, dropped = len(facts.trace.rounds), len(facts.trace.tasks), facts.trace.head.dropped_tasks
    if as_json:
        write_json(
            {"job_id": job, "trace": str(out), "rounds": rounds, "tasks": tasks, "dropped_tasks": dropped}
        )
        return
    write_line(f"trace   {out}  ({rounds:,} rounds, {tasks:,} tasks)")
    if dropped:
        say(f"{dropped:,} older tasks are no longer kept")
    say(
        f"show it at https://ui.perfetto.dev; gradloom simulate --trace recorded --trace-file {out} plays its speeds"
    )


def _facts(job: str, out: Path, cluster: str) -> "RunFacts":
    from gradloom.cli.connecting import connect
    from gradloom.cli.training import check_writable
    from gradloom.reports.gathering import gather

    check_writable(out)
    with connect(cluster) as client:
        return gather(client.job(job))


def _write(out: Path, text: str) -> int:
    """Write a file; its size in bytes. Raises InvalidInput if it can't be written."""
    from gradloom.errors import InvalidInput

    content = text.encode()
    try:
        out.write_bytes(content)
    except OSError as error:
        raise InvalidInput("out", f"{out} can't be written: {error.strerror or error}") from None
    return len(content)

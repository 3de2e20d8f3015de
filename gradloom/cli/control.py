"""The commands that steer: live jobs, workers, and why they are as they are. Each one translates and hands over.

Only typer is imported at the top: a command imports what it needs when it runs.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from gradloom.cli.options import DEFAULT_CLUSTER, AsJson, Cluster, JobId, Reason, WorkerName

if TYPE_CHECKING:
    from gradloom.client import Job
    from gradloom.jobs import JobView


def add_to(app: typer.Typer) -> None:
    """Make the commands known."""
    app.command("set")(set_)
    for command in (pause, resume, step, rollback, note, replay, drain, exclude, readmit, why):
        app.command()(command)


def set_(
    job: JobId,
    changes: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=VALUE...",
            help="placement, synchrony, speculation (on or off), share_weight, codec, downlink, or a setting of the "
            "algorithm that may change while it trains, e.g. learning_rate; several at once may be.",
        ),
    ],
    cluster: Cluster = DEFAULT_CLUSTER,
    as_json: AsJson = False,
) -> None:
    """Change a live job, from its next round on."""
    from dataclasses import asdict

    from gradloom.cli import steering

    wanted = asdict(steering.changes_of(changes))
    _show(cluster, job, lambda handle: handle.update(**wanted), as_json)


def pause(
    job: JobId, reason: Reason = "", cluster: Cluster = DEFAULT_CLUSTER, as_json: AsJson = False
) -> None:
    """Have a job stand still once its open round is over."""
    _show(cluster, job, lambda handle: handle.pause(reason), as_json)


def resume(job: JobId, cluster: Cluster = DEFAULT_CLUSTER, as_json: AsJson = False) -> None:
    """Let a paused job go on."""
    _show(cluster, job, lambda handle: handle.resume(), as_json)


def step(
    job: JobId,
    rounds: Annotated[int, typer.Argument(metavar="[ROUNDS]", help="How many rounds of training.")] = 1,
    cluster: Cluster = DEFAULT_CLUSTER,
    as_json: AsJson = False,
) -> None:
    """Let a job do some rounds, then stand still."""
    _show(cluster, job, lambda handle: handle.step(rounds), as_json)


def rollback(
    job: JobId,
    round_: Annotated[int, typer.Argument(metavar="ROUND", help="Of one of the job's last checkpoints.")],
    cluster: Cluster = DEFAULT_CLUSTER,
    as_json: AsJson = False,
) -> None:
    """Set a job back to a checkpoint; what was computed since is done again, with the settings of now."""
    _show(cluster, job, lambda handle: handle.rollback(round_), as_json)


def note(
    job: JobId,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Words of your own.")],
    cluster: Cluster = DEFAULT_CLUSTER,
    as_json: AsJson = False,
) -> None:
    """Add words of your own to a job's events."""
    from gradloom.cli.connecting import connect

    with connect(cluster) as client:
        client.job(job).note(text)
    _say({"job_id": job, "note": text}, f"noted on job {job}", as_json)


def replay(job: JobId, cluster: Cluster = DEFAULT_CLUSTER, as_json: AsJson = False) -> None:
    """Run a job again as a new one, with the same changes in the same rounds."""
    from gradloom.cli.connecting import connect
    from gradloom.cli.output import write_json, write_line

    with connect(cluster) as client:
        again = client.job(job).replay()
    if as_json:
        write_json({"job_id": again.id, "replays": job})
    else:
        write_line(f"job {again.id} does again what job {job} did; follow it with: gradloom watch {again.id}")


def drain(
    worker: WorkerName,
    reason: Reason = "",
    cluster: Cluster = DEFAULT_CLUSTER,
    as_json: AsJson = False,
) -> None:
    """Have a worker finish what it computes and leave."""
    from gradloom.cli.connecting import connect

    with connect(cluster) as client:
        client.drain(worker, reason)
    _say({"worker": worker, "done": "drain"}, f"worker {worker} drains", as_json)


def exclude(
    worker: WorkerName,
    reason: Reason = "",
    cluster: Cluster = DEFAULT_CLUSTER,
    as_json: AsJson = False,
) -> None:
    """Give a worker no work until it is readmitted."""
    from gradloom.cli.connecting import connect

    with connect(cluster) as client:
        client.exclude(worker, reason)
    _say(
        {"worker": worker, "done": "exclude"},
        f"worker {worker} gets no work until: gradloom readmit {worker}",
        as_json,
    )


def readmit(
    worker: WorkerName,
    cluster: Cluster = DEFAULT_CLUSTER,
    as_json: AsJson = False,
) -> None:
    """Let a worker in again that was excluded, by a person or for its failures."""
    from gradloom.cli.connecting import connect

    with connect(cluster) as client:
        client.readmit(worker)
    _say({"worker": worker, "done": "readmit"}, f"worker {worker} is let in", as_json)


def why(
    subject: Annotated[
        str, typer.Argument(metavar="JOB|WORKER|JOB:SHARD", help="A job's id, a worker's name, or a task.")
    ],
    cluster: Cluster = DEFAULT_CLUSTER,
    as_json: AsJson = False,
) -> None:
    """Say why a job, a worker or a task is as it is."""
    from gradloom.cli.connecting import connect
    from gradloom.cli.output import write_json, write_line

    with connect(cluster) as client:
        sentences = client.explain(subject)
    if as_json:
        write_json(list(sentences))
    else:
        for sentence in sentences:
            write_line(sentence)


def _say(values: dict[str, str], sentence: str, as_json: bool) -> None:
    from gradloom.cli.output import write_json, write_line

    if as_json:
        write_json(values)
    else:
        write_line(sentence)


def _show(cluster: str, job: str, act: "Callable[[Job], JobView]", as_json: bool) -> None:
    """Do something to a job, and show what became of it."""
    from gradloom.cli import views
    from gradloom.cli.connecting import connect
    from gradloom.cli.output import results, write_json

    with connect(cluster) as client:
        view = act(client.job(job))
    if as_json:
        write_json(views.job_values(view))
    else:
        results().print(views.job_details(view))

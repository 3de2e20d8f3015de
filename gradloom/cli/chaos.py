"""``gradloom chaos``: have a worker suffer a fault, watch what becomes of the running jobs, and say it."""

import math
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from gradloom.cli.chaos_report import Experiment, JobUnderFault, Watching, markdown
from gradloom.cli.output import say, write_json, write_line
from gradloom.client import Client, Job
from gradloom.errors import InvalidInput
from gradloom.faults import COUNTED, Fault, FaultKind, check_fault
from gradloom.jobs import JobEvent, JobState

RECOVERY_LIMIT_S = 60.0
"""Longer than any fault is noticed late: jobs are watched no longer after it."""
DEFAULT_SECONDS = 10.0
DEFAULT_FACTOR = 5.0
_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "min": 60.0}


def fault_of(kind: str, for_: str | None, factor: float | None, count: int | None) -> Fault:
    """The fault that the words of a command line mean; what is not given has a default. Raises InvalidInput."""
    try:
        known = FaultKind(kind)
    except ValueError:
        raise InvalidInput.unknown_name("kind", kind, map(str, FaultKind)) from None
    usual = Fault(
        known,
        seconds=DEFAULT_SECONDS if known in (FaultKind.SLOW, FaultKind.PAUSE, FaultKind.PARTITION) else 0.0,
        factor=DEFAULT_FACTOR if known is FaultKind.SLOW else 0.0,
        count=1 if known in COUNTED else 0,
    )
    fault = Fault(
        known,
        usual.seconds if for_ is None else seconds_of("for", for_),
        usual.factor if factor is None else factor,
        usual.count if count is None else count,
    )
    check_fault(fault)
    return fault


def seconds_of(field: str, text: str) -> float:
    """``500ms``, ``30s``, ``2min`` or plain seconds. Raises InvalidInput."""
    form = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*(ms|s|min|)", text.strip())
    seconds = float(form[1]) * _UNITS[form[2]] if form else math.nan
    if not math.isfinite(seconds):
        raise InvalidInput(field, f"{text!r} is not allowed; it must be a time like 30s, 500ms or 2min")
    return seconds


def chaos(
    client: Client, worker: str, fault: Fault, observe_s: float, out: Path | None, as_json: bool
) -> None:
    """Inject the fault, follow the jobs that run until it is over, and report."""
    jobs = [client.job(view.job_id) for view in client.jobs() if view.state is JobState.RUNNING]
    at = client.inject(worker, fault)
    say(f"worker {worker} is told: {fault}; {len(jobs)} running jobs are watched")
    experiment = Experiment(worker, str(fault), at, tuple(_watch(jobs, worker, fault, at, observe_s)))
    text = markdown(experiment)
    if out is not None:
        out.write_text(text, encoding="utf-8")
        say(f"report  {out}")
    if as_json:
        write_json(asdict(experiment))
    else:
        write_line(text)


def _watch(
    jobs: list[Job], worker: str, fault: Fault, at: float, observe_s: float
) -> Iterator[JobUnderFault]:
    limit_s = fault.seconds + RECOVERY_LIMIT_S + observe_s

    def watch(job: Job) -> JobUnderFault:
        watching = Watching(worker, fault, at, observe_s)
        events: Iterator[JobEvent] = job.watch(timeout_s=limit_s)
        for event in events:
            watching.see(event)
            if watching.through:
                break
        return watching.result(job.id)

    if not jobs:
        return
    with ThreadPoolExecutor(len(jobs)) as pool:
        yield from pool.map(watch, jobs)

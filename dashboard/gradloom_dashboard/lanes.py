"""Workers, jobs and events as the rows that the pages show: plain values for the browser. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradloom.cli.phases import activity_text, parts, sentence, short
from gradloom.jobs import (
    Compression,
    JobState,
    JobView,
    SteeringRecord,
    WorkerPhases,
    WorkerShare,
    WorkerState,
    WorkerView,
)
from gradloom.words import (
    bytes_text,
    clock_text,
    counted,
    memory_text,
    number_text,
    pairs_text,
    rate_text,
    seconds_text,
)
from gradloom_dashboard.moment import Moment
from gradloom_dashboard.story import Entry

Row = dict[str, Any]
"""JSON for one row of a table in the browser."""
Working = tuple[JobView, WorkerShare]
"""A job that runs, and what a worker does for it."""
GONE = "left"
SLOW_RATIO = 2.0
"""From here on a worker's time per row, against the median of the others, is worth a look."""
TONES: Mapping[str, str] = {
    WorkerState.IDLE: "quiet",
    WorkerState.BUSY: "good",
    WorkerState.SUSPECT: "warn",
    WorkerState.AWAY: "warn",
    WorkerState.DRAINING: "warn",
    WorkerState.EXCLUDED: "bad",
    WorkerState.PROBING: "warn",
    GONE: "bad",
    JobState.QUEUED: "quiet",
    JobState.PLANNING: "quiet",
    JobState.RUNNING: "good",
    JobState.PAUSED: "warn",
    JobState.SERVING: "good",
    JobState.COMPLETED: "done",
    JobState.FAILED: "bad",
    JobState.CANCELLED: "quiet",
    "retry": "warn",
    "note": "quiet",
}
"""What colour a state has: good, quiet, warn, bad or done."""


def worker_rows(moment: Moment, *, may_steer: bool) -> list[Row]:
    """A lane for each worker, and for each that left not long ago; those that need a look come first."""
    shares = _shares_by_worker(moment.jobs)
    lanes = [_lane(moment, worker, shares.get(worker.worker, []), may_steer) for worker in moment.workers]
    lanes += [_lane_of_gone(name, at, moment.at) for name, at in sorted(moment.left.items())]
    return _troubled_first(lanes)


def _shares_by_worker(jobs: Iterable[JobView]) -> Mapping[str, list[Working]]:
    found: dict[str, list[Working]] = {}
    for job in jobs:
        if job.state is JobState.RUNNING:
            for share in job.workers:
                if share.present:
                    found.setdefault(share.worker, []).append((job, share))
    return found


def _troubled_first(rows: list[Row]) -> list[Row]:
    first = {"bad": 0, "warn": 1}  # busy and idle change places all the time: their rows must not
    return sorted(rows, key=lambda row: first.get(row["tone"], 2))


def _lane(moment: Moment, worker: WorkerView, shares: Sequence[Working], may_steer: bool) -> Row:
    slow = worker.slowdown_ratio >= SLOW_RATIO
    out = worker.state in (WorkerState.EXCLUDED, WorkerState.PROBING)
    how_slow = f"{worker.slowdown_ratio:.1f} times the median time" if slow else ""
    remarks = (worker.straggler or how_slow, worker.reason, pairs_text(worker.labels))
    return {
        "id": worker.worker,
        "state": str(worker.state),
        "tone": "warn" if (worker.straggler or slow) and not out else TONES[worker.state],
        "does": _doing(worker, [job.job_id for job, share in shares if share.shards]),
        "machine": f"{worker.host} · pid {worker.pid} · {worker.cores:g} cores · {memory_text(worker.memory_bytes)}",
        "shards": f"{worker.shards}",
        "rate": rate_text(worker.rows_per_second),
        **_time_spent(moment.phases(worker.worker)),
        "heartbeat": heartbeat_text(worker.heartbeat_age_s),
        "remarks": [words for words in remarks if words],
        "deeds": _deeds(worker, out=out) if may_steer else [],
    }


def _deeds(worker: WorkerView, *, out: bool) -> list[str]:
    deeds = [] if worker.state is WorkerState.DRAINING else ["drain"]
    deeds += [] if worker.state is WorkerState.EXCLUDED else ["exclude"]
    return [*deeds, "readmit"] if out else deeds


def _time_spent(phases: WorkerPhases | None) -> Row:
    """Where the time of a worker went, as a bar and in words."""
    shares = parts(phases)
    return {
        "phases": [[part.phase, part.percent] for part in shares],
        "phases_short": short(phases) or "time",
        "phases_words": sentence(shares) or "it has not said where its time goes",
    }


def _lane_of_gone(name: str, at: float, now: float) -> Row:
    return {
        "id": name,
        "state": GONE,
        "tone": TONES[GONE],
        "does": f"not connected; last seen {seconds_text(max(0.0, round(now - at)))} ago",
        "machine": "",
        "shards": "-",
        "rate": "-",
        "phases": [],
        "phases_short": "time",
        "phases_words": "",
        "heartbeat": "-",
        "remarks": [],
        "deeds": [],
    }


def heartbeat_text(age_s: float) -> str:
    """``now``, or how many seconds ago; what comes every second is not worth a change on the screen."""
    return "now" if age_s < 2 else f"{age_s:.0f} s ago"


def _doing(worker: WorkerView, jobs: Sequence[str]) -> str:
    if worker.activity is not None:
        more = worker.tasks_in_flight - 1
        return f"computes {activity_text(worker.activity)}" + (f", then {more} more" if more > 0 else "")
    return f"waits for work of {', '.join(jobs)}" if jobs else "waits for a job"


def job_rows(jobs: Iterable[JobView]) -> list[Row]:
    """A row for each job, in the order given."""
    return [
        {
            "id": job.job_id,
            "algorithm": job.spec.algorithm,
            "state": str(job.state),
            "tone": TONES[job.state],
            "progress": progress(job),
            "rounds": f"{job.rounds:,} / {job.max_rounds:,}" if job.max_rounds else f"{job.rounds:,}",
            "loss": number_text(job.loss),
            "retries": job.retries,
            "submitted": clock_text(job.created_at),
            "reason": job.reason,
        }
        for job in jobs
    ]


def share_rows(job: JobView, workers: Iterable[WorkerView]) -> list[Row]:
    """What each worker does for a job; the bar compares the rows that they have computed."""
    known = {worker.worker: worker for worker in workers}
    most = max((share.rows for share in job.workers), default=0)
    total = sum(share.rows for share in job.workers)
    rows = []
    for share in job.workers:
        worker = known.get(share.worker)
        remarks = [] if worker is None else [text for text in (worker.straggler, worker.reason) if text]
        here = worker is not None and share.present
        rows.append(
            {
                "id": share.worker,
                "state": str(worker.state) if here and worker is not None else GONE,
                "tone": ("warn" if remarks else "good") if here else "bad",
                "rows": f"{share.rows:,}",
                "part": f"{100 * share.rows / total:.0f} %" if total else "0 %",
                "bar": round(100 * share.rows / most) if most else 0,
                "busy": round(100 * share.busy_fraction),
                "shards": share.shards,
                "last": last_text(share),
                "retries": share.retries,
                "remarks": remarks,
            }
        )
    return _troubled_first(rows)


def last_text(share: WorkerShare) -> str:
    """In how many rounds all others waited for a worker, and for how long: ``34 rounds, 2.1 s``."""
    if not share.rounds_last:
        return "no round"
    return f"{counted(share.rounds_last, 'round')}, {seconds_text(share.waited_for_s)}"


def last_words(job: JobView) -> str:
    """Whom the others waited for at the end of the newest round: ``worker-2 was last, by 12 ms``."""
    if not job.last_worker:
        return rate_text(job.rows_per_second)
    waited = seconds_text(job.last_waited_s).replace(" ", "\u00a0")
    return f"{job.last_worker} was last, by {waited}"


def entry_rows(entries: Iterable[Entry]) -> list[Row]:
    """What happened, in words."""
    return [
        {"id": entry.sequence, "at": clock_text(entry.at), "tone": TONES[entry.kind], "words": entry.words}
        for entry in entries
    ]


def change_words(record: SteeringRecord) -> str:
    """Who changed what, in a sentence: ``learning_rate: none → 0.05, from round 12, by ann@lab at 15:52:50``."""
    name = record.field.removeprefix("settings.")
    by = f"from round {record.at_round}, by {record.who or 'somebody'} at {clock_text(record.at)}"
    match name:
        case "paused":
            reason = record.new.removeprefix("paused ")  # it was recorded as a sentence
            return f"paused {reason}, {by}" if reason else f"resumed, {by}"
        case "rollback":
            return f"set back to the checkpoint of round {record.new}, by {record.who} at {clock_text(record.at)}"
        case _:
            return f"{name}: {record.old or 'none'} → {record.new or 'none'}, {by}"


def change_label(record: SteeringRecord) -> str:
    """The same in two words, for a mark in a chart."""
    name = record.field.removeprefix("settings.")
    match name:
        case "paused":
            return "paused" if record.new else "resumed"
        case "rollback":
            return f"back to {record.new}"
        case _:
            return f"{name} {record.new}"


def traffic_words(ledger: Compression | None) -> tuple[str, str]:
    """What travelled up as a number and what codecs made of it, as two short texts."""
    if ledger is None:
        return "-", "nothing has travelled yet"
    up, down = ledger.wire_bytes_up, ledger.wire_bytes_down
    ratio = ledger.raw_bytes_up / up if up else 1.0
    size = f"{ratio:.3g} times smaller" if ratio >= 1.05 else "hardly smaller"
    error = "" if ledger.relative_error is None else f", error {ledger.relative_error:.2g}"
    if ledger.codec == "none" and ratio < 1.05:
        return bytes_text(up + down), "nothing compressed"
    return bytes_text(up + down), f"gradients {size} ({ledger.codec}{error})"


def progress(job: JobView) -> int:
    """Per cent of the rounds that are allowed; 100 for a job that has come to its end."""
    if job.state in (JobState.COMPLETED, JobState.SERVING):
        return 100
    return min(100, round(100 * job.rounds / job.max_rounds)) if job.max_rounds else 0

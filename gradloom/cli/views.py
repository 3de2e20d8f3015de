"""Jobs, workers and algorithms as tables for people and as plain values for JSON. No calls are made here."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from urllib.parse import unquote

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gradloom.callers import AuditEntry
from gradloom.cli.phases import short
from gradloom.jobs import AlgorithmDescription, Compression, JobView, SteeringRecord, WorkerShare, WorkerView
from gradloom.tokens import Token
from gradloom.visible import visible
from gradloom.words import bytes_text, counted, memory_text, number_text, pairs_text, seconds_text, time_text


def job_values(view: JobView) -> dict[str, object]:
    """A job for JSON."""
    values = asdict(view)
    spec = values.pop("spec")
    return {"job_id": view.job_id, "algorithm": view.spec.algorithm, **values, "spec": spec}


def jobs_table(jobs: Iterable[JobView]) -> Table:
    """One line a job."""
    table = _table("job", "algorithm", "state", "rounds", "loss", "rows", "time", "submitted", "reason")
    for job in jobs:
        table.add_row(
            job.job_id,
            job.spec.algorithm,
            job.state,
            f"{job.rounds}/{job.max_rounds}",
            number_text(job.loss),
            f"{job.rows:,}",
            seconds_text(job.seconds),
            time_text(job.created_at),
            job.reason,
        )
    return table


def job_details(view: JobView) -> RenderableType:
    """All that is known of one job."""
    spec = view.spec
    lines = {
        "job": view.job_id,
        "algorithm": spec.algorithm,
        "settings": " ".join(f"{name}={value}" for name, value in spec.settings.items()) or "defaults",
        "data": " ".join(spec.data.uris),
        "target": spec.data.target or "the file's own",
        "placement": spec.placement or "the cluster's default",
        "synchrony": spec.synchrony or "synchronous",
        "codec": spec.codec or "none",
        "downlink": spec.downlink or "none",
        "speculation": spec.speculation,
        "share weight": f"{spec.share_weight:g}",
        "submitted": time_text(view.created_at),
        **_outcome(view),
    }
    tables = [shares_table(view.workers)] if view.workers else []
    return Group(_pairs(lines), *tables, *([steering_table(view.steering)] if view.steering else []))


def steering_table(steering: Iterable[SteeringRecord]) -> Table:
    """What people have changed of a job."""
    table = _table("from round", "what", "from", "to", "who", "when")
    for one in steering:
        table.add_row(str(one.at_round), one.field, one.old, one.new, one.who, time_text(one.at))
    return table


def job_result(view: JobView) -> RenderableType:
    """How a job ended: its scores, and what each worker did."""
    return Group(_pairs({"job": view.job_id, **_outcome(view)}), shares_table(view.workers))


def shares_table(shares: Iterable[WorkerShare]) -> Table:
    """What each worker did for one job."""
    table = _table("worker", "rows", "shards", "busy", "retries", "")
    for share in shares:
        left = "" if share.present else "left"
        busy = f"{100 * share.busy_fraction:.0f} %"
        table.add_row(share.worker, f"{share.rows:,}", str(share.shards), busy, str(share.retries), left)
    return table


def workers_table(workers: Iterable[WorkerView]) -> Table:
    """One line a worker."""
    table = _table(
        "worker",
        "state",
        "host",
        "pid",
        "cores",
        "memory",
        "shards",
        "tasks",
        "rows/s",
        "time",
        "heartbeat",
        "remarks",
    )
    for worker in workers:
        table.add_row(
            worker.worker,
            worker.state,
            worker.host,
            str(worker.pid),
            f"{worker.cores:g}",
            memory_text(worker.memory_bytes),
            str(worker.shards),
            str(worker.tasks_in_flight),
            f"{worker.rows_per_second:,.0f}",
            short(worker.phases),
            f"{worker.heartbeat_age_s:.1f} s ago",
            "; ".join(filter(None, (worker.reason, worker.straggler, pairs_text(worker.labels)))),
        )
    return table


def algorithm_values(description: AlgorithmDescription) -> dict[str, object]:
    """An algorithm for JSON, its settings' schema as an object."""
    return {
        "name": description.name,
        "version": description.version,
        "summary": description.summary,
        "settings": json.loads(description.settings_schema),
    }


def algorithm_details(description: AlgorithmDescription) -> RenderableType:
    """An algorithm with its settings."""
    table = _table("setting", "default", "allowed", "meaning")
    for name, schema in json.loads(description.settings_schema).get("properties", {}).items():
        default = _setting_text(schema["default"]) if "default" in schema else "required"
        table.add_row(name, default, _allowed(schema), schema.get("description", ""))
    heading = f"{description.name} (version {description.version}): {description.summary}"
    return Group(Text(visible(heading), style="bold"), table)


def _outcome(view: JobView) -> dict[str, str]:
    return {
        "state": f"{view.state}: {view.reason}" if view.reason else str(view.state),
        "rounds": f"{view.rounds} of at most {view.max_rounds} in {seconds_text(view.seconds)}",
        "rows": f"{view.rows:,} in {counted(view.shards, 'shard')}, {view.rows_per_second:,.0f} rows/s",
        "retries": str(view.retries),
        "loss": number_text(view.loss),
        **(_traffic(view.compression) if view.compression is not None else {}),
        **{name: number_text(score) for name, score in view.scores.items()},
        **({"sha256": view.parameters_sha256} if view.parameters_sha256 else {}),
    }


def _traffic(ledger: Compression) -> dict[str, str]:
    """What travelled, and what codecs made of it."""
    lines = {
        "sent up": _saving(ledger.raw_bytes_up, ledger.wire_bytes_up, ledger.codec),
        "sent down": _saving(ledger.raw_bytes_down, ledger.wire_bytes_down, ledger.downlink),
    }
    if ledger.reason:
        lines["codec picked"] = f"{ledger.codec}: {ledger.reason}"
    if ledger.encode_seconds:
        lines["codec time"] = (
            f"{seconds_text(ledger.encode_seconds)} to encode, {seconds_text(ledger.decode_seconds)} to decode"
        )
    if ledger.relative_error is not None:
        lines["codec error"] = (
            f"{ledger.relative_error:.3g} of the gradient, residual {ledger.residual_norm:.4g}"
        )
    if ledger.resets:
        lines["residuals lost"] = f"{ledger.resets} times, with a worker"
    return lines


def _saving(raw: int, wire: int, codec: str) -> str:
    text = bytes_text(wire)
    if wire == raw:
        return text
    return f"{text} instead of {bytes_text(raw)} ({raw / max(wire, 1):.3g} x, {codec} now)"


def _allowed(schema: dict[str, object]) -> str:
    options = schema.get("anyOf", [schema])
    assert isinstance(options, list)
    return " or ".join(_one_allowed(option) for option in options)


def _one_allowed(schema: dict[str, object]) -> str:
    if isinstance(choices := schema.get("enum", [schema["const"]] if "const" in schema else None), list):
        return ", ".join(str(choice) for choice in choices)
    signs = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    bounds = ", ".join(f"{sign} {schema[key]}" for key, sign in signs.items() if key in schema)
    kind = "none" if schema.get("type") == "null" else str(schema.get("type", "anything"))
    return f"{kind} {bounds}".rstrip()


def _setting_text(value: object) -> str:
    """A default as a person would write it after ``--set name=``."""
    if value is None:
        return "none"
    return str(value) if isinstance(value, str) and value else json.dumps(value)


def tokens_table(tokens: Iterable[Token], now: float) -> Table:
    """Whose the tokens are, and how long they count."""
    table = _table("name", "role", "id", "created", "counts")
    for token in tokens:
        table.add_row(token.name, token.role, token.id, time_text(token.created), until_text(token, now))
    return table


def until_text(token: Token, now: float) -> str:
    """How long a token counts."""
    if token.expires is None:
        return "until it is revoked"
    return f"{'expired' if token.expired(now) else 'until'} {time_text(token.expires)}"


def audit_table(entries: Iterable[AuditEntry]) -> Table:
    """Who has changed what, one line a call."""
    table = _table("when", "who", "role", "from", "what", "on", "result")
    for one in entries:
        what = " ".join([one.method, *(f"{name}={value}" for name, value in one.fields.items())])
        result = f"{one.result}: {one.detail}" if one.detail else one.result
        table.add_row(time_text(one.at), one.who, one.role, _peer_text(one.peer), what, one.subject, result)
    return table


def _peer_text(peer: str) -> str:
    """``[::1]:57498`` of gRPC's ``ipv6:%5B::1%5D:57498``."""
    kind, _, rest = peer.partition(":")
    return unquote(rest) if kind in ("ipv4", "ipv6") else peer


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _pairs(lines: dict[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in lines.items():
        table.add_row(name, value)
    return table

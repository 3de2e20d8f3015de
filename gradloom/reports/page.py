"""A run as one page that needs nothing else: no script, no font, no picture from elsewhere. Pure.

Everything that somebody typed goes through ``markup``, which escapes it.
"""

from xml.etree.ElementTree import Element

from gradloom.jobs import JobEvent, JobView, Note, StateChanged, TaskRetried
from gradloom.reports.balance import balance, stragglers
from gradloom.reports.charts import Curve, line_chart
from gradloom.reports.facts import RunFacts
from gradloom.reports.markup import Child, div, html_text, node, section, soft, table
from gradloom.reports.style import STYLE
from gradloom.reports.verdict import verdict
from gradloom.words import bytes_text, counted, number_text, seconds_text, share_text, time_text

MAX_HAPPENINGS = 300


def page_of(facts: RunFacts) -> str:
    """The whole page as text."""
    view = facts.view
    head = node(
        "head",
        {},
        node("meta", {"charset": "utf-8"}),
        node("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        node("title", {}, f"{view.job_id} · gradloom"),
        node("style", {}, STYLE),
    )
    parts = (
        _header(facts),
        _tiles(facts),
        _curves(facts),
        _rounds(facts),
        balance(facts),
        stragglers(facts),
        _retries(facts),
        _bytes(view),
        verdict(facts),
        _steering(view),
        _happenings(facts),
        _specification(view),
        _footer(facts),
    )
    body = node("body", {}, *(part for part in parts if part is not None))
    return "<!doctype html>\n" + html_text(node("html", {"lang": "en"}, head, body)) + "\n"


def _header(facts: RunFacts) -> Element:
    view = facts.view
    state = node("span", {"class": f"state {view.state}"}, str(view.state))
    line = node("p", {}, state, view.reason)
    when = (
        f"{view.spec.algorithm} · submitted {time_text(view.created_at)} · as of {time_text(facts.taken_at)}"
    )
    return node("header", {}, node("h1", {}, view.job_id), soft(when), line)


def _tiles(facts: RunFacts) -> Element:
    view = facts.view
    tiles = {"rounds of training": f"{view.rounds:,} of {view.max_rounds:,}", "loss": number_text(view.loss)}
    tiles |= {name.replace("_", " "): number_text(score) for name, score in view.scores.items()}
    tiles |= {
        "time": seconds_text(view.seconds),
        "rows a second": f"{view.rows_per_second:,.0f}",
        "rows": f"{view.rows:,} in {counted(view.shards, 'shard')}",
        "retries": f"{view.retries:,}",
    }
    if facts.goodput is not None:
        tiles["goodput"] = share_text(facts.goodput)
    if view.compression is not None:
        tiles["sent"] = bytes_text(view.compression.wire_bytes_up + view.compression.wire_bytes_down)
    return div("tiles", *(div("tile", node("b", {}, v), node("span", {}, k)) for k, v in tiles.items()))


def _curves(facts: RunFacts) -> Element:
    curves = []
    for name, field in (("loss", "loss"), ("validation loss", "validation_loss")):
        stretches = [
            [(float(r.done.round), y) for r in stretch if (y := getattr(r.done, field)) is not None]
            for stretch in facts.segments()
        ]
        if any(stretches):
            curves.append(Curve(name, stretches))
    parts: list[Child] = []
    if curves:
        parts.append(line_chart(curves, facts.marks, label="loss"))
    else:
        parts.append(soft("This job has told no loss."))
    rate = [
        (float(r.done.round), r.done.learning_rate) for r in facts.rounds if r.done.learning_rate is not None
    ]
    if len({y for _, y in rate}) > 1:
        parts.append(line_chart([Curve("learning rate", [rate])], facts.marks, label="learning rate"))
    if facts.first_events_gone:
        first = facts.rounds[0].done.round if facts.rounds else 0
        parts.append(soft(f"Earlier events are no longer kept: what is drawn begins with round {first}."))
    if facts.marks:
        parts.append(
            soft("Dashed lines are what people changed; the numbers are those of the steering log below.")
        )
    if facts.view.scores:
        scores = [(name, number_text(score)) for name, score in facts.view.scores.items()]
        parts += [node("h3", {}, "Scores on the rows held out"), table(("score", "value"), scores)]
    return section("Curves", *parts)


def _rounds(facts: RunFacts) -> Element | None:
    if not facts.rounds:
        return None
    stretches = [[(float(r.done.round), r.done.seconds) for r in stretch] for stretch in facts.segments()]
    chart = line_chart(
        [Curve("round", stretches)], facts.marks, label="time of a round", value=seconds_text, from_zero=True
    )
    times = sorted(r.done.seconds for r in facts.rounds)
    said = ", ".join(
        f"{name} {seconds_text(times[min(len(times) - 1, int(share * len(times)))])}"
        for name, share in (("half took at most", 0.5), ("95 % at most", 0.95), ("the longest", 1.0))
    )
    return section("Round time", chart, soft(f"Of {counted(len(times), 'round')} {said}."))


def _retries(facts: RunFacts) -> Element:
    parts: list[Child] = []
    if facts.retries:
        rows = [
            (reason, str(sum(workers.values())), ", ".join(f"{w} {n}" for w, n in workers.items()))
            for reason, workers in facts.retries.items()
        ]
        parts.append(table(("reason", "tries again", "by worker"), rows))
    else:
        parts.append(soft("No task had to be tried again."))
    lost: dict[str, float] = {}
    for load in facts.loads:
        for why, seconds in load.totals.lost_s.items():
            lost[why] = lost.get(why, 0.0) + seconds
    if any(lost.values()):
        rows_of_lost = [
            (why.replace("_", " "), seconds_text(seconds)) for why, seconds in lost.items() if seconds
        ]
        parts += [node("h3", {}, "Computed in vain"), table(("why", "workers' time"), rows_of_lost)]
    return section("Retries", *parts)


def _bytes(view: JobView) -> Element | None:
    ledger = view.compression
    if ledger is None:
        return None
    rows = [
        _traffic("up: sums from workers", ledger.codec, ledger.raw_bytes_up, ledger.wire_bytes_up),
        _traffic(
            "down: parameters to workers", ledger.downlink, ledger.raw_bytes_down, ledger.wire_bytes_down
        ),
    ]
    parts: list[Child] = [table(("", "codec now", "raw", "on the wire", "times smaller"), rows)]
    if ledger.reason:
        parts.append(soft(f"{ledger.codec} was picked: {ledger.reason}."))
    if ledger.encode_seconds or ledger.decode_seconds:
        error = (
            ""
            if ledger.relative_error is None
            else f" Its error was {ledger.relative_error:.3g} of the gradient."
        )
        spent = f"{seconds_text(ledger.encode_seconds)} to encode, {seconds_text(ledger.decode_seconds)} to decode."
        parts.append(soft(f"All workers together: {spent}{error}"))
    return section("Bytes", *parts)


def _traffic(what: str, codec: str, raw: int, wire: int) -> tuple[str, ...]:
    return what, codec, bytes_text(raw), bytes_text(wire), f"{raw / wire:.2f}" if wire else "-"


def _steering(view: JobView) -> Element:
    if not view.steering:
        return section("Steering log", soft("Nobody has changed anything."))
    rows = [
        (str(i), str(one.at_round), one.field, one.old or "-", one.new or "-", one.who, time_text(one.at))
        for i, one in enumerate(view.steering, 1)
    ]
    head = ("", "from round", "what", "from", "to", "who", "when")
    return section("Steering log", table(head, rows, numbers=False))


def _happenings(facts: RunFacts) -> Element:
    shown = facts.happenings[-MAX_HAPPENINGS:]
    rows = [(time_text(event.at), _sentence(event)) for event in shown]
    parts: list[Child] = [table(("when", "what"), rows, numbers=False)]
    if len(shown) < len(facts.happenings):
        parts.append(soft(f"The last {len(shown)} of {len(facts.happenings)}."))
    return section("Events", *parts)


def _sentence(event: JobEvent) -> str:
    match event.what:
        case StateChanged(state, reason):
            return f"{state}: {reason}" if reason else str(state)
        case TaskRetried(reason, worker, shards, attempt, detail):
            return (
                f"shards {shards} of {worker} again, try {attempt} ({reason}){': ' if detail else ''}{detail}"
            )
        case Note(text):
            return text
        case _:
            return ""


def _specification(view: JobView) -> Element:
    spec = view.spec
    rows = {
        "algorithm": spec.algorithm,
        "data": " ".join(spec.data.uris),
        "target": spec.data.target or "the file's own",
        **{f"settings.{name}": value for name, value in spec.settings.items()},
        "seed": str(spec.seed),
        "test fraction": f"{spec.test_fraction:g}",
        "placement": spec.placement or "balanced",
        "synchrony": spec.synchrony or "synchronous",
        "codec": spec.codec or "none",
        "downlink": spec.downlink or "none",
        "speculation": spec.speculation,
    }
    if view.parameters_sha256:
        rows["SHA-256 of the parameters"] = view.parameters_sha256
    lines = [(name, node("code", {}, value)) for name, value in rows.items()]
    return section("Specification", table(("", "as it is now"), lines, numbers=False))


def _footer(facts: RunFacts) -> Element:
    return node("footer", {}, f"Written by gradloom on {time_text(facts.taken_at)}. Times are local.")

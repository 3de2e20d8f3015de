"""The parts of a report about workers: what their time went to, and who was waited for. Pure."""

from xml.etree.ElementTree import Element

from gradloom.reports.charts import Bar, stacked_bars
from gradloom.reports.facts import RunFacts
from gradloom.reports.markup import Child, node, section, soft, table
from gradloom.reports.timeline import timeline
from gradloom.traces import QUERY, JobTrace
from gradloom.words import seconds_text, share_text

PARTS = ("compute", "load", "encode", "in vain", "waiting for others", "other")


def balance(facts: RunFacts) -> Element:
    """What workers' time went to, and who did what in the last rounds."""
    if not facts.loads:
        return _unknown(facts)
    shards = {share.worker: share.shards for share in facts.view.workers}
    bars = [
        Bar(
            load.totals.worker,
            (load.compute_s, load.load_s, load.encode_s, load.in_vain_s, load.waiting_s, load.other_s),
            f"{share_text(load.useful_s / load.held_s if load.held_s else 0.0)} useful",
        )
        for load in facts.loads
    ]
    rows = [
        (
            load.totals.worker,
            f"{load.totals.rows:,}",
            f"{load.totals.tasks:,}",
            str(shards.get(load.totals.worker, 0)),
            seconds_text(load.useful_s),
            seconds_text(load.waiting_s),
            seconds_text(load.in_vain_s),
            seconds_text(load.held_s),
        )
        for load in facts.loads
    ]
    head = ("worker", "rows", "tasks", "shards", "useful", "waiting", "in vain", "held")
    said = (
        f"Goodput {share_text(facts.goodput or 0.0)}: seconds on tasks that counted over seconds in which the job held "
        "workers. Held is from a worker's first task to its last, without pauses; other is messages on their way, the "
        "coordinator's work between rounds, and other jobs."
    )
    parts: list[Child] = [stacked_bars(bars, PARTS, seconds_text), table(head, rows), soft(said)]
    if not facts.whole:
        parts.append(soft("The coordinator was restarted since the job began: these figures begin there."))
    return section("Balance", *parts, *timeline(facts))


def _unknown(facts: RunFacts) -> Element:
    rows = [(s.worker, f"{s.rows:,}", share_text(s.busy_fraction), str(s.shards)) for s in facts.view.workers]
    parts: list[Child] = [soft(f"Where workers' time went is not known: {facts.no_trace_because}.")]
    return section("Balance", *parts, *([table(("worker", "rows", "busy", "shards"), rows)] if rows else []))


def _waited_in_s(trace: JobTrace) -> float:
    """Of the rounds in which waiting was counted, all steps but queries; 0 if some of them are gone."""
    if trace.head.dropped_rounds:
        return 0.0
    return sum(round_.seconds for round_ in trace.rounds if round_.step != QUERY)


def stragglers(facts: RunFacts) -> Element | None:
    """Who was slow and why, and how long rounds waited for it; None without a trace."""
    if facts.trace is None or not facts.loads:
        return None
    rounds = max(1, sum(load.totals.rounds_last for load in facts.loads))
    rows = [
        (
            load.totals.worker,
            ", ".join(f"{cause} {n}" for cause, n in load.totals.slow_rounds.items()) or "-",
            f"{load.totals.rounds_last:,} ({share_text(load.totals.rounds_last / rounds)})",
            seconds_text(load.totals.awaited_s),
        )
        for load in facts.loads
    ]
    lost_s = sum(load.totals.awaited_s for load in facts.loads)
    took_s = _waited_in_s(facts.trace)
    copies = facts.trace.head.copies
    said = f"All others had answered and a round waited for one worker: {seconds_text(lost_s)} in all"
    said += f", {share_text(lost_s / took_s)} of the time of all rounds." if lost_s <= took_s > 0 else "."
    head = ("worker", "slow rounds, by cause", "rounds it ended", "awaited alone")
    parts: list[Child] = [node("p", {}, said), table(head, rows)]
    if copies.launched:
        parts.append(
            node(
                "p",
                {},
                f"Copies of late tasks: {copies.launched} made, {copies.won} won, {copies.lost} lost, "
                f"{copies.cancelled} called off. They saved at least {seconds_text(copies.saved_s)} and cost "
                f"{seconds_text(copies.wasted_s)}.",
            )
        )
    return section("Stragglers and what they cost", *parts)

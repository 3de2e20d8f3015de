"""Whether the cluster was worth it: the number of workers at which it beats one machine, with the formula. Pure."""

from xml.etree.ElementTree import Element

from gradloom.reports.charts import Curve, line_chart
from gradloom.reports.facts import RunFacts
from gradloom.reports.markup import node, table
from gradloom.reports.scaling import Scaling, scaling_of
from gradloom.words import seconds_text

SOURCE = (
    "T(n) = r·C/n + H if the overhead stays, r·C/n + H·n/W if every worker adds to it: what a round takes with n "
    "workers, against C on one machine. C is "
    "what all workers together loaded and computed in a round; r how uneven it was; H what the round took beyond "
    "r·C/W (messages, bytes on the wire, the coordinator), so that T(W) is the round as measured; W the workers there "
    "were. The form is that of "
    "Ernest (Venkataraman et al., NSDI 2016), the question McSherry's COST (HotOS 2015). One machine here is one such "
    "worker with all rows in memory; workers that share a machine's cores or memory compute slower than one alone, "
    "which makes C too large and the answer too good."
)


def verdict(facts: RunFacts) -> Element:
    """The section with the answer, or why there is none."""
    heading = node("h2", {}, "From how many workers on it beats one machine")
    found = scaling_of(facts.trace, facts.synchrony)
    if isinstance(found, str):
        why = facts.no_trace_because if facts.trace is None else found
        return node("section", {}, heading, node("p", {}, f"That can't be known: {why}."), _source())
    answer = node("p", {}, node("b", {}, f"It beats one machine {found.answer}."), _speedup(found))
    return node("section", {}, heading, answer, _measured(found), _chart(found), _source())


def _source() -> Element:
    return node("p", {"class": "soft"}, SOURCE)


def _speedup(found: Scaling) -> str:
    with_ = f" With {found.workers}, a round took {seconds_text(found.round_s)}; one machine would compute "
    ratio = found.speedup
    said = f"{ratio:.2f} times as fast" if ratio >= 1 else f"{1 / ratio:.2f} times as slow"
    return f"{with_}{seconds_text(found.compute_s)}: the cluster is {said}."


def _measured(found: Scaling) -> Element:
    rows = [
        ("C, computing of all workers", seconds_text(found.compute_s)),
        ("r, unevenness", f"{found.unevenness:.2f}"),
        ("H, overhead of a round", seconds_text(found.overhead_s)),
        ("W, workers", str(found.workers)),
        ("rounds that were looked at", f"{found.rounds:,}"),
    ]
    return table(("medians of the traced rounds", ""), rows)


def _chart(found: Scaling) -> Element:
    last = max(8, 2 * found.workers, 2 * (found.if_fixed or 4))
    workers = sorted({round(1 + (last - 1) * i / 60) for i in range(61)})
    curves = [
        Curve("one machine", [[(float(n), found.compute_s) for n in workers]]),
        Curve("overhead stays", [[(float(n), found.seconds_with(n, growing=False)) for n in workers]]),
        Curve("overhead grows", [[(float(n), found.seconds_with(n, growing=True)) for n in workers]]),
    ]
    return line_chart(curves, label="a round, by the number of workers", axis="workers", value=seconds_text)

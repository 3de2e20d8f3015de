"""The last rounds of a run, drawn as lanes: who computed when, and what was in vain. Pure."""

from xml.etree.ElementTree import Element

from gradloom.reports.charts import Stretch, lanes
from gradloom.reports.computing import Computed, computed_of
from gradloom.reports.facts import RunFacts
from gradloom.reports.markup import node
from gradloom.traces import TRAINING
from gradloom.words import counted, seconds_text

SHOWN_ROUNDS = 6
MAX_TASKS = 1500
"""More boxes make a page slow, and are too narrow to be seen."""
MAX_LANES = 40
KINDS = ("compute", "load", "encode", "in vain")


def timeline(facts: RunFacts) -> list[Element]:
    """A heading, the lanes of the last rounds of training, and how to read them; nothing without a trace."""
    if facts.trace is None:
        return []
    rounds = [r for r in facts.trace.rounds if r.step == TRAINING][-SHOWN_ROUNDS:]
    numbers = {r.number for r in rounds}
    tasks = [task for task in computed_of(facts.trace.tasks) if task.span.round in numbers][-MAX_TASKS:]
    if not tasks:
        return []
    names = sorted({task.span.worker for task in tasks})
    shown = [load.totals.worker for load in facts.loads if load.totals.worker in names][:MAX_LANES]
    stretches = [one for task in tasks if task.span.worker in shown for one in _stretches(task)]
    lines = [(r.opened_at, float(r.training_round)) for r in rounds if r.opened_at >= tasks[0].start_at - 1.0]
    said = f"The last {counted(len(rounds), 'round')} of training; lines are where a round began. "
    said += "When a task ran is reckoned from what its worker said and from when its answer came."
    if len(shown) < len(names):
        said += f" {len(shown)} of {len(names)} workers are shown."
    return [
        node("h3", {}, "The last rounds"),
        lanes(shown, stretches, lines, KINDS),
        node("p", {"class": "soft"}, said),
    ]


def _stretches(task: Computed) -> list[Stretch]:
    span, found = task.span, []
    title = f"{span.worker}, shards {span.shards}, try {span.attempt}{', a copy' if span.is_copy else ''}"
    if not span.counted:
        why = f"{title}: in vain ({span.lost_because.replace('_', ' ')}), {seconds_text(span.compute_s)}"
        return (
            [Stretch(span.worker, task.start_at, task.end_at, KINDS.index("in vain"), why)]
            if span.compute_s
            else []
        )
    for phase in task.phases:
        if phase.seconds > 0:
            said = f"{title}: {phase.name} {seconds_text(phase.seconds)}"
            found.append(
                Stretch(
                    span.worker, phase.start_at, phase.start_at + phase.seconds, KINDS.index(phase.name), said
                )
            )
    return found

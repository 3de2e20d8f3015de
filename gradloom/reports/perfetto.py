"""A run in the Trace Event Format, which Perfetto (ui.perfetto.dev) and chrome://tracing show. Pure.

A process for the job with its rounds, and one for each worker: what it computed (load, compute, encode within the
task), and what lay in its hands. What was in vain is marked where it ended, with an arrow to the next try; a copy has
an arrow from the task that it copies. Times are microseconds since the trace's begin.

Format: "Trace Event Format", Google, docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, pairwise
from math import isfinite

from gradloom.jobs import JobEvent, Note, RoundCompleted, StateChanged, TaskRetried
from gradloom.reports.computing import Computed, computed_of
from gradloom.reports.facts import RunFacts
from gradloom.reports.speeds import speeds_of, usual_round, values
from gradloom.traces import JobTrace, RoundSpan, TaskSpan

JOB = 1
"""The process that stands for the job."""
COMPUTING, IN_HAND = 1, 2
"""The threads of a worker's process."""

Event = dict[str, object]


def trace_file(facts: RunFacts) -> dict[str, object]:
    """What is written to the file: events, and the speeds that ``gradloom simulate`` reads."""
    trace = facts.trace or JobTrace()
    return {
        "traceEvents": list(events_of(facts)),
        "displayTimeUnit": "ms",
        "otherData": {
            "job_id": facts.view.job_id,
            "algorithm": facts.view.spec.algorithm,
            "began_at": str(_began(trace)),
            "dropped_tasks": str(trace.head.dropped_tasks),
            "round_s": str(usual_round(trace)),
        },
        "speeds": values(speeds_of(trace)),
    }


def events_of(facts: RunFacts) -> Iterator[Event]:
    """All events, each process' name first."""
    trace = facts.trace or JobTrace()
    began = _began(trace)
    processes = {name: pid for pid, name in enumerate(sorted({t.worker for t in trace.tasks}), JOB + 1)}
    yield from _names(facts.view.job_id, processes)
    computed = computed_of(trace.tasks)
    yield from _rounds(trace.rounds, computed, began)
    yield from _happenings(facts.events, began)
    yield from _tasks(computed, processes, began)
    for number, span in enumerate(trace.tasks, 1):
        yield from _in_hand(span, processes[span.worker], number, began)
    yield from _arrows(computed, processes, began)


def _began(trace: JobTrace) -> float:
    """When the first thing that is kept began, seconds since the epoch."""
    moments = [t.given_at for t in trace.tasks] + [r.opened_at for r in trace.rounds]
    return min(moments, default=trace.head.since)


def _micros(at: float, began: float) -> float:
    return round(1e6 * (at - began), 3)


def _names(job_id: str, processes: Mapping[str, int]) -> Iterator[Event]:
    yield _meta("process_name", JOB, 0, {"name": f"job {job_id}"})
    yield _meta("process_sort_index", JOB, 0, {"sort_index": 0})
    yield _meta("thread_name", JOB, COMPUTING, {"name": "rounds"})
    for worker, pid in processes.items():
        yield _meta("process_name", pid, 0, {"name": f"worker {worker}"})
        yield _meta("process_sort_index", pid, 0, {"sort_index": pid})
        yield _meta("thread_name", pid, COMPUTING, {"name": "computes"})
        yield _meta("thread_name", pid, IN_HAND, {"name": "in hand"})


def _meta(name: str, pid: int, tid: int, args: Mapping[str, object]) -> Event:
    return {"name": name, "ph": "M", "ts": 0, "pid": pid, "tid": tid, "args": dict(args)}


def _slice(
    name: str, category: str, start: float, end: float, began: float, place: tuple[int, int], args: Event
) -> Event:
    start_ns, end_ns = (round(1e9 * (at - began)) for at in (start, end))
    return _slice_ns(name, category, start_ns, max(0, end_ns - start_ns), place, args)


def _slice_ns(name: str, category: str, start_ns: int, ns: int, place: tuple[int, int], args: Event) -> Event:
    """Something that lasted."""
    times = {"ts": start_ns / 1000, "dur": ns / 1000}
    return {"name": name, "cat": category, "ph": "X", **times, "pid": place[0], "tid": place[1], "args": args}


def _rounds(rounds: Sequence[RoundSpan], computed: Sequence[Computed], began: float) -> Iterator[Event]:
    """Each round, and within it the time in which all had answered but one worker."""
    answers: dict[int, dict[str, float]] = defaultdict(dict)
    tasks: dict[int, int] = defaultdict(int)
    for task in computed:
        tasks[task.span.round] += 1
        if task.span.counted:
            answers[task.span.round][task.span.worker] = task.span.ended_at
    for span in rounds:
        name = f"round {span.training_round}" if span.training_round else span.step
        args: Event = {"step": span.step, "number": span.number, "tasks": tasks[span.number]}
        place = JOB, COMPUTING
        yield _slice(name, "round", span.opened_at, span.closed_at, began, place, args)
        last = sorted(answers[span.number].items(), key=lambda one: one[1])[-2:]
        if len(last) == 2 and span.opened_at <= last[0][1] < last[1][1] <= span.closed_at:
            (_, since), (worker, until) = last
            yield _slice(f"waits for {worker}", "awaited", since, until, began, place, {"worker": worker})


def _happenings(events: Sequence[JobEvent], began: float) -> Iterator[Event]:
    """What people and faults did, and the loss as a curve; only what lies within the trace."""
    for event in events:
        if event.at < began:
            continue
        at: Event = {"ts": _micros(event.at, began), "pid": JOB, "tid": COMPUTING}
        match event.what:
            case RoundCompleted() as done:
                if done.loss is not None and isfinite(done.loss):
                    yield {"name": "loss", "cat": "loss", "ph": "C", **at, "args": {"loss": done.loss}}
            case StateChanged(state, reason):
                yield _instant(f"{state}: {reason}", "state", at)
            case TaskRetried(reason, worker, shards, _, _):
                yield _instant(f"shards {shards} of {worker} again: {reason}", "retry", at)
            case Note(text):
                yield _instant(text, "note", at)


def _instant(name: str, category: str, at: Event, scope: str = "p") -> Event:
    return {"name": name, "cat": category, "ph": "i", "s": scope, **at, "args": {}}


def _tasks(computed: Sequence[Computed], processes: Mapping[str, int], began: float) -> Iterator[Event]:
    """Each task with its phases within it; in whole nanoseconds, so that nothing overlaps by rounding."""
    free_ns: dict[int, int] = {}
    for task in computed:
        span, pid = task.span, processes[task.span.worker]
        start_ns = max(round(1e9 * (task.start_at - began)), free_ns.get(pid, 0))
        phases_ns = [(phase.name, round(1e9 * phase.seconds)) for phase in task.phases]
        end_ns = free_ns[pid] = start_ns + sum(ns for _, ns in phases_ns)
        name = f"shards {span.shards}" + (" (copy)" if span.is_copy else "")
        category = "task" if span.counted else "in vain"
        yield _slice_ns(name, category, start_ns, end_ns - start_ns, (pid, COMPUTING), _args(span))
        if not span.counted:
            at: Event = {"ts": end_ns / 1000, "pid": pid, "tid": COMPUTING}
            yield _instant(f"in vain: {span.lost_because}", "in vain", at, "t")
            continue
        for phase, ns in phases_ns:
            if ns:
                yield _slice_ns(phase, "phase", start_ns, ns, (pid, COMPUTING), {})
            start_ns += ns


def _args(span: TaskSpan) -> Event:
    return {
        "round": span.round,
        "try": span.attempt,
        "rows": span.rows,
        "copy": span.is_copy,
        "outcome": span.lost_because or "counted",
        "queue_s": span.queue_s,
        "transit_s": span.transit_s,
    }


def _in_hand(span: TaskSpan, pid: int, number: int, began: float) -> Iterator[Event]:
    """From the moment it was given until its answer was there; several overlap."""
    both: Event = {
        "name": f"shards {span.shards}",
        "cat": "in hand",
        "id": number,
        "pid": pid,
        "tid": IN_HAND,
    }
    yield {**both, "ph": "b", "ts": _micros(span.given_at, began), "args": {"try": span.attempt}}
    yield {**both, "ph": "e", "ts": _micros(max(span.ended_at, span.given_at), began), "args": {}}


def _arrows(computed: Sequence[Computed], processes: Mapping[str, int], began: float) -> Iterator[Event]:
    """From what came to nothing to the try after it, and from what was copied to its copy."""
    numbers = count(1)
    tries: dict[tuple[int, int, int], list[Computed]] = defaultdict(list)
    for task in computed:
        tries[task.span.round, task.span.lo, task.span.hi].append(task)
    for each in tries.values():
        in_order = sorted(each, key=lambda one: one.span.attempt)
        for before, after in pairwise(in_order):
            kind = "copied" if after.span.is_copy else "tried again"
            ends = ((before, "s", before.start_at), (after, "f", after.start_at))
            number = next(numbers)
            for task, phase, at in ends:
                event: Event = {
                    "name": kind,
                    "cat": "try",
                    "ph": phase,
                    "id": number,
                    "ts": _micros(at, began),
                }
                event |= {"pid": processes[task.span.worker], "tid": COMPUTING}
                yield event | ({"bp": "e"} if phase == "f" else {})

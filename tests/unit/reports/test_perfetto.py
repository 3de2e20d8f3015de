"""The trace file keeps to the Trace Event Format, and tells of rounds, tasks, retries and copies."""

import json
import math
from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest

from builders.runs import BEGAN, completed, even_trace, facts, numbered, round_span, task, trace
from gradloom.jobs import Note
from gradloom.reports.perfetto import trace_file
from gradloom.traces import JobTrace

NEEDED = {
    "M": {"name", "ph", "pid", "tid", "args"},
    "X": {"name", "cat", "ph", "ts", "dur", "pid", "tid", "args"},
    "i": {"name", "cat", "ph", "ts", "pid", "tid", "s"},
    "C": {"name", "ph", "ts", "pid", "args"},
    "b": {"name", "cat", "ph", "ts", "pid", "tid", "id"},
    "e": {"name", "cat", "ph", "ts", "pid", "tid", "id"},
    "s": {"name", "cat", "ph", "ts", "pid", "tid", "id"},
    "f": {"name", "cat", "ph", "ts", "pid", "tid", "id", "bp"},
}
"""What the format asks of each kind of event."""


def busy_trace() -> JobTrace:
    """A round with a retry and a copy, and one after it."""
    tasks = [
        task("a", 2, 0, start=0.1, compute_s=1.0, load_s=0.3, transit_s=0.1),
        task("b", 2, 1, start=0.1, compute_s=0.5, lost="nonfinite"),
        task("a", 2, 1, start=1.5, compute_s=1.0, attempt=2),
        task("b", 2, 2, start=0.7, compute_s=3.0, lost="superseded"),
        task("c", 2, 2, start=2.2, compute_s=0.5, attempt=2, is_copy=True),
        task("a", 3, 0, start=4.0, compute_s=1.0 / 3.0),
        task("b", 3, 1, start=4.0, compute_s=2.0 / 3.0),
    ]
    return trace(
        [round_span(1, -1.0, 0.0, "profile"), round_span(2, 0.0, 3.8), round_span(3, 3.9, 5.0)], tasks
    )


def written(traced: JobTrace | None = None, *events: Any) -> dict[str, Any]:
    """The file as somebody reads it who knows nothing of us."""
    return json.loads(
        json.dumps(trace_file(facts(events=list(events), traced=traced or busy_trace())), allow_nan=False)
    )


def events_of(traced: JobTrace | None = None, **wanted: Any) -> list[dict[str, Any]]:
    every = written(traced)["traceEvents"]
    return [event for event in every if all(event.get(key) == value for key, value in wanted.items())]


def check_format(file: dict[str, Any]) -> None:
    """Assert what the Trace Event Format asks for; nothing here knows what the trace is of."""
    assert file["displayTimeUnit"] in ("ms", "ns")
    assert all(isinstance(value, str) for value in file["otherData"].values())
    opened: dict[tuple[str, Any], float] = {}
    flows: dict[Any, dict[str, Any]] = {}
    slices: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for event in file["traceEvents"]:
        assert NEEDED[event["ph"]] <= set(event), event
        assert isinstance(event["pid"], int)
        assert math.isfinite(event["ts"])
        assert event["ts"] >= 0
        match event["ph"]:
            case "X":
                assert event["dur"] >= 0
                slices[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
            case "i":
                assert event["s"] in ("g", "p", "t")
            case "C":
                assert all(isinstance(value, int | float) for value in event["args"].values())
            case "b":
                opened[event["cat"], event["id"]] = event["ts"]
            case "e":
                assert opened.pop((event["cat"], event["id"])) <= event["ts"]
            case "s":
                flows[event["id"]] = event
            case "f":
                start = flows.pop(event["id"])
                assert (start["name"], start["cat"]) == (event["name"], event["cat"])
    assert opened == {}
    assert flows == {}
    for lane in slices.values():
        check_nesting(lane)


def check_nesting(lane: list[tuple[float, float]]) -> None:
    """Slices of a thread lie within each other or side by side, to the nanosecond."""
    stack: list[float] = []
    for start, end in sorted(
        ((round(1000 * a), round(1000 * b)) for a, b in lane), key=lambda s: (s[0], -s[1])
    ):
        while stack and stack[-1] <= start:
            stack.pop()
        assert not stack or end <= stack[-1], f"{start}-{end} sticks out of what ends at {stack[-1]}"
        stack.append(end)


@pytest.mark.parametrize(
    "traced", [busy_trace(), even_trace(), even_trace(rounds=50, workers=3, compute_s=1 / 7), trace([], [])]
)
def test_the_file_keeps_to_the_format(traced: JobTrace) -> None:
    check_format(written(traced, *numbered(completed(1), Note("n"))))


def test_times_by_the_epoch_do_not_make_slices_overlap() -> None:
    at = 0.0
    tasks = []
    for i in range(300):
        tasks.append(task("a", 2, i, start=at, compute_s=0.0000137 * (i + 1), load_s=1e-7 * i))
        at += tasks[-1].busy_s
    check_format(written(trace([round_span(2, 0.0, at)], tasks)))


def test_a_process_for_the_job_and_one_for_each_worker() -> None:
    names = {event["pid"]: event["args"]["name"] for event in events_of(name="process_name")}
    assert names == {1: "job job-1", 2: "worker a", 3: "worker b", 4: "worker c"}


def test_rounds_are_named_as_people_count_them() -> None:
    assert [event["name"] for event in events_of(ph="X", cat="round")] == ["profile", "round 1", "round 2"]


def test_whom_a_round_waited_for() -> None:
    first, second = events_of(ph="X", cat="awaited")
    assert (first["name"], first["dur"]) == ("waits for c", pytest.approx(2e5, rel=1e-3))
    assert second["name"] == "waits for b"
    assert second["dur"] == pytest.approx(1e6 / 3, rel=1e-3)


def test_a_task_holds_its_phases() -> None:
    first = next(event for event in events_of(ph="X", cat="task") if event["name"] == "shards 0")
    phases = [
        e
        for e in events_of(ph="X", cat="phase")
        if first["ts"] <= e["ts"] < first["ts"] + first["dur"] and e["pid"] == 2
    ]
    assert [(e["name"], pytest.approx(e["dur"], abs=1)) for e in phases] == [("load", 3e5), ("compute", 1e6)]
    assert first["args"]["outcome"] == "counted"
    assert first["args"]["rows"] == 100


def test_what_was_in_vain_is_marked_and_points_to_the_next_try() -> None:
    marks = [event["name"] for event in events_of(ph="i", cat="in vain")]
    assert marks == ["in vain: nonfinite", "in vain: superseded"]
    starts = {event["id"]: event for event in events_of(ph="s")}
    arrows = [(e["name"], starts[e["id"]]["pid"], e["pid"]) for e in events_of(ph="f")]
    assert sorted(arrows) == [("copied", 3, 4), ("tried again", 3, 2)]


def test_notes_and_the_loss_are_there_from_the_traces_begin_on() -> None:
    before, during = numbered(Note("before"), Note("during"))
    events = [
        replace(before, at=BEGAN - 100),
        during,
        *numbered(completed(1, loss=math.nan), completed(2, loss=0.5)),
    ]
    file = written(busy_trace(), *events)
    assert [e["name"] for e in file["traceEvents"] if e.get("cat") == "note"] == ["during"]
    assert [e["args"]["loss"] for e in file["traceEvents"] if e["ph"] == "C"] == [0.5]


def test_the_speeds_are_in_the_file() -> None:
    speeds = written()["speeds"]
    assert {record["worker"] for record in speeds} == {"a", "b", "c"}
    assert all(set(record) == {"worker", "at_s", "seconds_per_row"} for record in speeds)

"""A trace crosses the wire and is the same; what a newer coordinator says is not refused."""

import pytest

from builders.runs import even_trace, task, trace
from gradloom.traces import CopyTotals, JobTrace, TaskSpan, TraceHead, WorkerTotals
from gradloom.v1 import job_service_pb2, trace_pb2
from gradloom.wire.traces import UNSAID, head_to_proto, spans_to_proto, trace_from_proto

FULL = TraceHead(
    workers=(
        WorkerTotals(
            "w",
            1.7e9,
            9.5,
            3,
            300,
            0.1,
            0.2,
            0.3,
            0.4,
            0.5,
            {"a": 1.5, "b": 0.5},
            2,
            0.75,
            {"compute": 2, "network": 1},
        ),
        WorkerTotals("v", 1.7e9, 0.0),
    ),
    copies=CopyTotals(5, 3, 1, 1, 2.5, 0.5),
    since=1.7e9,
    dropped_tasks=7,
    dropped_rounds=1,
    training_rounds=12,
    training_s=6.5,
)


def sent(whole: JobTrace) -> JobTrace:
    """By bytes, in three messages."""
    messages = [job_service_pb2.GetTraceResponse(head=head_to_proto(whole.head))]
    messages += [spans_to_proto(rounds=whole.rounds), spans_to_proto(tasks=whole.tasks)]
    again = [job_service_pb2.GetTraceResponse.FromString(one.SerializeToString()) for one in messages]
    return trace_from_proto(again)


def test_the_head_arrives_as_it_was() -> None:
    assert sent(JobTrace(FULL)).head == FULL


def test_spans_arrive_as_they_were() -> None:
    spans = [
        task("w", 2**33 + 1, 4, start=1.0, compute_s=0.5, load_s=0.25),
        task("v", 2**33 + 1, 5, start=1.0, compute_s=0.5, attempt=3, is_copy=True, lost="superseded"),
    ]
    whole = trace(even_trace().rounds, spans)
    back = sent(whole)
    assert [(r.number, r.step, r.training_round) for r in back.rounds] == [
        (r.number, r.step, r.training_round) for r in whole.rounds
    ]
    for before, after in zip(whole.tasks, back.tasks, strict=True):
        assert after.given_at == pytest.approx(before.given_at, abs=1e-6)
        assert after.ended_at == pytest.approx(before.ended_at, abs=1e-6)
        assert _without_moments(after) == _without_moments(before)


def _without_moments(span: TaskSpan) -> tuple[object, ...]:
    phases = (span.queue_s, span.load_s, span.compute_s, span.encode_s)
    return (
        span.worker,
        span.round,
        span.lo,
        span.hi,
        span.attempt,
        span.is_copy,
        span.rows,
        phases,
        span.lost_because,
    )


def test_a_lost_task_without_a_reason_is_still_lost() -> None:
    message = job_service_pb2.GetTraceResponse(
        tasks=[trace_pb2.TaskSpan(outcome=trace_pb2.TASK_OUTCOME_LOST)]
    )
    assert trace_from_proto([message]).tasks[0].lost_because == UNSAID


def test_a_step_that_only_a_newer_coordinator_knows_is_no_error() -> None:
    message = job_service_pb2.GetTraceResponse(rounds=[trace_pb2.RoundSpan(number=1, step=77)])  # type: ignore[arg-type]
    assert trace_from_proto([message]).rounds[0].step == "unspecified"


def test_nothing_is_an_empty_trace() -> None:
    assert trace_from_proto([]).tasks == ()

"""Where a job's time went <-> protobuf. Nothing is checked or decided here."""

from collections.abc import Iterable, Sequence

from gradloom.traces import CopyTotals, JobTrace, RoundSpan, TaskSpan, TraceHead, WorkerTotals
from gradloom.v1 import job_service_pb2, trace_pb2, worker_pb2
from gradloom.wire.times import get_time, set_time

UNSAID = "unknown"
"""Why a task was in vain, if nobody says."""


def head_to_proto(head: TraceHead) -> trace_pb2.TraceHead:
    """What a trace begins with."""
    message = trace_pb2.TraceHead(
        workers=map(_worker_to_proto, head.workers),
        copies=trace_pb2.CopyTotals(
            launched=head.copies.launched,
            won=head.copies.won,
            lost=head.copies.lost,
            cancelled=head.copies.cancelled,
            saved_seconds=head.copies.saved_s,
            wasted_seconds=head.copies.wasted_s,
        ),
        dropped_tasks=head.dropped_tasks,
        dropped_rounds=head.dropped_rounds,
        training_rounds=head.training_rounds,
        training_seconds=head.training_s,
    )
    set_time(message.since, head.since)
    return message


def _head_from_proto(message: trace_pb2.TraceHead) -> TraceHead:
    copies = message.copies
    return TraceHead(
        workers=tuple(map(_worker_from_proto, message.workers)),
        copies=CopyTotals(
            copies.launched,
            copies.won,
            copies.lost,
            copies.cancelled,
            copies.saved_seconds,
            copies.wasted_seconds,
        ),
        since=get_time(message.since),
        dropped_tasks=message.dropped_tasks,
        dropped_rounds=message.dropped_rounds,
        training_rounds=message.training_rounds,
        training_s=message.training_seconds,
    )


def _worker_to_proto(totals: WorkerTotals) -> trace_pb2.WorkerTotals:
    message = trace_pb2.WorkerTotals(
        worker=totals.worker,
        held_seconds=totals.held_s,
        tasks=totals.tasks,
        rows=totals.rows,
        load_seconds=totals.load_s,
        compute_seconds=totals.compute_s,
        encode_seconds=totals.encode_s,
        transit_seconds=totals.transit_s,
        wait_seconds=totals.wait_s,
        lost_seconds=totals.lost_s,
        rounds_last=totals.rounds_last,
        awaited_seconds=totals.awaited_s,
        slow_rounds=totals.slow_rounds,
    )
    set_time(message.first_given_at, totals.first_given_at)
    return message


def _worker_from_proto(message: trace_pb2.WorkerTotals) -> WorkerTotals:
    return WorkerTotals(
        worker=message.worker,
        first_given_at=get_time(message.first_given_at),
        held_s=message.held_seconds,
        tasks=message.tasks,
        rows=message.rows,
        load_s=message.load_seconds,
        compute_s=message.compute_seconds,
        encode_s=message.encode_seconds,
        transit_s=message.transit_seconds,
        wait_s=message.wait_seconds,
        lost_s=dict(sorted(message.lost_seconds.items())),  # a protobuf map has no order
        rounds_last=message.rounds_last,
        awaited_s=message.awaited_seconds,
        slow_rounds=dict(sorted(message.slow_rounds.items())),
    )


def round_to_proto(span: RoundSpan) -> trace_pb2.RoundSpan:
    """One round."""
    message = trace_pb2.RoundSpan(
        number=span.number,
        step=worker_pb2.Step.Value(f"STEP_{span.step.upper()}"),
        training_round=span.training_round,
        seconds=span.seconds,
    )
    set_time(message.opened_at, span.opened_at)
    return message


def _round_from_proto(message: trace_pb2.RoundSpan) -> RoundSpan:
    opened_at = get_time(message.opened_at)
    return RoundSpan(
        message.number,
        _step_name(message.step),
        message.training_round,
        opened_at,
        opened_at + message.seconds,
    )


def _step_name(number: "worker_pb2.Step.ValueType") -> str:
    """In words; one that only a newer coordinator knows is unspecified."""
    known = number if number in worker_pb2.Step.values() else worker_pb2.STEP_UNSPECIFIED
    return worker_pb2.Step.Name(known).removeprefix("STEP_").lower()


def task_to_proto(span: TaskSpan) -> trace_pb2.TaskSpan:
    """One task."""
    message = trace_pb2.TaskSpan(
        worker=span.worker,
        round=span.round,
        lo=span.lo,
        hi=span.hi,
        attempt=span.attempt,
        speculative=span.is_copy,
        rows=span.rows,
        seconds=span.ended_at - span.given_at,
        outcome=trace_pb2.TASK_OUTCOME_COUNTED if span.counted else trace_pb2.TASK_OUTCOME_LOST,
        reason=span.lost_because,
    )
    set_time(message.given_at, span.given_at)
    times = message.times
    times.queue_seconds, times.load_seconds = span.queue_s, span.load_s
    times.compute_seconds, times.encode_seconds = span.compute_s, span.encode_s
    return message


def _task_from_proto(message: trace_pb2.TaskSpan) -> TaskSpan:
    given_at, times = get_time(message.given_at), message.times
    counted = message.outcome == trace_pb2.TASK_OUTCOME_COUNTED
    return TaskSpan(
        worker=message.worker,
        round=message.round,
        lo=message.lo,
        hi=message.hi,
        attempt=message.attempt,
        is_copy=message.speculative,
        rows=message.rows,
        given_at=given_at,
        ended_at=given_at + message.seconds,
        queue_s=times.queue_seconds,
        load_s=times.load_seconds,
        compute_s=times.compute_seconds,
        encode_s=times.encode_seconds,
        lost_because="" if counted else message.reason or UNSAID,
    )


def spans_to_proto(
    rounds: Iterable[RoundSpan] = (), tasks: Iterable[TaskSpan] = ()
) -> job_service_pb2.GetTraceResponse:
    """A message of a trace after its first."""
    return job_service_pb2.GetTraceResponse(
        rounds=map(round_to_proto, rounds), tasks=map(task_to_proto, tasks)
    )


def trace_from_proto(messages: Sequence[job_service_pb2.GetTraceResponse]) -> JobTrace:
    """A whole trace."""
    head = next((one.head for one in messages if one.HasField("head")), trace_pb2.TraceHead())
    return JobTrace(
        head=_head_from_proto(head),
        rounds=tuple(_round_from_proto(span) for one in messages for span in one.rounds),
        tasks=tuple(_task_from_proto(span) for one in messages for span in one.tasks),
    )

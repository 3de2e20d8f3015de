"""Step, retry reason and task <-> protobuf: the small words of the worker's session."""

from gradloom.errors import WireError
from gradloom.jobs import RetryReason
from gradloom.steps import Step
from gradloom.v1 import worker_pb2

_STEPS = {
    Step.PROFILE: worker_pb2.STEP_PROFILE,
    Step.TRAIN: worker_pb2.STEP_TRAIN,
    Step.ASSESS: worker_pb2.STEP_ASSESS,
    Step.QUERY: worker_pb2.STEP_QUERY,
}
_FAILURES = {
    RetryReason.EXCEPTION: worker_pb2.FAILURE_REASON_EXCEPTION,
    RetryReason.OUT_OF_MEMORY: worker_pb2.FAILURE_REASON_OUT_OF_MEMORY,
    RetryReason.NONFINITE: worker_pb2.FAILURE_REASON_NONFINITE,
    RetryReason.CHECKSUM: worker_pb2.FAILURE_REASON_CHECKSUM,
    RetryReason.SHARD_CHANGED: worker_pb2.FAILURE_REASON_SHARD_CHANGED,
    RetryReason.BAD_DATA: worker_pb2.FAILURE_REASON_BAD_DATA,
}
_STEPS_BACK = {code: step for step, code in _STEPS.items()}
_FAILURES_BACK = {code: reason for reason, code in _FAILURES.items()}
assert set(_STEPS) == set(Step)
assert set(_FAILURES_BACK) == set(worker_pb2.FailureReason.values()) - {0}


def step_to_proto(step: Step) -> worker_pb2.Step.ValueType:
    """The step's number on the wire."""
    return _STEPS[step]


def step_from_proto(code: worker_pb2.Step.ValueType) -> Step:
    """The step. Raises WireError for one that this version does not know."""
    step = _STEPS_BACK.get(code)
    if step is None:
        raise WireError(f"step {code} is not known to this version of gradloom")
    return step


def failure_to_proto(reason: RetryReason) -> worker_pb2.FailureReason.ValueType:
    """The number of a reason that a worker may give."""
    return _FAILURES[reason]


def failure_from_proto(code: worker_pb2.FailureReason.ValueType) -> RetryReason:
    """The reason; one that this version does not know counts as an exception."""
    return _FAILURES_BACK.get(code, RetryReason.EXCEPTION)

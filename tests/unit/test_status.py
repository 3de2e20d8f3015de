"""An error that crosses the wire arrives as the same error."""

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from gradloom import errors
from gradloom.status import MAX_SENTENCE_BYTES, code_of, from_rpc_error, to_status

PLAIN = [
    errors.GradloomError,
    errors.NotFound,
    errors.EventsGone,
    errors.Conflict,
    errors.AlreadyExists,
    errors.Outdated,
    errors.Unauthenticated,
    errors.NotAllowed,
    errors.VersionMismatch,
    errors.Unavailable,
    errors.NotInTime,
    errors.NotLeading,
    errors.NotTrusted,
    errors.Overloaded,
    errors.TooManyCalls,
    errors.JobFailed,
    errors.JobCancelled,
    errors.ModelFileError,
    errors.WrongKey,
    errors.SealBroken,
    errors.WireError,
    errors.ChecksumMismatch,
    errors.FrameRefused,
]
WITH_FIELD = [
    errors.InvalidInput,
    errors.InvalidParameter,
    errors.DataError,
    errors.DataUnreachable,
    errors.StorageAway,
    errors.DataNotAllowed,
    errors.ShardChanged,
]


class FailedCall(grpc.RpcError):
    """What a client catches, without a socket."""

    def __init__(self, code, details, metadata=()):
        super().__init__(details)
        self._code, self._details, self._metadata = code, details, metadata

    def code(self):
        return self._code

    def details(self):
        return self._details

    def trailing_metadata(self):
        return self._metadata


@pytest.mark.parametrize(
    ("kind", "says_when"), [("Unavailable", True), ("Overloaded", True), ("NotFound", False)]
)
def test_what_is_unavailable_says_when_to_try_again(kind, says_when):
    retry = error_details_pb2.RetryInfo()
    details = [one for one in to_status(getattr(errors, kind)("not now")).details if one.Unpack(retry)]
    assert bool(details) is says_when
    assert (retry.retry_delay.seconds > 0) is says_when


def over_the_wire(error):
    status = rpc_status.to_status(to_status(error))
    return from_rpc_error(FailedCall(status.code, status.details, status.trailing_metadata), "host:1")


@pytest.mark.parametrize("kind", PLAIN)
def test_a_plain_error_comes_back_as_itself(kind):
    back = over_the_wire(kind("what was wrong, and what would be right"))
    assert type(back) is kind
    assert back.message == "what was wrong, and what would be right"


@pytest.mark.parametrize("kind", WITH_FIELD)
def test_a_field_comes_back_with_its_problem(kind):
    back = over_the_wire(kind("test_fraction", "1.5 is not allowed"))
    assert type(back) is kind
    assert (back.field, back.problem) == ("test_fraction", "1.5 is not allowed")
    assert str(back) == "test_fraction: 1.5 is not allowed"


def test_too_many_calls_say_exactly_when_one_may_call_again():
    back = over_the_wire(errors.TooManyCalls("slowly", retry_after_s=0.125))
    assert isinstance(back, errors.TooManyCalls)
    assert back.retry_after_s == 0.125


def test_every_error_of_the_tree_is_tested_here():
    def tree(kind):
        return {kind}.union(*(tree(child) for child in kind.__subclasses__()))

    ours = {kind for kind in tree(errors.GradloomError) if kind.__module__ == "gradloom.errors"}
    assert ours == {*PLAIN, *WITH_FIELD}


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.NotFound, grpc.StatusCode.NOT_FOUND),
        (errors.EventsGone, grpc.StatusCode.OUT_OF_RANGE),
        (errors.Conflict, grpc.StatusCode.FAILED_PRECONDITION),
        (errors.AlreadyExists, grpc.StatusCode.ALREADY_EXISTS),
        (errors.Outdated, grpc.StatusCode.ABORTED),
        (errors.Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
        (errors.NotAllowed, grpc.StatusCode.PERMISSION_DENIED),
        (errors.VersionMismatch, grpc.StatusCode.FAILED_PRECONDITION),
        (errors.Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.NotInTime, grpc.StatusCode.DEADLINE_EXCEEDED),
        (errors.JobCancelled, grpc.StatusCode.FAILED_PRECONDITION),
        (errors.GradloomError, grpc.StatusCode.INTERNAL),
    ],
)
def test_codes_are_those_that_the_protocol_promises(kind, code):
    assert code_of(kind("x")) is code


def test_data_errors_are_invalid_arguments():
    assert code_of(errors.DataError("a.csv", "x")) is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.Unavailable, "the cluster at host:1 can't be reached: refused"),
        (
            grpc.StatusCode.DEADLINE_EXCEEDED,
            errors.NotInTime,
            "the cluster at host:1 did not answer in time",
        ),
        (grpc.StatusCode.NOT_FOUND, errors.NotFound, "the cluster at host:1 answered NOT_FOUND: refused"),
        (grpc.StatusCode.OUT_OF_RANGE, errors.EventsGone, "OUT_OF_RANGE"),
        (grpc.StatusCode.INVALID_ARGUMENT, errors.GradloomError, "INVALID_ARGUMENT: refused"),
        (grpc.StatusCode.UNIMPLEMENTED, errors.GradloomError, "UNIMPLEMENTED: refused"),
    ],
)
def test_a_status_without_details_is_read_by_its_code(code, kind, words):
    back = from_rpc_error(FailedCall(code, "refused"), "host:1")
    assert type(back) is kind
    assert words in back.message


def test_an_error_class_that_only_a_newer_server_knows_is_read_by_its_code():
    newer = type("QuotaSpent", (errors.Unavailable,), {"__module__": "elsewhere"})
    status = to_status(newer("the quota is spent"))
    status.details[0].Pack(type_url_prefix="type.googleapis.com/", msg=_info("NeverHeardOf"))
    status = rpc_status.to_status(status)
    back = from_rpc_error(FailedCall(status.code, status.details, status.trailing_metadata))
    assert type(back) is errors.Unavailable
    assert back.message == "the quota is spent"


def test_details_that_contradict_the_status_are_not_believed():
    status = rpc_status.to_status(to_status(errors.NotFound("no such job")))
    back = from_rpc_error(FailedCall(grpc.StatusCode.UNAVAILABLE, "proxy timeout", status.trailing_metadata))
    assert type(back) is errors.Unavailable


def test_a_bare_rpc_error_is_still_one_of_ours():
    assert type(from_rpc_error(grpc.RpcError("odd"))) is errors.GradloomError


def test_a_sentence_too_long_for_http_trailers_is_cut_and_still_arrives(fake_cluster):
    fake_cluster.refusals = [errors.InvalidInput("target", "é" * 50_000)]
    with fake_cluster.client() as client, pytest.raises(errors.InvalidInput) as refused:
        client.jobs()
    assert refused.value.field == "target"
    assert refused.value.problem.startswith("ééé")
    assert len(refused.value.problem.encode()) <= MAX_SENTENCE_BYTES


def _info(reason):
    from google.rpc import error_details_pb2

    return error_details_pb2.ErrorInfo(reason=reason, domain="gradloom")

"""One table between gradloom's errors and gRPC status codes, read in both directions.

A refusal crosses the wire as a ``google.rpc.Status``: its message is the sentence, an ErrorInfo names the class,
a BadRequest names the field of an InvalidInput, and a RetryInfo says when to try again what is Unavailable. So the
client raises the very error that the server meant. No call is made and nothing is retried here.
"""

from collections.abc import Iterator
from typing import cast

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from gradloom import errors

DOMAIN = "gradloom"
MAX_SENTENCE_BYTES = 1000
"""A status travels in HTTP/2 trailers, of which gRPC takes 8 KiB; a sentence stands in them up to three times."""

RETRY_AFTER = Duration(seconds=1)
"""When to try again what is unavailable or overloaded now."""

# A subclass that is not listed has the code of its nearest listed ancestor.
_CODES: dict[type[errors.GradloomError], grpc.StatusCode] = {
    errors.GradloomError: grpc.StatusCode.INTERNAL,
    errors.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.EventsGone: grpc.StatusCode.OUT_OF_RANGE,
    errors.Conflict: grpc.StatusCode.FAILED_PRECONDITION,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.Outdated: grpc.StatusCode.ABORTED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.NotAllowed: grpc.StatusCode.PERMISSION_DENIED,
    errors.VersionMismatch: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.NotInTime: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.JobFailed: grpc.StatusCode.FAILED_PRECONDITION,
    errors.WireError: grpc.StatusCode.DATA_LOSS,
    errors.ModelFileError: grpc.StatusCode.DATA_LOSS,
}

# The same table backwards, for when no ErrorInfo says more; of several classes the first stands for a code.
_CLASSES: dict[grpc.StatusCode, type[errors.GradloomError]] = {
    code: kind for kind, code in reversed(_CODES.items())
}


def code_of(error: errors.GradloomError) -> grpc.StatusCode:
    """The gRPC status code that an error travels under."""
    return next(_CODES[kind] for kind in type(error).__mro__ if kind in _CODES)


def to_status(error: errors.GradloomError) -> status_pb2.Status:
    """An error as google.rpc.Status, for ``grpc_status.rpc_status.to_status`` and ``abort_with_status``.

    Sentences longer than MAX_SENTENCE_BYTES are cut.
    """
    number, _ = code_of(error).value
    status = status_pb2.Status(code=number, message=_shorten(error.message))
    _attach(status, error_details_pb2.ErrorInfo(reason=type(error).__name__, domain=DOMAIN))
    if isinstance(error, errors.InvalidInput):
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_shorten(error.field), description=_shorten(error.problem)
        )
        _attach(status, error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, errors.Unavailable):
        _attach(status, error_details_pb2.RetryInfo(retry_delay=_retry_after(error)))
    return status


def from_rpc_error(error: grpc.RpcError, address: str = "") -> errors.GradloomError:
    """The error that a failed call of grpc or grpc.aio stands for.

    ``address`` is the server that was called, for the message. The class comes from the details where gradloom
    sent them, else from the code; a code that the table does not hold gives a plain GradloomError.
    """
    if not hasattr(error, "code"):  # a bare RpcError, as some interceptors raise
        return errors.GradloomError(str(error))
    details = _details(error)
    info = error_details_pb2.ErrorInfo()
    for detail in details:
        if detail.Unpack(info) and info.domain == DOMAIN:
            return _rebuild(_class_named(info.reason, error.code()), error, details)
    return _without_details(error, address)


def _retry_after(error: errors.Unavailable) -> Duration:
    if not isinstance(error, errors.TooManyCalls):
        return RETRY_AFTER
    delay = Duration()
    delay.FromNanoseconds(round(error.retry_after_s * 1e9))
    return delay


def _shorten(sentence: str) -> str:
    encoded = sentence.encode("utf-8", "replace")
    if len(encoded) <= MAX_SENTENCE_BYTES:
        return encoded.decode()
    return encoded[: MAX_SENTENCE_BYTES - 4].decode("utf-8", "ignore") + " ..."


def _attach(status: status_pb2.Status, detail: Message) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)


def _details(error: grpc.RpcError) -> list[AnyMessage]:
    try:
        status = rpc_status.from_call(cast("grpc.Call", error))
    except ValueError:  # details that contradict the status: some proxy rewrote one of the two
        return []
    return [] if status is None else list(status.details)


def _class_named(name: str, code: grpc.StatusCode) -> type[errors.GradloomError]:
    known = {kind.__name__: kind for kind in _descendants(errors.GradloomError)}
    return known.get(name) or _CLASSES.get(code, errors.GradloomError)


def _descendants(kind: type[errors.GradloomError]) -> Iterator[type[errors.GradloomError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _descendants(child)


def _rebuild(
    kind: type[errors.GradloomError], error: grpc.RpcError, details: list[AnyMessage]
) -> errors.GradloomError:
    message = error.details() or kind.__name__
    if issubclass(kind, errors.TooManyCalls):
        return kind(message, _retry_delay_s(details))
    if not issubclass(kind, errors.InvalidInput):
        return kind(message)
    request = error_details_pb2.BadRequest()
    for detail in details:
        if detail.Unpack(request) and request.field_violations:
            violation = request.field_violations[0]
            return kind(violation.field, violation.description)
    return errors.GradloomError(message)


def _retry_delay_s(details: list[AnyMessage]) -> float:
    info = error_details_pb2.RetryInfo(retry_delay=RETRY_AFTER)
    for detail in details:
        if detail.Unpack(info):
            break
    return float(info.retry_delay.ToNanoseconds() / 1e9)


def _without_details(error: grpc.RpcError, address: str) -> errors.GradloomError:
    """Nobody of ours wrote this status: gRPC itself, a proxy, or a server that is not gradloom."""
    code, said = error.code(), error.details() or "no reason was given"
    where = f"the cluster at {address}" if address else "the cluster"
    if code is grpc.StatusCode.UNAVAILABLE:
        return errors.Unavailable(f"{where} can't be reached: {said}")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.NotInTime(f"{where} did not answer in time")
    kind = _CLASSES.get(code, errors.GradloomError)
    if issubclass(kind, errors.InvalidInput):  # no field is known
        kind = errors.GradloomError
    return kind(f"{where} answered {code.name}: {said}")

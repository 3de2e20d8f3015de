"""Faults <-> protobuf. Nothing is checked here but that the kind is known."""

from gradloom.errors import InvalidInput
from gradloom.faults import Fault, FaultKind
from gradloom.v1 import fault_pb2

_KINDS = {kind: fault_pb2.FaultKind.Value(f"FAULT_KIND_{kind.name}") for kind in FaultKind}
_KINDS_BACK = {number: kind for kind, number in _KINDS.items()}
assert set(_KINDS_BACK) == set(fault_pb2.FaultKind.values()) - {0}


def fault_to_proto(fault: Fault) -> fault_pb2.Fault:
    """The fault's message."""
    return fault_pb2.Fault(
        kind=_KINDS[fault.kind], seconds=fault.seconds, factor=fault.factor, count=fault.count
    )


def fault_from_proto(message: fault_pb2.Fault) -> Fault:
    """The fault. Raises InvalidInput for a kind that this version does not know."""
    kind = _KINDS_BACK.get(message.kind)
    if kind is None:
        raise InvalidInput.unknown_name("kind", str(message.kind), map(str, FaultKind))
    return Fault(kind, message.seconds, message.factor, message.count)

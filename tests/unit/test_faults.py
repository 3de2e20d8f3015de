"""Faults are refused when they mean nothing, with the field, the value and what is allowed."""

import pytest

from gradloom.cli.chaos import fault_of, seconds_of
from gradloom.errors import InvalidInput
from gradloom.faults import Fault, FaultKind
from gradloom.v1 import fault_pb2
from gradloom.wire.faults import fault_from_proto, fault_to_proto


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("slow", None, None, None), Fault(FaultKind.SLOW, 10.0, 5.0)),
        (("slow", "30s", 3.0, None), Fault(FaultKind.SLOW, 30.0, 3.0)),
        (("pause", "500ms", None, None), Fault(FaultKind.PAUSE, 0.5)),
        (("partition", "2 min", None, None), Fault(FaultKind.PARTITION, 120.0)),
        (("kill", None, None, None), Fault(FaultKind.KILL)),
        (("corrupt", None, None, 3), Fault(FaultKind.CORRUPT, count=3)),
        (("nan", None, None, None), Fault(FaultKind.NAN, count=1)),
    ],
)
def test_a_command_line_means_a_fault(
    words: tuple[str, str | None, float | None, int | None], fault: Fault
) -> None:
    assert fault_of(*words) == fault
    assert fault_from_proto(fault_to_proto(fault)) == fault


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("slo", None, None, None),
            "kind: 'slo' is not known; allowed: corrupt, kill, nan, partition, pause, slow. Did you mean 'slow'?",
        ),
        (
            ("slow", "soon", None, None),
            "for: 'soon' is not allowed; it must be a time like 30s, 500ms or 2min",
        ),
        (("slow", "2h", None, None), "for: '2h' is not allowed; it must be a time like 30s, 500ms or 2min"),
        (("slow", "0s", None, None), "for: 0 is not allowed; it must lie in (0, 3600]"),
        (("slow", None, 1.0, None), "factor: 1 is not allowed; it must lie in (1, 1000]"),
        (("slow", None, float("nan"), None), "factor: nan is not allowed; it must lie in (1, 1000]"),
        (("corrupt", None, None, 0), "count: 0 is not allowed; it must lie in (0, 1000]"),
        (("kill", "3s", None, None), "for: 3 has no meaning with kill; leave it out"),
        (("pause", None, 2.0, None), "factor: 2 has no meaning with pause; leave it out"),
        (("slow", None, None, 2), "count: 2 has no meaning with slow; leave it out"),
    ],
)
def test_what_means_nothing_is_refused(
    words: tuple[str, str | None, float | None, int | None], sentence: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        fault_of(*words)
    assert refusal.value.message == sentence


def test_plain_seconds_are_a_time() -> None:
    assert seconds_of("observe", "1.5") == 1.5


def test_a_kind_from_a_later_version_is_refused() -> None:
    with pytest.raises(InvalidInput, match="kind: '99' is not known"):
        fault_from_proto(fault_pb2.Fault(kind=99))  # type: ignore[arg-type]

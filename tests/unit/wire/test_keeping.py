"""What outlives a coordinator comes back as it was, or is refused."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradloom.data.manifest import Manifest
from gradloom.data.preparation import Preparation
from gradloom.jobs import JobEvent, JobState, JobView, Note, StateChanged
from gradloom.schema import Schema
from gradloom.specs import DataSpec, JobSpec
from gradloom.v1 import job_pb2
from gradloom.wire import keeping
from tests.unit.wire.test_data import counts, manifests, numbers, preparations, words


@given(manifests)
def test_a_manifest_comes_back(manifest: Manifest) -> None:
    assert keeping.manifest_from_bytes(keeping.manifest_to_bytes(manifest)) == manifest


@given(preparations, st.lists(words, max_size=3).map(tuple), words, counts, numbers)
def test_a_schema_comes_back_to_the_bit(
    preparation: Preparation, features: tuple[str, ...], target: str, rows: int, weight: float
) -> None:
    schema = Schema(features, target, preparation.classes, rows, rows // 2, rows // 3, weight, preparation)
    assert keeping.schema_from_bytes(keeping.schema_to_bytes(schema)) == schema


def test_a_specification_an_event_and_an_ended_job_come_back() -> None:
    spec = JobSpec(
        "logistic", DataSpec(("s3://b/ü.csv",), "y"), {"b": "2", "a": "1"}, 0.1, 7, share_weight=0.5
    )
    assert keeping.spec_from_bytes(keeping.spec_to_bytes(spec)) == spec
    event = JobEvent(2**40, 1.7e9, StateChanged(JobState.PAUSED, "no room"))
    assert keeping.event_from_bytes(keeping.event_to_bytes(event)) == event
    view = JobView(
        "job", spec, JobState.COMPLETED, "done", 1.7e9, 5, 9, 0.1, {"test_r2": 0.5}, 1.5, 2e6, 10, 2, 1
    )
    assert keeping.view_from_bytes(keeping.view_to_bytes(view)) == view


@pytest.mark.parametrize(
    "read",
    [
        keeping.spec_from_bytes,
        keeping.manifest_from_bytes,
        keeping.schema_from_bytes,
        keeping.event_from_bytes,
        keeping.view_from_bytes,
    ],
)
def test_bytes_that_mean_nothing_are_refused(read: Callable[[bytes], object]) -> None:
    with pytest.raises(ValueError, match=r"4 bytes are no \w+"):
        read(b"\xff\xff\xff\xff")


def test_a_state_of_a_newer_release_is_refused() -> None:
    message = job_pb2.JobEvent(sequence=1)
    message.state_changed.state = 99  # type: ignore[assignment]
    with pytest.raises(ValueError, match="job state 99 is not known"):
        keeping.event_from_bytes(message.SerializeToString())
    assert keeping.event_from_bytes(job_pb2.JobEvent(sequence=1).SerializeToString()).what == Note(
        "something happened that this version of gradloom has no words for"
    )

"""Workers, and what is told to those who watch, come out of protobuf as they went in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.rooms import a_job
from gradloom.errors import WireError
from gradloom.jobs import WorkerActivity, WorkerPhases, WorkerState, WorkerView
from gradloom.v1 import cluster_pb2
from gradloom.watching import ClusterChange
from gradloom.wire import cluster as wire

texts = st.text(max_size=20)
reals = st.floats(allow_nan=False)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
phases = st.builds(WorkerPhases, *[reals] * 8)
activities = st.builds(WorkerActivity, texts, texts, u64, u32, u32, u32, reals, st.booleans())
worker_views = st.builds(
    WorkerView,
    worker=texts,
    state=st.sampled_from(WorkerState),
    host=texts,
    pid=u32,
    cores=reals,
    memory_bytes=u64,
    version=texts,
    heartbeat_age_s=reals,
    tasks_in_flight=u32,
    shards=u32,
    rows=u64,
    rows_per_second=reals,
    connected_s=reals,
    metrics_address=texts,
    labels=st.dictionaries(texts, texts, max_size=3),
    slowdown_ratio=reals,
    straggler=texts,
    reason=texts,
    phases=st.none() | phases,
    activity=st.none() | activities,
)
changes = st.builds(
    ClusterChange,
    sequence=u64,
    at=st.integers(0, 2**31).map(float),
    version=texts,
    anew=st.booleans(),
    more=st.booleans(),
    workers=st.lists(worker_views, max_size=2).map(tuple),
    workers_gone=st.lists(texts, max_size=2).map(tuple),
    jobs=st.sampled_from([(), (a_job(),)]),
    jobs_gone=st.lists(texts, max_size=2).map(tuple),
)


def through_bytes(message):
    return type(message).FromString(message.SerializeToString())


@given(worker_views)
def test_a_worker_arrives_as_it_stands(view):
    assert wire.worker_from_proto(through_bytes(wire.worker_to_proto(view))) == view


@given(changes)
def test_a_change_arrives_as_it_was_told(change):
    assert wire.change_from_proto(through_bytes(wire.change_to_proto(change))) == change


def test_every_state_of_the_protocol_is_known_and_no_other():
    for number in cluster_pb2.WorkerState.values()[1:]:
        assert wire.worker_from_proto(cluster_pb2.Worker(state=number)).state in WorkerState
    with pytest.raises(WireError, match="worker state 99 is not known"):
        wire.worker_from_proto(cluster_pb2.Worker(state=99))

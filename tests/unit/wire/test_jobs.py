"""What goes into protobuf comes out the same, also as bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradloom.errors import WireError
from gradloom.jobs import (
    AlgorithmDescription,
    CheckpointInfo,
    Compression,
    JobEvent,
    JobState,
    JobView,
    Note,
    RetryReason,
    RoundCompleted,
    StateChanged,
    SteerableField,
    TaskRetried,
    WorkerShare,
)
from gradloom.specs import DataSpec, JobSpec
from gradloom.v1 import job_pb2
from gradloom.wire import jobs as wire

texts = st.text(max_size=20)
reals = st.floats(allow_nan=False)
maybe_reals = st.none() | reals
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
moments = st.floats(1e9, 4e9)
"""2001 to 2096: a float64 of seconds is exact to 0.2 us there, a Timestamp to 1 ns."""

data_specs = st.builds(
    DataSpec,
    uris=st.lists(texts, max_size=3).map(tuple),
    target=texts,
    features=st.lists(texts, max_size=3).map(tuple),
    weight=texts,
    format=texts,
    shards=u32,
)
job_specs = st.builds(
    JobSpec,
    algorithm=texts,
    data=data_specs,
    settings=st.dictionaries(texts, texts, max_size=3),
    test_fraction=reals,
    seed=u64,
    placement=texts,
    codec=texts,
    downlink=texts,
)
compressions = st.builds(
    Compression,
    codec=texts,
    downlink=texts,
    reason=texts,
    raw_bytes_up=u64,
    wire_bytes_up=u64,
    raw_bytes_down=u64,
    wire_bytes_down=u64,
    encode_seconds=reals,
    decode_seconds=reals,
    relative_error=maybe_reals,
    residual_norm=reals,
    resets=u64,
)
shares = st.builds(
    WorkerShare, worker=texts, shards=u32, rows=u64, busy_fraction=reals, retries=u64, present=st.booleans()
)
job_views = st.builds(
    JobView,
    job_id=texts,
    spec=job_specs,
    state=st.sampled_from(JobState),
    reason=texts,
    created_at=moments,
    rounds=u64,
    max_rounds=u64,
    loss=maybe_reals,
    scores=st.dictionaries(texts, reals, max_size=3),
    seconds=reals,
    rows_per_second=reals,
    rows=u64,
    shards=u32,
    retries=u64,
    parameters_sha256=texts,
    workers=st.lists(shares, max_size=3).map(tuple),
    etag=texts,
    compression=st.none() | compressions,
    checkpoints=st.lists(st.builds(CheckpointInfo, round=u64, taken_at=moments), max_size=3).map(tuple),
    steerable=st.lists(st.builds(SteerableField, field=texts, value=texts), max_size=3).map(tuple),
)
happenings = st.one_of(
    st.builds(StateChanged, state=st.sampled_from(JobState), reason=texts),
    st.builds(
        RoundCompleted,
        round=u64,
        max_rounds=u64,
        loss=maybe_reals,
        gradient_norm=maybe_reals,
        validation_loss=maybe_reals,
        learning_rate=maybe_reals,
        seconds=reals,
        rows_per_second=reals,
        workers=u32,
        eta_seconds=reals,
    ),
    st.builds(
        TaskRetried,
        reason=st.sampled_from(RetryReason),
        worker=texts,
        shards=texts,
        attempt=u32,
        detail=texts,
    ),
    st.builds(Note, text=texts),
)
events = st.builds(JobEvent, sequence=u64, at=moments, what=happenings)


def through_bytes(message):
    return type(message).FromString(message.SerializeToString())


@given(job_specs)
def test_a_specification_arrives_as_it_was_sent(spec):
    assert wire.job_spec_from_proto(through_bytes(wire.job_spec_to_proto(spec))) == spec


@given(data_specs)
def test_a_data_specification_arrives_as_it_was_sent(spec):
    assert wire.data_spec_from_proto(through_bytes(wire.data_spec_to_proto(spec))) == spec


@given(job_views)
def test_a_job_arrives_as_it_stands(view):
    assert wire.job_from_proto(through_bytes(wire.job_to_proto(view))) == view


@given(shares)
def test_a_share_arrives_as_it_stands(share):
    assert wire.worker_share_from_proto(through_bytes(wire.worker_share_to_proto(share))) == share


@given(events)
def test_an_event_arrives_as_it_happened(event):
    assert wire.event_from_proto(through_bytes(wire.event_to_proto(event))) == event


@given(st.builds(AlgorithmDescription, name=texts, version=u32, summary=texts, settings_schema=texts))
def test_a_description_arrives_as_it_was_written(description):
    assert wire.algorithm_from_proto(through_bytes(wire.algorithm_to_proto(description))) == description


def test_a_number_that_is_absent_stays_absent_and_zero_stays_zero():
    absent = RoundCompleted(1, 2, None, None, None, None, 0.0, 0.0, 0, 0.0)
    zero = RoundCompleted(1, 2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0.0)
    for done in (absent, zero):
        event = JobEvent(1, 1.7e9, done)
        assert wire.event_from_proto(through_bytes(wire.event_to_proto(event))).what == done


def test_every_number_of_the_protocol_has_a_state():
    for number in job_pb2.JobState.values()[1:]:
        assert wire.job_from_proto(job_pb2.Job(state=number)).state in JobState


def test_states_and_reasons_that_nobody_knows_are_refused():
    with pytest.raises(WireError, match="job state 0 is not known"):
        wire.job_from_proto(job_pb2.Job())
    retried = job_pb2.JobEvent(task_retried=job_pb2.TaskRetried(reason="bad luck"))
    with pytest.raises(WireError, match="retry reason 'bad luck' is not known"):
        wire.event_from_proto(retried)


def test_an_event_of_a_kind_to_come_is_a_note_so_that_watching_goes_on():
    event = wire.event_from_proto(job_pb2.JobEvent(sequence=7))
    assert event.sequence == 7
    assert isinstance(event.what, Note)

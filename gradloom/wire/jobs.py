"""What people ask for and see of jobs <-> protobuf. Nothing is checked or decided here."""

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
    SteeringRecord,
    TaskRetried,
    WorkerShare,
)
from gradloom.specs import DataSpec, JobSpec, ScheduledChange
from gradloom.v1 import data_pb2, job_pb2
from gradloom.wire.times import get_time, set_time

_JOB_STATES = {state: job_pb2.JobState.Value(f"JOB_STATE_{state.name}") for state in JobState}
_JOB_STATES_BACK = {number: state for state, number in _JOB_STATES.items()}


def data_spec_to_proto(spec: DataSpec) -> data_pb2.DataSpec:
    """Where the data is."""
    return data_pb2.DataSpec(
        uris=spec.uris,
        format=spec.format,
        features=spec.features,
        target=spec.target,
        weight=spec.weight,
        shards=spec.shards,
    )


def data_spec_from_proto(message: data_pb2.DataSpec) -> DataSpec:
    """Where the data is."""
    return DataSpec(
        uris=tuple(message.uris),
        target=message.target,
        features=tuple(message.features),
        weight=message.weight,
        format=message.format,
        shards=message.shards,
    )


def job_spec_to_proto(spec: JobSpec) -> job_pb2.JobSpec:
    """What was asked for."""
    return job_pb2.JobSpec(
        algorithm=spec.algorithm,
        settings=spec.settings,
        data=data_spec_to_proto(spec.data),
        test_fraction=spec.test_fraction,
        seed=spec.seed,
        placement=spec.placement,
        synchrony=spec.synchrony,
        share_weight=spec.share_weight,
        required_labels=spec.required_labels,
        speculation=spec.speculation,
        codec=spec.codec,
        downlink=spec.downlink,
        schedule=[
            job_pb2.ScheduledChange(at_round=one.at_round, field=one.field, value=one.value)
            for one in spec.schedule
        ],
    )


def job_spec_from_proto(message: job_pb2.JobSpec) -> JobSpec:
    """What was asked for."""
    return JobSpec(
        algorithm=message.algorithm,
        data=data_spec_from_proto(message.data),
        settings=dict(sorted(message.settings.items())),  # a protobuf map has no order
        test_fraction=message.test_fraction,
        seed=message.seed,
        placement=message.placement,
        synchrony=message.synchrony,
        share_weight=message.share_weight or 1.0,
        required_labels=dict(sorted(message.required_labels.items())),
        speculation=message.speculation or "on",
        codec=message.codec,
        downlink=message.downlink,
        schedule=tuple(ScheduledChange(one.at_round, one.field, one.value) for one in message.schedule),
    )


def job_to_proto(view: JobView) -> job_pb2.Job:
    """A job as it stands."""
    message = job_pb2.Job(
        job_id=view.job_id,
        spec=job_spec_to_proto(view.spec),
        state=_JOB_STATES[view.state],
        reason=view.reason,
        rounds=view.rounds,
        max_rounds=view.max_rounds,
        loss=view.loss,
        scores=view.scores,
        seconds=view.seconds,
        rows_per_second=view.rows_per_second,
        rows=view.rows,
        shards=view.shards,
        retries=view.retries,
        parameters_sha256=view.parameters_sha256,
        workers=[worker_share_to_proto(share) for share in view.workers],
        etag=view.etag,
        submitted=None if view.submitted is None else job_spec_to_proto(view.submitted),
        steering=map(_steering_to_proto, view.steering),
        last_worker=view.last_worker,
        last_waited_seconds=view.last_waited_s,
        checkpoints=map(_checkpoint_to_proto, view.checkpoints),
        steerable=[job_pb2.SteerableField(field=one.field, value=one.value) for one in view.steerable],
    )
    set_time(message.created_at, view.created_at)
    if view.compression is not None:
        message.compression.CopyFrom(compression_to_proto(view.compression))
    return message


def job_from_proto(message: job_pb2.Job) -> JobView:
    """A job as it stands. Raises WireError for a state that this version does not know."""
    return JobView(
        job_id=message.job_id,
        spec=job_spec_from_proto(message.spec),
        state=_job_state(message.state),
        reason=message.reason,
        created_at=get_time(message.created_at),
        rounds=message.rounds,
        max_rounds=message.max_rounds,
        loss=message.loss if message.HasField("loss") else None,
        scores=dict(sorted(message.scores.items())),  # a protobuf map has no order
        seconds=message.seconds,
        rows_per_second=message.rows_per_second,
        rows=message.rows,
        shards=message.shards,
        retries=message.retries,
        parameters_sha256=message.parameters_sha256,
        workers=tuple(worker_share_from_proto(share) for share in message.workers),
        etag=message.etag,
        compression=compression_from_proto(message.compression) if message.HasField("compression") else None,
        submitted=job_spec_from_proto(message.submitted) if message.HasField("submitted") else None,
        steering=tuple(map(_steering_from_proto, message.steering)),
        last_worker=message.last_worker,
        last_waited_s=message.last_waited_seconds,
        checkpoints=tuple(CheckpointInfo(c.round, get_time(c.taken_at)) for c in message.checkpoints),
        steerable=tuple(SteerableField(one.field, one.value) for one in message.steerable),
    )


def _checkpoint_to_proto(checkpoint: CheckpointInfo) -> job_pb2.CheckpointInfo:
    message = job_pb2.CheckpointInfo(round=checkpoint.round)
    set_time(message.taken_at, checkpoint.taken_at)
    return message


def _steering_to_proto(record: SteeringRecord) -> job_pb2.SteeringRecord:
    message = job_pb2.SteeringRecord(
        at_round=record.at_round, who=record.who, field=record.field, old=record.old, new=record.new
    )
    set_time(message.at, record.at)
    return message


def _steering_from_proto(message: job_pb2.SteeringRecord) -> SteeringRecord:
    return SteeringRecord(
        message.at_round, message.who, get_time(message.at), message.field, message.old, message.new
    )


def compression_to_proto(ledger: Compression) -> job_pb2.Compression:
    """What travelled."""
    return job_pb2.Compression(
        codec=ledger.codec,
        downlink=ledger.downlink,
        reason=ledger.reason,
        raw_bytes_up=ledger.raw_bytes_up,
        wire_bytes_up=ledger.wire_bytes_up,
        raw_bytes_down=ledger.raw_bytes_down,
        wire_bytes_down=ledger.wire_bytes_down,
        encode_seconds=ledger.encode_seconds,
        decode_seconds=ledger.decode_seconds,
        relative_error=ledger.relative_error,
        residual_norm=ledger.residual_norm,
        resets=ledger.resets,
    )


def compression_from_proto(message: job_pb2.Compression) -> Compression:
    """What travelled."""
    return Compression(
        codec=message.codec,
        downlink=message.downlink,
        reason=message.reason,
        raw_bytes_up=message.raw_bytes_up,
        wire_bytes_up=message.wire_bytes_up,
        raw_bytes_down=message.raw_bytes_down,
        wire_bytes_down=message.wire_bytes_down,
        encode_seconds=message.encode_seconds,
        decode_seconds=message.decode_seconds,
        relative_error=message.relative_error if message.HasField("relative_error") else None,
        residual_norm=message.residual_norm,
        resets=message.resets,
    )


def worker_share_to_proto(share: WorkerShare) -> job_pb2.WorkerShare:
    """What one worker did for one job."""
    return job_pb2.WorkerShare(
        worker=share.worker,
        shards=share.shards,
        rows=share.rows,
        busy_fraction=share.busy_fraction,
        retries=share.retries,
        present=share.present,
        rounds_last=share.rounds_last,
        waited_for_seconds=share.waited_for_s,
    )


def worker_share_from_proto(message: job_pb2.WorkerShare) -> WorkerShare:
    """What one worker did for one job."""
    return WorkerShare(
        worker=message.worker,
        shards=message.shards,
        rows=message.rows,
        busy_fraction=message.busy_fraction,
        retries=message.retries,
        present=message.present,
        rounds_last=message.rounds_last,
        waited_for_s=message.waited_for_seconds,
    )


def event_to_proto(event: JobEvent) -> job_pb2.JobEvent:
    """One thing that happened to a job."""
    message = job_pb2.JobEvent(sequence=event.sequence)
    set_time(message.at, event.at)
    match event.what:
        case StateChanged(state, reason):
            message.state_changed.state = _JOB_STATES[state]
            message.state_changed.reason = reason
        case RoundCompleted() as done:
            message.round_completed.CopyFrom(_round_to_proto(done))
        case TaskRetried(reason, worker, shards, attempt, detail):
            retried = job_pb2.TaskRetried(
                reason=reason.value, worker=worker, shards=shards, attempt=attempt, detail=detail
            )
            message.task_retried.CopyFrom(retried)
        case Note(text):
            message.note.CopyFrom(job_pb2.Note(text=text))
    return message


def event_from_proto(message: job_pb2.JobEvent) -> JobEvent:
    """One thing that happened to a job. Raises WireError for a state or reason that this version does not know.

    An event of a kind that only a newer coordinator knows becomes a Note, so that watching goes on.
    """
    what: StateChanged | RoundCompleted | TaskRetried | Note
    match message.WhichOneof("kind"):
        case "state_changed":
            what = StateChanged(_job_state(message.state_changed.state), message.state_changed.reason)
        case "round_completed":
            what = _round_from_proto(message.round_completed)
        case "task_retried":
            what = _retried_from_proto(message.task_retried)
        case "note":
            what = Note(message.note.text)
        case _:
            what = Note("something happened that this version of gradloom has no words for")
    return JobEvent(message.sequence, get_time(message.at), what)


def algorithm_to_proto(description: AlgorithmDescription) -> job_pb2.AlgorithmDescription:
    """An algorithm that a coordinator knows."""
    return job_pb2.AlgorithmDescription(
        name=description.name,
        version=description.version,
        summary=description.summary,
        settings_schema=description.settings_schema,
    )


def algorithm_from_proto(message: job_pb2.AlgorithmDescription) -> AlgorithmDescription:
    """An algorithm that a coordinator knows."""
    return AlgorithmDescription(message.name, message.version, message.summary, message.settings_schema)


def _round_to_proto(done: RoundCompleted) -> job_pb2.RoundCompleted:
    return job_pb2.RoundCompleted(
        round=done.round,
        max_rounds=done.max_rounds,
        loss=done.loss,
        gradient_norm=done.gradient_norm,
        validation_loss=done.validation_loss,
        learning_rate=done.learning_rate,
        seconds=done.seconds,
        rows_per_second=done.rows_per_second,
        workers=done.workers,
        eta_seconds=done.eta_seconds,
    )


def _round_from_proto(message: job_pb2.RoundCompleted) -> RoundCompleted:
    return RoundCompleted(
        round=message.round,
        max_rounds=message.max_rounds,
        loss=message.loss if message.HasField("loss") else None,
        gradient_norm=message.gradient_norm if message.HasField("gradient_norm") else None,
        validation_loss=message.validation_loss if message.HasField("validation_loss") else None,
        learning_rate=message.learning_rate if message.HasField("learning_rate") else None,
        seconds=message.seconds,
        rows_per_second=message.rows_per_second,
        workers=message.workers,
        eta_seconds=message.eta_seconds,
    )


def _retried_from_proto(message: job_pb2.TaskRetried) -> TaskRetried:
    try:
        reason = RetryReason(message.reason)
    except ValueError:
        raise WireError(f"retry reason {message.reason!r} is not known to this version of gradloom") from None
    return TaskRetried(reason, message.worker, message.shards, message.attempt, message.detail)


def _job_state(number: "job_pb2.JobState.ValueType") -> JobState:
    state = _JOB_STATES_BACK.get(number)
    if state is None:
        raise WireError(f"job state {number} is not known to this version of gradloom")
    return state

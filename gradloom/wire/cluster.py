"""What people see of workers, and what is told to those who watch a cluster <-> protobuf. Nothing is decided here."""

from gradloom.errors import WireError
from gradloom.jobs import WorkerActivity, WorkerPhases, WorkerRuntime, WorkerState, WorkerView
from gradloom.v1 import cluster_pb2, cluster_service_pb2
from gradloom.watching import ClusterChange
from gradloom.wire.jobs import job_from_proto, job_to_proto
from gradloom.wire.times import get_time, set_time

_WORKER_STATES = {state: cluster_pb2.WorkerState.Value(f"WORKER_STATE_{state.name}") for state in WorkerState}
_WORKER_STATES_BACK = {number: state for state, number in _WORKER_STATES.items()}


def worker_to_proto(view: WorkerView) -> cluster_pb2.Worker:
    """A connected worker as it stands."""
    return cluster_pb2.Worker(
        worker=view.worker,
        state=_WORKER_STATES[view.state],
        host=view.host,
        pid=view.pid,
        cores=view.cores,
        memory_bytes=view.memory_bytes,
        version=view.version,
        heartbeat_age_seconds=view.heartbeat_age_s,
        tasks_in_flight=view.tasks_in_flight,
        shards=view.shards,
        rows=view.rows,
        rows_per_second=view.rows_per_second,
        connected_seconds=view.connected_s,
        metrics_address=view.metrics_address,
        labels=view.labels,
        slowdown_ratio=view.slowdown_ratio,
        straggler=view.straggler,
        reason=view.reason,
        phases=None if view.phases is None else phases_to_proto(view.phases),
        activity=None if view.activity is None else _activity_to_proto(view.activity),
        runtime=None if view.runtime is None else runtime_to_proto(view.runtime),
        clock_offset_seconds=view.clock_offset_s,
    )


def worker_from_proto(message: cluster_pb2.Worker) -> WorkerView:
    """A connected worker as it stands. Raises WireError for a state that this version does not know."""
    state = _WORKER_STATES_BACK.get(message.state)
    if state is None:
        raise WireError(f"worker state {message.state} is not known to this version of gradloom")
    return WorkerView(
        worker=message.worker,
        state=state,
        host=message.host,
        pid=message.pid,
        cores=message.cores,
        memory_bytes=message.memory_bytes,
        version=message.version,
        heartbeat_age_s=message.heartbeat_age_seconds,
        tasks_in_flight=message.tasks_in_flight,
        shards=message.shards,
        rows=message.rows,
        rows_per_second=message.rows_per_second,
        connected_s=message.connected_seconds,
        metrics_address=message.metrics_address,
        labels=dict(sorted(message.labels.items())),
        slowdown_ratio=message.slowdown_ratio,
        straggler=message.straggler,
        reason=message.reason,
        phases=phases_from_proto(message.phases) if message.HasField("phases") else None,
        activity=_activity_from_proto(message.activity) if message.HasField("activity") else None,
        runtime=runtime_from_proto(message.runtime) if message.HasField("runtime") else None,
        clock_offset_s=message.clock_offset_seconds if message.HasField("clock_offset_seconds") else None,
    )


def runtime_to_proto(runtime: WorkerRuntime) -> cluster_pb2.WorkerRuntime:
    """What a process runs on."""
    return cluster_pb2.WorkerRuntime(
        python=runtime.python,
        numpy=runtime.numpy,
        grpc=runtime.grpc,
        protobuf=runtime.protobuf,
        blas=runtime.blas,
        blas_threads=runtime.blas_threads,
        open_files=runtime.open_files,
    )


def runtime_from_proto(message: cluster_pb2.WorkerRuntime) -> WorkerRuntime:
    """What a process runs on."""
    return WorkerRuntime(
        message.python,
        message.numpy,
        message.grpc,
        message.protobuf,
        message.blas,
        message.blas_threads,
        message.open_files,
    )


def phases_to_proto(phases: WorkerPhases) -> cluster_pb2.WorkerPhases:
    """Where the time of a worker went."""
    return cluster_pb2.WorkerPhases(
        queue_seconds=phases.queue,
        load_seconds=phases.load,
        decode_seconds=phases.decode,
        compute_seconds=phases.compute,
        encode_seconds=phases.encode,
        send_seconds=phases.send,
        wait_seconds=phases.wait,
        idle_seconds=phases.idle,
    )


def phases_from_proto(message: cluster_pb2.WorkerPhases) -> WorkerPhases:
    """Where the time of a worker went."""
    return WorkerPhases(
        message.queue_seconds,
        message.load_seconds,
        message.decode_seconds,
        message.compute_seconds,
        message.encode_seconds,
        message.send_seconds,
        message.wait_seconds,
        message.idle_seconds,
    )


def _activity_to_proto(activity: WorkerActivity) -> cluster_pb2.WorkerActivity:
    return cluster_pb2.WorkerActivity(
        job_id=activity.job_id,
        step=activity.step,
        round=activity.round,
        lo=activity.lo,
        hi=activity.hi,
        attempt=activity.attempt,
        seconds=activity.seconds,
        speculative=activity.speculative,
    )


def _activity_from_proto(message: cluster_pb2.WorkerActivity) -> WorkerActivity:
    return WorkerActivity(
        message.job_id,
        message.step,
        message.round,
        message.lo,
        message.hi,
        message.attempt,
        message.seconds,
        message.speculative,
    )


def change_to_proto(change: ClusterChange) -> cluster_service_pb2.WatchClusterResponse:
    """What is told to those who watch."""
    message = cluster_service_pb2.WatchClusterResponse(
        sequence=change.sequence,
        anew=change.anew,
        more=change.more,
        version=change.version,
        workers=map(worker_to_proto, change.workers),
        workers_gone=change.workers_gone,
        jobs=map(job_to_proto, change.jobs),
        jobs_gone=change.jobs_gone,
    )
    set_time(message.at, change.at)
    return message


def change_from_proto(message: cluster_service_pb2.WatchClusterResponse) -> ClusterChange:
    """What is told to those who watch. Raises WireError for a state that this version does not know."""
    return ClusterChange(
        sequence=message.sequence,
        at=get_time(message.at),
        version=message.version,
        anew=message.anew,
        more=message.more,
        workers=tuple(map(worker_from_proto, message.workers)),
        workers_gone=tuple(message.workers_gone),
        jobs=tuple(map(job_from_proto, message.jobs)),
        jobs_gone=tuple(message.jobs_gone),
    )

"""What people see of a worker, from what the edge and the scheduler know of it."""

from gradloom.jobs import WorkerView
from gradloom.v1 import worker_pb2
from gradloom_coordinator.events import WorkerId
from gradloom_coordinator.state import ClusterState


def worker_view(worker_id: WorkerId, hello: worker_pb2.Hello, state: ClusterState, now: float) -> WorkerView:
    """A worker as it stands, here or away for a moment."""
    worker = state.workers[worker_id]
    placed = [job.placement.shards for job in state.running() if job.placement is not None]
    return WorkerView(
        worker=worker.id,
        state=worker.state,
        host=hello.host,
        pid=hello.pid,
        cores=hello.cores,
        memory_bytes=hello.memory_bytes,
        version=hello.version,
        heartbeat_age_s=now - worker.heard_at,
        tasks_in_flight=len(worker.tasks),
        shards=sum(len(shards.get(worker.id, ())) for shards in placed),
        rows=worker.rows,
        rows_per_second=worker.rows_per_second,
        connected_s=now - worker.joined_at,
        metrics_address=hello.metrics_address,
        labels=worker.labels,
        slowdown_ratio=worker.slowdown_ratio,
        straggler=worker.straggler,
        reason=worker.reason,
    )

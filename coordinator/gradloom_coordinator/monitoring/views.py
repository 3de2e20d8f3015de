"""What people see of a worker, from what the edge and the scheduler know of it."""

from collections.abc import Mapping

from gradloom.jobs import WorkerActivity, WorkerPhases, WorkerView
from gradloom.steps import Step
from gradloom.v1 import worker_pb2
from gradloom.wire.cluster import runtime_from_proto
from gradloom.wire.times import get_time
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.scheduling.events import JobId, TaskRef, WorkerId
from gradloom_coordinator.scheduling.state import ClusterState, Worker


def worker_view(
    worker_id: WorkerId,
    hello: worker_pb2.Hello,
    heard_at: float,
    phases: WorkerPhases | None,
    state: ClusterState,
    runs: Mapping[JobId, JobRun],
    now: float,
) -> WorkerView:
    """A worker as it stands, here or away for a moment; its Hello came at ``heard_at``, by the epoch."""
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
        phases=phases,
        activity=_activity(worker, state, runs, now),
        runtime=runtime_from_proto(hello.runtime) if hello.HasField("runtime") else None,
        clock_offset_s=get_time(hello.sent_at) - heard_at if hello.HasField("sent_at") else None,
    )


def _activity(
    worker: Worker, state: ClusterState, runs: Mapping[JobId, JobRun], now: float
) -> WorkerActivity | None:
    """What it computes now: of the tasks in its hands the first."""
    if not worker.tasks:
        return None
    task, given = next(iter(worker.tasks.items()))
    round_ = state.jobs[task.job].round
    step = round_.step if round_ is not None else Step.TRAIN
    return WorkerActivity(
        job_id=task.job,
        step=step.value,
        round=_round_of_training(runs.get(task.job), task) if step is Step.TRAIN else 0,
        lo=task.range.lo,
        hi=task.range.hi,
        attempt=task.attempt,
        seconds=max(0.0, now - worker.computes_since),
        speculative=given.is_copy,
    )


def _round_of_training(run: JobRun | None, task: TaskRef) -> int:
    """As people count it: what is named on the wire begins anew after a restart."""
    return max(0, run.iterations + 1 - (run.round - task.round)) if run is not None else 0

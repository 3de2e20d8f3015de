"""Tasks for one worker, with whatever it still lacks to compute them: setup, shards, the round's broadcast.

What goes to many workers was serialized once; what is a worker's own is appended to it, since protobuf merges the
fields of concatenated messages.
"""

from gradloom.canonical import Range
from gradloom.steps import Step
from gradloom.v1 import worker_pb2
from gradloom.wire.data import shard_to_proto
from gradloom_coordinator.links import Given, WorkerLink
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.scheduling.commands import TaskOrder
from gradloom_coordinator.scheduling.events import TaskRef


def send_tasks(link: WorkerLink, run: JobRun, orders: tuple[TaskOrder, ...]) -> None:
    """Queue a Compute of the run's open round on the worker's session, and its frames on the bulk stream."""
    assert run.broadcast is not None
    given = link.given.setdefault(run.job_id, Given())
    if given.setup is not (setup := run.setup_message()):
        link.session.put(setup)
        given.setup = setup
    _assign_shards(link, run, given, orders)
    tasks = _tasks(orders)
    before, arrived = given.broadcast_round, given.broadcast_round if given.broadcast_arrived else 0
    number = run.broadcast.round
    given.sent(number, (TaskRef(run.job_id, number, order.range, order.attempt) for order in orders))
    if before == number:
        link.session.put(run.round_again() + tasks)
        return
    broadcast = run.broadcast.for_worker(arrived)
    if run.training is not None and run.training.step is Step.TRAIN:
        tasks += _counted(run.traffic.verdicts.tell(link.worker, broadcast.round))
        run.traffic.sent(broadcast.raw_bytes, broadcast.byte_length)
    link.session.put(broadcast.compute + tasks)
    if transfer := broadcast.transfer(run.job_id):
        link.bulk.drop_job(run.job_id)  # nobody needs the rest of an earlier round's broadcast
        link.bulk.start(transfer)


def _assign_shards(link: WorkerLink, run: JobRun, given: Given, orders: tuple[TaskOrder, ...]) -> None:
    assert run.training is not None
    wanted = {i for order in orders for i in range(*order.range)}
    lacking = sorted(wanted - given.shards)
    given.shards |= wanted
    if lacking:
        plans = [shard_to_proto(run.training.manifest.shards[i]) for i in lacking]
        assign = worker_pb2.AssignShards(job_id=run.job_id, shards=plans)
        link.session.put(worker_pb2.CoordinatorMessage(assign_shards=assign).SerializeToString())


def _tasks(orders: tuple[TaskOrder, ...]) -> bytes:
    ranges = [worker_pb2.TaskRange(lo=o.range.lo, hi=o.range.hi, attempt=o.attempt) for o in orders]
    return worker_pb2.CoordinatorMessage(compute=worker_pb2.Compute(tasks=ranges)).SerializeToString()


def _counted(tasks: list[TaskRef]) -> bytes:
    if not tasks:
        return b""
    compute = worker_pb2.Compute(counted=map(task_key, tasks))
    return worker_pb2.CoordinatorMessage(compute=compute).SerializeToString()


def task_key(task: TaskRef) -> worker_pb2.TaskKey:
    """A task as the wire names it."""
    return worker_pb2.TaskKey(
        job_id=task.job, round=task.round, lo=task.range.lo, hi=task.range.hi, attempt=task.attempt
    )


def task_ref(key: worker_pb2.TaskKey) -> TaskRef:
    """The task that the wire names."""
    return TaskRef(key.job_id, key.round, Range(key.lo, key.hi), key.attempt)

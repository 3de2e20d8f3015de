"""A job at the edge: its rounds as bytes, its progress as people see it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from builders.averaging import Averaging, manifest_of, write_rows
from builders.shards import read_shard
from gradloom.canonical import Range
from gradloom.data.preparation import Split
from gradloom.data.profile import profile_shard
from gradloom.jobs import JobState
from gradloom.specs import DataSpec, JobSpec
from gradloom.tensors import Tensors
from gradloom.v1 import worker_pb2
from gradloom.wire.bundles import Assembly, decode, decode_inline
from gradloom.wire.data import preparation_from_proto, split_from_proto
from gradloom.wire.frames import INITIAL_CREDIT, parse_frame
from gradloom_coordinator.journal import Journal
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.scheduling.state import Job, Share
from gradloom_coordinator.training import Training

BIG = 300_000
"""Numbers of a broadcast that does not ride inline, and takes two frames."""


def run_on(folder: Path, width: int = 1) -> JobRun:
    manifest = manifest_of(write_rows(folder, [1.0, 2.0, 6.0]), 1)
    spec = JobSpec("averaging", DataSpec(("data.csv",), "y"), {"rounds": "3"})
    run = JobRun("job", spec, Journal(), 1.7e9, started=10.0)
    run.training, run.built_from = Training(Averaging(3, width), manifest, Split()), spec.settings
    return run


def close_profile(run: JobRun) -> None:
    run.prepare_round(1, now=10.0)
    assert run.training is not None
    assert run.collector is not None
    run.collector.add(Range(0, 1), profile_shard(read_shard(run.training.manifest, 0), Split()))
    assert run.close_round(now=11.0, workers=1) is None, "a profile is no round of training"


def sums(width: int = 1) -> Tensors:
    return {"error": np.full(width, 9.0), "loss": np.array(41.0), "rows": np.array(3.0)}


def test_the_first_round_is_the_profile_and_has_nothing_to_say(tmp_path: Path) -> None:
    run = run_on(tmp_path)
    run.prepare_round(1, now=10.0)
    assert run.broadcast is not None
    compute = worker_pb2.CoordinatorMessage.FromString(run.broadcast.compute).compute
    assert (compute.job_id, compute.round, run.broadcast.frames) == ("job", 1, None)
    assert decode_inline(compute.broadcast) == {}
    setup = worker_pb2.CoordinatorMessage.FromString(run.setup_message()).setup
    assert (setup.step, setup.n_shards, setup.algorithm) == (worker_pb2.STEP_PROFILE, 1, "averaging")
    assert dict(setup.settings) == {"rounds": "3"}
    assert split_from_proto(setup.preparation) == Split()


def test_a_workers_own_tasks_are_appended_to_the_bytes_that_all_share(tmp_path: Path) -> None:
    run = run_on(tmp_path)
    close_profile(run)
    run.prepare_round(2, now=11.0)
    assert run.broadcast is not None
    own = worker_pb2.Compute(tasks=[worker_pb2.TaskRange(lo=0, hi=1, attempt=1)])
    tail = worker_pb2.CoordinatorMessage(compute=own).SerializeToString()
    compute = worker_pb2.CoordinatorMessage.FromString(run.broadcast.compute + tail).compute
    assert (compute.job_id, compute.round) == ("job", 2)
    assert [(task.lo, task.hi, task.attempt) for task in compute.tasks] == [(0, 1, 1)]
    assert decode_inline(compute.broadcast)["mean"].tolist() == [0.0]


def test_after_the_profile_workers_are_told_how_rows_are_prepared(tmp_path: Path) -> None:
    run = run_on(tmp_path)
    close_profile(run)
    assert run.training is not None
    assert run.training.schema is not None
    setup = worker_pb2.CoordinatorMessage.FromString(run.setup_message()).setup
    assert setup.step == worker_pb2.STEP_TRAIN
    assert preparation_from_proto(setup.preparation) == run.training.schema.preparation


def test_a_big_broadcast_is_cut_into_frames_once_and_shared_by_all(tmp_path: Path) -> None:
    run = run_on(tmp_path, BIG)
    close_profile(run)
    run.prepare_round(77, now=11.0)
    assert run.broadcast is not None
    assert run.heavy
    one, other = run.broadcast.transfer("job"), run.broadcast.transfer("job")
    assert one is not None
    assert other is not None
    assert (one.transfer_id, one.frames_left, one.credit) == (77, 2, INITIAL_CREDIT)
    both = list(zip(one.frames, other.frames, strict=True))
    assert all(mine is theirs for mine, theirs in both)
    assembly = Assembly(np.empty(run.broadcast.byte_length, np.uint8))
    assert [assembly.add(parse_frame(frame)) for frame, _ in both] == [False, True]
    bundle = worker_pb2.CoordinatorMessage.FromString(run.broadcast.compute).compute.broadcast
    assert bundle.transfer_id == 77
    assert decode(bundle.tensors, assembly.payload)["mean"].shape == (BIG,)


def test_rounds_of_training_are_told_with_their_speed_and_what_is_left(tmp_path: Path) -> None:
    run = run_on(tmp_path)
    close_profile(run)
    told = []
    for number in (1, 2, 3):
        run.prepare_round(number + 1, now=20.0)
        assert run.collector is not None
        run.collector.add(Range(0, 1), sums())
        told.append(run.close_round(now=20.5, workers=2))
    assert [done.round for done in told if done] == [1, 2, 3]
    assert [done.eta_seconds for done in told if done] == [1.0, 0.5, 0.0]
    assert told[0] is not None
    assert (told[0].max_rounds, told[0].seconds, told[0].rows_per_second) == (3, 0.5, 6.0)
    assert (told[0].workers, told[0].loss) == (2, 41.0 / 3)
    assert run.training is not None
    assert run.training.finished
    view = run.view(now=25.0)
    assert (view.rounds, view.max_rounds, view.seconds) == (3, 3, 15.0)
    assert view.rows_per_second == pytest.approx(6.0)


def test_after_the_end_the_arrays_are_gone_and_the_record_stays(tmp_path: Path) -> None:
    run = run_on(tmp_path)
    close_profile(run)
    run.prepare_round(2, now=11.0)
    run.release()
    run.state, run.reason, run.ended = JobState.CANCELLED, "enough", 12.0
    assert (run.training, run.broadcast, run.collector) == (None, None, None)
    view = run.view(now=99.0)
    assert (view.state, view.reason, view.seconds) == (JobState.CANCELLED, "enough", 2.0)


def test_what_each_worker_does_is_listed_in_the_order_that_people_count(tmp_path: Path) -> None:
    run = run_on(tmp_path)
    job = Job("job", "balanced", retries=3)
    job.shares = {f"worker-{i}": Share(rows=i, busy_s=1.0, retries=0) for i in (10, 9, 2)}
    run.watch(job, now=14.0, connected=frozenset({"worker-2", "worker-10"}))
    shares = run.view(now=14.0).workers
    assert [share.worker for share in shares] == ["worker-2", "worker-9", "worker-10"]
    assert [share.present for share in shares] == [True, False, True]
    assert [share.busy_fraction for share in shares] == [0.25] * 3
    assert run.view(now=14.0).retries == 3


def counts_all(run: JobRun) -> bool:
    assert run.collector is not None
    return run.collector._all_count


def test_a_round_ends_by_the_synchrony_that_it_was_prepared_for(tmp_path: Path) -> None:
    run = run_on(tmp_path)
    close_profile(run)
    run.state = JobState.RUNNING
    run.prepare_round(2, now=11.0)
    assert run.next_update == 2, "round 1 is open"
    run.change(replace(run.spec, synchrony="asynchronous"))
    assert counts_all(run)
    assert run.collector is not None
    run.collector.add(Range(0, 1), sums())
    run.close_round(now=12.0, workers=1)
    run.prepare_round(3, now=12.0)
    assert not counts_all(run)
    assert run.next_update == 3


def test_the_round_that_a_paused_job_has_prepared_goes_by_a_later_change(tmp_path: Path) -> None:
    run = run_on(tmp_path)
    assert run.next_update == 1
    close_profile(run)
    run.prepare_round(2, now=11.0)
    run.state = JobState.PAUSED
    run.change(replace(run.spec, synchrony="asynchronous"))
    assert run.waits
    run.prepare_again(3)
    assert not counts_all(run)
    assert run.next_update == 1, "round 1 has not begun"

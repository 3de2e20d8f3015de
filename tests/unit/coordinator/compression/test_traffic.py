"""How a job's messages travel, as the coordinator sees it."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from builders.averaging import Averaging, manifest_of, write_rows
from builders.scheduling import of_round
from builders.shards import read_shard
from gradloom.algorithms.algorithm import Needs
from gradloom.canonical import Range
from gradloom.codecs import Account, Context, pack, parse_codec
from gradloom.codecs.left_over import RESIDUAL
from gradloom.data.preparation import Split
from gradloom.data.profile import profile_shard
from gradloom.jobs import Compression
from gradloom.saved import Saved
from gradloom.specs import DataSpec, JobSpec
from gradloom.tensors import Tensors
from gradloom.v1 import worker_pb2
from gradloom_coordinator.compression.verdicts import Verdicts
from gradloom_coordinator.durability.checkpoints import Checkpoint, from_bytes, to_bytes
from gradloom_coordinator.journal import Journal
from gradloom_coordinator.monitoring.traffic_metrics import TrafficMetrics
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.training import Training

WIDTH = 5000


@dataclass(frozen=True)
class Compressible(Averaging):
    """An algorithm whose messages may be encoded."""

    @property
    def needs(self) -> Needs:
        return Needs("regression", "float64", standardize=False, gradients=("error",), parameters=("mean",))


def run_on(folder: Path, **codecs: str) -> JobRun:
    """A job whose data has been looked at."""
    manifest = manifest_of(write_rows(folder, [1.0, 2.0, 6.0]), 1)
    run = JobRun(
        "job", JobSpec("averaging", DataSpec(("data.csv",), "y"), seed=3, **codecs), Journal(), 1.7e9
    )  # type: ignore[arg-type]
    run.training = Training(Compressible(8, WIDTH), manifest, Split())
    run.prepare_round(1, now=10.0)
    assert run.collector is not None
    run.collector.add(Range(0, 1), profile_shard(read_shard(manifest, 0), Split()))
    run.close_round(now=11.0, workers=1)
    return run


def do_round(run: JobRun, transfer_id: int, left_over: Tensors | None = None) -> worker_pb2.Compute:
    """A round of training; what the workers are told."""
    run.prepare_round(transfer_id, now=20.0)
    assert run.broadcast is not None
    assert run.collector is not None
    rng = np.random.default_rng(transfer_id)
    sums = {"error": rng.normal(size=WIDTH), "loss": np.array(41.0), "rows": np.array(3.0)}
    run.collector.add(Range(0, 1), sums)
    run.traffic.counted("w", of_round(run.round), Account(square_residual=4.0), left_over or {})
    compute = worker_pb2.CoordinatorMessage.FromString(run.broadcast.compute).compute
    assert run.close_round(now=20.5, workers=1) is not None
    run.end_of_traffic(0.5)
    return compute


def test_without_codecs_workers_are_told_nothing_of_them(tmp_path: Path) -> None:
    run = run_on(tmp_path)
    compute = do_round(run, 2)
    assert not compute.HasField("uplink")
    assert not compute.replicated
    assert compute.earlier_are_decided
    assert run.view(30.0).compression == Compression(residual_norm=2.0)


def test_a_round_says_how_its_gradients_are_sent(tmp_path: Path) -> None:
    run = run_on(tmp_path, codec="topk:0.010", downlink="int8")
    first, second = do_round(run, 2), do_round(run, 3)
    assert (first.uplink.codec, first.uplink.iteration, first.uplink.seed) == ("topk:0.01", 0, 3)
    assert (second.uplink.iteration, second.base_round) == (1, first.round)
    assert list(second.replicated) == ["mean"]
    run.change(replace(run.spec, codec="none"))
    third = do_round(run, 4)
    assert third.uplink.codec == "none"  # said, because workers still hold something
    view = run.view(30.0).compression
    assert view is not None
    assert (view.codec, view.downlink, view.resets) == ("none", "int8", 0)


def test_a_change_while_a_prepared_round_waits_is_in_it(tmp_path: Path) -> None:
    run = run_on(tmp_path, codec="int8")
    run.prepare_round(2, now=20.0)
    run.change(replace(run.spec, codec="topk:0.01"))
    run.prepare_again(3)
    assert run.broadcast is not None
    compute = worker_pb2.CoordinatorMessage.FromString(run.broadcast.compute).compute
    assert compute.uplink.codec == "topk:0.01"


def test_a_checkpoint_goes_on_to_the_same_messages(tmp_path: Path) -> None:
    run = run_on(tmp_path, codec="topk:0.01", downlink="int8")
    for transfer_id in (2, 3):
        do_round(run, transfer_id)
    kept = run.checkpoint()
    assert kept is not None
    data, checksum = to_bytes(kept)
    restored = from_bytes(data, checksum)
    after = run_on(tmp_path, codec="topk:0.01", downlink="int8")
    after.go_on_from(restored)
    assert after.traffic.ledger.resets == 1  # "w" is new to us, or gone
    for one in (run, after):
        one.prepare_round(9, now=30.0)
    assert run.broadcast is not None
    assert after.broadcast is not None
    assert after.broadcast.for_worker(0).compute.count(b"mean") == 2  # its name, and as a replicated one
    expected = worker_pb2.CoordinatorMessage.FromString(run.broadcast.for_worker(0).compute).compute
    found = worker_pb2.CoordinatorMessage.FromString(after.broadcast.for_worker(0).compute).compute
    assert found.broadcast.inline == expected.broadcast.inline
    assert found.uplink.lineage != expected.uplink.lineage


def test_what_workers_have_left_out_is_in_a_checkpoint_that_has_waited_for_it(tmp_path: Path) -> None:
    run = run_on(tmp_path, codec="topk:0.01")
    first = do_round(run, 2)
    assert run.traffic.lacks_left_over(run.iterations)
    assert run.traffic.waits_for_left_over(run.iterations)
    rest = {RESIDUAL + "error": np.arange(WIDTH, dtype=np.float32)}
    second = do_round(run, 3, rest)
    assert (first.uplink.send_left_over, second.uplink.send_left_over) == (False, True)
    assert not run.traffic.waits_for_left_over(run.iterations)
    kept = run.checkpoint()
    assert kept is not None
    after = run_on(tmp_path)
    after.go_on_from(from_bytes(*to_bytes(kept)))
    assert after.traffic.ledger.resets == 0
    np.testing.assert_array_equal(again_kept(after)["left_over." + RESIDUAL + "error"], np.arange(WIDTH))
    third = do_round(after, 4)
    assert RESIDUAL + "error" in [spec.name for spec in third.broadcast.tensors]
    assert third.uplink.codec == "none"  # said, because the answers are not what the shards alone give
    assert not again_kept(after)
    fourth = do_round(after, 5)
    assert RESIDUAL + "error" not in [spec.name for spec in fourth.broadcast.tensors]


def again_kept(run: JobRun) -> Tensors:
    kept = run.checkpoint()
    assert kept is not None
    return kept.traffic.arrays


def test_a_job_that_is_set_back_has_its_workers_forget(tmp_path: Path) -> None:
    run = run_on(tmp_path, codec="topk:0.01")
    do_round(run, 2)
    kept = run.checkpoint()
    assert kept is not None
    before = do_round(run, 3)
    run.go_on_from(kept)
    after = do_round(run, 4)
    assert after.uplink.iteration == before.uplink.iteration
    assert after.uplink.lineage != before.uplink.lineage
    assert run.traffic.ledger.resets == 1


@pytest.mark.parametrize("released", [False, True])
def test_a_job_that_has_ended_keeps_its_ledger_and_nothing_else(tmp_path: Path, *, released: bool) -> None:
    run = run_on(tmp_path, codec="topk:0.01", downlink="int8")
    do_round(run, 2)
    traffic, view = run.traffic, run.traffic.view()
    assert traffic.save(run.iterations).arrays
    assert traffic.verdicts.holders
    if released:
        traffic.release()
    assert run.training is not None
    message = run.training.message()
    traffic.prepare_ahead(run.in_force, run.training.algorithm, message, run.iterations, run.round + 1)
    assert (traffic._ahead is None) is released, "a thread that comes too late leaves nothing behind"
    traffic.release()
    assert traffic._ahead is None
    assert traffic.save(run.iterations).arrays == {}
    assert traffic.verdicts == Verdicts()
    assert traffic.view() == view


def test_checkpoints_of_before_there_were_codecs_can_be_read(tmp_path: Path) -> None:
    run = run_on(tmp_path)
    do_round(run, 2)
    kept = run.checkpoint()
    assert kept is not None
    bare = Checkpoint(kept.round, kept.schema, kept.state, 1.0, 3)
    assert bare.traffic.values == {}
    run.go_on_from(bare)
    assert run.traffic.view() is not None
    with pytest.raises(ValueError, match="ledger"):
        run_on(tmp_path).go_on_from(replace(kept, traffic=Saved({}, {"resets": "many"})))


def test_metrics_are_read_off_the_ledgers(tmp_path: Path) -> None:
    run = run_on(tmp_path, codec="int8")
    do_round(run, 2)
    run.traffic.arrived("w", of_round(run.round), 40_000, 5_100, 0.002, 0.0001)
    run.traffic.sent(40_000, 40_000)
    packed = pack({"g": np.ones(WIDTH)}, ("g",), parse_codec("int8"), {}, Context())
    run.traffic.counted("w", of_round(run.round), packed.account, {})
    run.end_of_traffic(0.5)
    registry = CollectorRegistry()
    registry.register(TrafficMetrics({"job": run, "fresh": JobRun("fresh", run.spec, Journal(), 0.0)}))
    lines = generate_latest(registry).decode()
    for line in (
        'gradloom_gradient_raw_bytes_total{codec="int8",job_id="job"} 40000.0',
        'gradloom_gradient_wire_bytes_total{codec="int8",direction="up",job_id="job"} 5100.0',
        'gradloom_gradient_wire_bytes_total{codec="none",direction="down",job_id="job"} 40000.0',
        'gradloom_codec_seconds_bucket{codec="int8",job_id="job",le="0.003",op="encode"} 1.0',
        'gradloom_codec_seconds_count{codec="int8",job_id="job",op="decode"} 1.0',
        'gradloom_residual_norm{job_id="job"} 0.0',
        'gradloom_residual_resets_total{job_id="job"} 0.0',
        'gradloom_compression_relative_error{codec="int8",job_id="job"}',
    ):
        assert line in lines
    assert "fresh" not in lines

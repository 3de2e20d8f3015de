"""How a job's messages travel, as the coordinator sees it: the ledger, the verdicts, what is picked and refused."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from builders.averaging import Averaging, manifest_of, write_rows
from gradloom.algorithms.algorithm import Needs
from gradloom.canonical import Range
from gradloom.codecs import Account, Context, pack, parse_codec
from gradloom.codecs.left_over import RESIDUAL
from gradloom.data.preparation import Split
from gradloom.data.profile import profile_shard
from gradloom.data.reading import read_shard
from gradloom.errors import InvalidInput
from gradloom.jobs import Compression
from gradloom.saved import Saved
from gradloom.specs import DataSpec, JobSpec, check_spec
from gradloom.tensors import Tensors
from gradloom.v1 import worker_pb2
from gradloom_coordinator.compression.gathering import NEVER, Gathering
from gradloom_coordinator.compression.ledger import Ledger, restored_ledger
from gradloom_coordinator.compression.pick import AGAIN_AFTER, ROUNDS, Picker, pick
from gradloom_coordinator.compression.traffic import Traffic, check_codecs
from gradloom_coordinator.compression.verdicts import Verdicts
from gradloom_coordinator.durability.checkpoints import Checkpoint, from_bytes, to_bytes
from gradloom_coordinator.journal import Journal
from gradloom_coordinator.monitoring.traffic_metrics import TrafficMetrics
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.scheduling.events import TaskRef
from gradloom_coordinator.training import Training

WIDTH = 5000


def ref(round_: int, lo: int = 0, attempt: int = 1) -> TaskRef:
    return TaskRef("job", round_, Range(lo, lo + 1), attempt)


# ---- what workers hear of their answers


def test_a_worker_is_told_until_it_shows_that_it_has_heard() -> None:
    verdicts = Verdicts(tracks=True)
    verdicts.count("w", ref(1))
    verdicts.count("w", ref(1, lo=3))
    verdicts.count("other", ref(1, lo=5))
    assert verdicts.tell("w", 2) == [ref(1), ref(1, lo=3)]
    assert verdicts.tell("w", 3) == [ref(1), ref(1, lo=3)]
    verdicts.answered("w", ref(2))  # it may not have heard what it was told in round 3
    assert verdicts.tell("w", 3) == [ref(1), ref(1, lo=3)]
    verdicts.count("w", ref(3))
    verdicts.answered("w", ref(3))
    assert verdicts.tell("w", 4) == [ref(3)]
    assert verdicts.tell("other", 4) == [ref(1, lo=5)]


def test_nothing_is_tracked_while_nobody_leaves_anything_out() -> None:
    verdicts = Verdicts()
    verdicts.count("w", ref(1))
    assert verdicts.tell("w", 2) == []
    assert not verdicts.gone("w")


def test_a_worker_that_is_gone_takes_something_along_only_once() -> None:
    traffic = Traffic(verdicts=Verdicts(tracks=True), _remembers=True)
    traffic.counted("w", ref(1), Account(), {})
    assert traffic.worker_gone("w")
    assert not traffic.worker_gone("w")
    assert not traffic.worker_gone("stranger")
    assert traffic.ledger.resets == 1


def test_a_worker_that_has_sent_all_it_had_loses_nothing() -> None:
    verdicts = Verdicts(tracks=True)
    verdicts.count("w", ref(1))
    verdicts.count("w", ref(2), left_over=False)
    assert verdicts.tell("w", 3) == [ref(1), ref(2)]
    assert not verdicts.gone("w")


# ---- the ledger


def test_the_ledger_adds_up_by_direction_and_codec() -> None:
    ledger = Ledger()
    ledger.arrived("none", 100, 100, 0.5, 0.5)
    ledger.arrived("int8", 400, 100, 0.25, 0.125)
    ledger.sent("bfloat16", 1000, 500)
    ledger.counted(Account(square_error=1.0, square_norm=100.0, square_residual=9.0))
    ledger.counted(Account(square_error=3.0, square_norm=300.0, square_residual=16.0))
    assert ledger.view("int8", "bfloat16", "").relative_error is None
    ledger.end_round()
    ledger.counted(Account(square_residual=4.0))
    ledger.end_round()  # the error is measured now and then only
    assert ledger.view("int8", "bfloat16", "why") == Compression(
        codec="int8",
        downlink="bfloat16",
        reason="why",
        raw_bytes_up=500,
        wire_bytes_up=200,
        raw_bytes_down=1000,
        wire_bytes_down=500,
        encode_seconds=0.25,
        decode_seconds=0.125,
        relative_error=0.1,
        residual_norm=2.0,
        resets=0,
    )
    assert replace(
        restored_ledger(ledger.save()).view("int8", "bfloat16", "why"), relative_error=0.1, residual_norm=2.0
    ) == ledger.view("int8", "bfloat16", "why")


# ---- auto


@pytest.mark.parametrize(
    ("megabytes_per_s", "sparse_suits", "codec"),
    [
        (5000.0, True, "none"),
        (300.0, True, "bfloat16"),
        (40.0, False, "int8"),
        (4.0, True, "topk:0.01"),
        (4.0, False, "int8"),
    ],
)
def test_the_slower_the_answers_come_the_less_is_sent(
    megabytes_per_s: float, sparse_suits: bool, codec: str
) -> None:
    found, reason = pick(8_000_000, 8, megabytes_per_s * 1e6, 0.1, sparse_suits=sparse_suits)
    assert found == codec
    assert f"8 MB come at {megabytes_per_s:.3g} MB/s" in reason


def test_a_sparse_codec_is_taken_only_where_sending_is_most_of_a_round() -> None:
    assert pick(8_000_000, 8, 4e6, 60.0, sparse_suits=True)[0] == "int8"


def test_auto_measures_first_and_says_what_it_has_picked() -> None:
    picker = Picker()
    said = []
    for _ in range(ROUNDS + AGAIN_AFTER):
        picker.measured(8_000_000, 8_000_000, 0.5)
        said.append(picker.end_round(0.52, element_bytes=8, sparse_suits=True))
    told = [words for words in said if words]
    assert len(told) == 1
    assert said[ROUNDS - 1] == told[0]
    assert told[0].startswith("codec topk:0.01: answers of 8 MB come at 16 MB/s")


def test_auto_leaves_small_answers_alone() -> None:
    picker = Picker()
    for _ in range(ROUNDS):
        picker.arrived(48_000)
        said = picker.end_round(0.01, element_bytes=8, sparse_suits=True)
    assert said == "codec none: answers of 48 kB are too small for a codec to pay"


# ---- what is refused


def spec(algorithm: str = "multinomial", solver: str = "adam", **fields: str) -> JobSpec:
    return JobSpec(algorithm, DataSpec(("data.csv",), "y"), {"solver": solver}, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"codec": "topk:7"}, "codec: 'topk:7' is not allowed: RATIO must be a number"),
        ({"downlink": "auto"}, "downlink: 'auto' is not allowed"),
        ({"downlink": "zip"}, "downlink: 'zip' is not allowed"),
    ],
)
def test_what_is_no_codec_is_refused_before_anything_is_sent(fields: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        check_spec(spec(**fields))


def test_codecs_that_do_not_suit_the_algorithm_are_refused() -> None:
    for codec in ("none", "float16", "int8", "auto", "topk:0.01", "signsgd", "dgc", "powersgd"):
        check_codecs(spec(codec=codec, downlink="int8"))
    check_codecs(spec(solver="lbfgs", codec="bfloat16"))
    with pytest.raises(InvalidInput, match=r"codec: topk:0.01 does not suit multinomial.*whole gradients"):
        check_codecs(spec(solver="lbfgs", codec="topk:0.01"))
    with pytest.raises(InvalidInput, match=r"downlink: int8 does not suit multinomial.*compare losses"):
        check_codecs(spec(solver="lbfgs", downlink="int8"))
    mlp = JobSpec("mlp_classifier", DataSpec(("data.csv",), "y"), {"solver": "sgd"}, codec="dgc")
    with pytest.raises(
        InvalidInput, match=r"keeps the momentum itself, and so does solver=sgd with momentum=0.9"
    ):
        check_codecs(mlp)
    check_codecs(replace(mlp, settings={"solver": "sgd", "momentum": "0"}))
    check_codecs(replace(mlp, codec="dgc:0.01,momentum=0"))
    with pytest.raises(InvalidInput, match=r"downlink: dgc:0.01 is for gradients"):
        check_codecs(spec(downlink="dgc:0.01"))


def test_an_algorithm_without_gradients_takes_none_or_auto() -> None:
    bare = JobSpec("statistics", DataSpec(("data.csv",)))
    check_codecs(replace(bare, codec="none"))
    check_codecs(replace(bare, codec="auto"))
    with pytest.raises(InvalidInput, match=r"codec: int8 does not suit statistics.*no sums of gradients"):
        check_codecs(replace(bare, codec="int8"))
    with pytest.raises(InvalidInput, match=r"downlink: int8 does not suit statistics.*no parameters"):
        check_codecs(replace(bare, downlink="int8"))


# ---- a job


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
    run.traffic.counted("w", ref(run.round), Account(square_residual=4.0), left_over or {})
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


def test_what_the_answers_of_a_round_leave_out_is_added_up() -> None:
    gathering = Gathering()
    gathering.counted("a", ref(1), {"x": np.ones(2)}, holds_back=False)  # nobody asked
    gathering.want()
    for _ in range(2):  # prepared anew
        gathering.open_round(2, 4, frozenset({"a", "b", "c"}))
    gathering.counted("a", ref(2, 0), {"x": np.ones(2)}, holds_back=False)
    gathering.counted("b", ref(2, 1), {"x": np.ones(2), "y": np.ones(1)}, holds_back=False)
    gathering.counted("a", ref(2, 2), {}, holds_back=True)  # the first one is undecided there
    gathering.counted("c", ref(1, 3), {"x": np.ones(2)}, holds_back=False)  # carried over: it was not asked
    assert not gathering.end_round(7)
    assert gathering.tensors.keys() == {"x", "y"}
    np.testing.assert_array_equal(gathering.tensors["x"], [2.0, 2.0])
    assert (gathering.iteration, gathering.missing, gathering.asked) == (7, 1, False)
    gathering.open_round(3, 4, frozenset({"a"}))
    gathering.end_round(8)
    assert (gathering.tensors, gathering.iteration, gathering.missing) == ({}, NEVER, 0)


def test_a_worker_whose_memories_another_answer_has_taken_up_is_missing() -> None:
    gathering = Gathering()
    gathering.want()
    gathering.open_round(1, 2, frozenset({"a"}))
    gathering.counted("a", ref(1, 1), {"x": np.ones(2)}, holds_back=True)  # the first lost against a copy
    gathering.end_round(1)
    assert gathering.missing == 1


def test_what_was_handed_out_to_shards_that_did_not_count_is_lost_and_counted() -> None:
    for shards, lost in ((range(4), False), (range(3), True)):
        gathering = Gathering()
        gathering.restore({"x": np.ones(2)}, 5)
        gathering.open_round(9, 4, frozenset())
        gathering.counted("a", ref(8, 0), {}, holds_back=False)
        for shard in shards:
            gathering.counted("a", ref(9, shard), {}, holds_back=False)
        assert gathering.end_round(6) is lost
        assert not gathering.hands_out


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


def test_an_answer_that_proves_nothing_says_nothing_about_what_was_heard() -> None:
    traffic = Traffic(verdicts=Verdicts(tracks=True))
    traffic.counted("w", ref(1), Account(), {})
    assert traffic.verdicts.tell("w", 2) == [ref(1)]
    traffic.arrived("w", ref(2), 1, 1, 0.0, 0.0, heard=False)
    assert traffic.verdicts.tell("w", 2) == [ref(1)]
    traffic.arrived("w", ref(2), 1, 1, 0.0, 0.0)
    assert traffic.verdicts.tell("w", 3) == []


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
    run.traffic.arrived("w", ref(run.round), 40_000, 5_100, 0.002, 0.0001)
    run.traffic.sent(40_000, 40_000)
    packed = pack({"g": np.ones(WIDTH)}, ("g",), parse_codec("int8"), {}, Context())
    run.traffic.counted("w", ref(run.round), packed.account, {})
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

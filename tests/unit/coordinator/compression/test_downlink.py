"""Parameters on their way down: whoever joins when, all workers compute with the same."""

import numpy as np
import pytest

from gradloom.codecs import Context, parse_codec, unpack
from gradloom.errors import FrameRefused, JobFailed
from gradloom.tensors import Array, Tensors
from gradloom.v1 import worker_pb2
from gradloom.wire.bundles import decode_inline
from gradloom_coordinator.broadcasts import Broadcast, broadcast_of
from gradloom_coordinator.compression.downlink import Downlink, Outgoing
from gradloom_worker.broadcasts import Broadcasts

N = 5000
CODECS = ("float16", "bfloat16", "int8", "topk:0.01", "signsgd")


def message(iteration: int, dtype: str = "float64") -> Tensors:
    """Parameters that go their way, and something else."""
    start, pull = (np.random.default_rng(seed).normal(size=N) for seed in (0, 1))
    return {
        "w": (start + 0.01 * iteration * pull).astype(dtype),
        "round": np.asarray(iteration, dtype=np.int64),
        "b": np.full(3, iteration, dtype=dtype),
    }


def prepare(downlink: Downlink, text: str, iteration: int, round_: int | None = None) -> Outgoing:
    codec, context = parse_codec(text), Context(5, iteration)
    return downlink.prepare(message(iteration), ("w", "b"), codec, context, round_ or iteration + 10)


def test_without_a_codec_the_message_is_sent_as_it_is() -> None:
    downlink, sent = Downlink(), message(0)
    outgoing = downlink.prepare(sent, ("w",), None, Context(), 1)
    assert outgoing.whole is sent
    assert (outgoing.difference, outgoing.replicated, outgoing.base_round) == (None, (), 0)


def test_at_first_everybody_gets_the_parameters_in_single_precision() -> None:
    outgoing = prepare(Downlink(), "int8", 0)
    assert outgoing.difference is None
    assert outgoing.replicated == ("w",)  # b is small
    w = outgoing.whole["w"]
    assert w.dtype == np.float64
    np.testing.assert_array_equal(w, message(0)["w"].astype(np.float32))
    assert outgoing.whole["b"].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("text", CODECS)
def test_differences_take_a_worker_to_what_the_others_get_whole(text: str) -> None:
    downlink, here = Downlink(), None
    for iteration in range(6):
        outgoing = prepare(downlink, text, iteration)
        if here is None:
            here = outgoing.whole["w"]
            continue
        assert outgoing.difference is not None
        assert outgoing.base_round == iteration + 9
        step = unpack(outgoing.difference)["w"]
        here = (here.astype(np.float32) + step.astype(np.float32)).astype(np.float64)
        assert (here == outgoing.whole["w"]).all()


@pytest.mark.parametrize(("text", "error"), [("float16", 3e-5), ("bfloat16", 2e-4), ("int8", 1e-3)])
def test_what_workers_have_follows_the_parameters(text: str, error: float) -> None:
    downlink = Downlink()
    outgoing = [prepare(downlink, text, iteration) for iteration in range(20)][-1]
    assert np.abs(outgoing.whole["w"] - message(19)["w"]).max() < error


def test_what_a_difference_leaves_out_is_in_the_next() -> None:
    """The parameters stand still: in the end all of them have arrived."""
    downlink, still = Downlink(), message(7)
    prepare(downlink, "topk:0.1", 0)
    for iteration in range(1, 11):
        outgoing = downlink.prepare(still, ("w",), parse_codec("topk:0.1"), Context(5, iteration), iteration)
    assert np.abs(outgoing.whole["w"] - still["w"]).max() < 1e-3


def test_preparing_a_round_again_gives_the_same() -> None:
    downlink = Downlink()
    prepare(downlink, "int8", 0)
    first = prepare(downlink, "int8", 1)
    again = prepare(downlink, "int8", 1)
    assert (first.whole["w"] == again.whole["w"]).all()
    assert again.base_round == first.base_round
    other = prepare(downlink, "topk:0.01", 1)
    assert (other.whole["w"] != first.whole["w"]).any()
    none = downlink.prepare(message(1), ("w",), None, Context(5, 1), 11)
    assert none.difference is None
    back = prepare(downlink, "int8", 1)
    assert (back.whole["w"] == first.whole["w"]).all()


def test_a_checkpoint_goes_on_to_the_same_bits() -> None:
    downlink = Downlink()
    for iteration in range(3):
        prepare(downlink, "int8", iteration)
    kept = downlink.before(3)
    assert kept is not None
    going_on = prepare(downlink, "int8", 3)
    assert downlink.before(3) is kept  # a checkpoint of iteration 3 may be taken later too
    after = Downlink()
    after.restore({name: np.array(array) for name, array in kept.items()})
    restarted = prepare(after, "int8", 3)
    assert (restarted.whole["w"] == going_on.whole["w"]).all()
    assert restarted.difference is None  # nobody is known to have what it would be a difference from
    assert prepare(after, "int8", 4).base_round == 13


def test_a_new_codec_and_a_new_shape_begin_anew() -> None:
    downlink = Downlink()
    prepare(downlink, "int8", 0)
    downlink.prepare(message(1), ("w",), None, Context(5, 1), 11)
    assert prepare(downlink, "bfloat16", 2).difference is None
    larger = {"w": np.zeros(2 * N)}
    assert downlink.prepare(larger, ("w",), parse_codec("int8"), Context(5, 3), 13).difference is None


def test_parameters_that_are_not_finite_end_the_job() -> None:
    downlink = Downlink()
    prepare(downlink, "int8", 0)
    bad = {**message(1), "w": np.full(N, np.inf)}
    with pytest.raises(JobFailed, match="'w' can't be sent: it holds NaN, Inf"):
        downlink.prepare(bad, ("w",), parse_codec("int8"), Context(5, 1), 11)


# ---- on the wire


def received(broadcasts: Broadcasts, broadcast: Broadcast) -> Array:
    """What a worker computes with, once it has heard."""
    compute = worker_pb2.CoordinatorMessage.FromString(broadcast.compute).compute
    replicated = list(compute.replicated)
    broadcasts.announce("job", compute.round, compute.broadcast, compute.base_round, replicated)
    found = broadcasts.message("job", compute.round)
    assert found is not None
    return found["w"]


@pytest.mark.parametrize("text", CODECS)
def test_workers_that_were_away_get_the_whole_and_have_the_same(text: str) -> None:
    downlink, steady, other = Downlink(), Broadcasts(), Broadcasts()
    smaller = 0
    for iteration in range(5):
        round_ = iteration + 10
        broadcast = broadcast_of(
            worker_pb2.Compute(job_id="job", round=round_), prepare(downlink, text, iteration), 1
        )
        usual, whole = broadcast.for_worker(round_ - 1), broadcast.for_worker(0)
        assert whole is broadcast.for_worker(0)
        assert usual.raw_bytes == whole.raw_bytes
        smaller += usual.byte_length < whole.byte_length
        assert (received(steady, usual) == received(other, whole)).all()
        bundle = worker_pb2.CoordinatorMessage.FromString(whole.compute).compute.broadcast
        assert decode_inline(bundle)["round"] == iteration
    assert smaller == 4


def test_a_worker_refuses_differences_from_what_it_has_not() -> None:
    downlink = Downlink()
    prepare(downlink, "int8", 0)
    usual = broadcast_of(worker_pb2.Compute(job_id="job", round=11), prepare(downlink, "int8", 1), 1)
    with pytest.raises(FrameRefused, match="difference from round 10, which is not here"):
        received(Broadcasts(), usual)

"""Partials on their way: what is encoded, what stays as it is, and what it came to."""

import numpy as np
import pytest

from gradloom.codecs import Context, Memory, NotFinite, Packed, pack, parse_codec, unpack
from gradloom.codecs.packing import SMALLEST
from gradloom.tensors import Tensors

CONTEXT = Context(seed=1, iteration=0, lo=0, hi=2)


def partial(n: int = 5000) -> Tensors:
    rng = np.random.default_rng(0)
    return {
        "loss": np.asarray(3.25),
        "gradient": rng.normal(size=n),
        "bias": rng.normal(size=10),
        "other": rng.normal(size=n),
    }


def test_only_large_gradients_are_encoded() -> None:
    tensors = partial()
    packed = pack(tensors, ("gradient", "bias"), parse_codec("float16"), {}, CONTEXT)
    kinds = {name: isinstance(part, Packed) for name, part in packed.parcel.items()}
    assert kinds == {"loss": False, "gradient": True, "bias": False, "other": False}
    received = unpack(packed.parcel)
    assert received["gradient"].dtype == np.float64
    assert np.abs(received["gradient"] - tensors["gradient"]).max() < 2e-3
    assert all((received[name] == tensors[name]).all() for name in ("loss", "bias", "other"))
    assert packed.account.raw_bytes == 8 * 5010
    assert packed.account.wire_bytes == 4 + 2 * 5000 + 80
    assert packed.account.relative_error == pytest.approx(2e-4, rel=0.5)


def test_without_a_codec_nothing_changes() -> None:
    tensors = partial()
    packed = pack(tensors, ("gradient",), None, {}, CONTEXT)
    assert all(packed.parcel[name] is tensors[name] for name in tensors)
    assert packed.account.raw_bytes == packed.account.wire_bytes == 8 * 5000


def test_what_is_remembered_goes_with_the_next_partial_under_any_codec() -> None:
    tensors = partial()
    first = pack(tensors, ("gradient",), parse_codec("topk:0.01"), {}, CONTEXT)
    sent = unpack(first.parcel)["gradient"]
    for text in ("none", "bfloat16", "signsgd", "powersgd:2"):  # the last one passes a tensor of one axis
        then = pack(tensors, ("gradient",), parse_codec(text), first.memory, CONTEXT)
        left = then.memory["gradient"].residual if then.memory else 0.0
        total = sent + unpack(then.parcel)["gradient"] + left
        tolerance = 0.04 if text == "bfloat16" else 1e-6
        np.testing.assert_allclose(total, 2 * tensors["gradient"], atol=tolerance)


def test_memories_of_another_codec_are_understood() -> None:
    n, memory = SMALLEST, {}
    for text in ("dgc:0.01", "topk:0.01", "powersgd:2", "dgc:0.01"):
        tensors = {"gradient": np.random.default_rng(1).normal(size=(64, n // 64))}
        memory = pack(tensors, ("gradient",), parse_codec(text), memory, CONTEXT).memory
        assert isinstance(memory["gradient"], Memory)


@pytest.mark.parametrize("text", ["float16", "topk:0.1", "int8"])
def test_what_float32_can_not_hold_is_refused_by_name(text: str) -> None:
    tensors = {"gradient": np.full(5000, 1e300)}
    with pytest.raises(NotFinite, match="'gradient' can't be encoded: it holds NaN"):
        pack(tensors, ("gradient",), parse_codec(text), {}, CONTEXT)


@pytest.mark.parametrize("text", ["float16", "int8", "topk:0.01"])
def test_the_error_is_measured_now_and_then(text: str) -> None:
    codec, tensors = parse_codec(text), partial()
    errors = [
        pack(tensors, ("gradient",), codec, {}, Context(1, i, 0, 1)).account.relative_error
        for i in (0, 1, 16)
    ]
    assert errors[0] is not None
    assert errors[1] is None
    assert errors[2] == pytest.approx(errors[0], rel=0.2)


def test_accounts_add_up() -> None:
    one = pack(partial(), ("gradient",), parse_codec("topk:0.01"), {}, CONTEXT).account
    both = one + one
    assert both.wire_bytes == 2 * one.wire_bytes
    assert both.relative_error == pytest.approx(one.relative_error)
    assert both.square_residual == pytest.approx(2 * one.square_residual)

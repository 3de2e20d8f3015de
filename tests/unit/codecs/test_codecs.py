"""Every codec: what comes back, what is remembered, what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradloom.codecs import Context, Format, Packed, decode, folded, parse_codec
from gradloom.codecs.codec import Codec, Floats, Memory, NotFinite
from gradloom.codecs.dgc import Dgc
from gradloom.codecs.float16 import shift_of
from gradloom.codecs.topk import TopK
from gradloom.errors import FrameRefused

CODECS = ("float16", "bfloat16", "int8", "topk:0.01", "topk:0.5", "dgc:0.01", "powersgd:2", "signsgd")
MATRIX_ONLY = ("powersgd:2",)
CONTEXT = Context(seed=3, iteration=0, lo=0, hi=4, tensor="gradient")


def codec_of(text: str) -> Codec:
    codec = parse_codec(text)
    assert codec is not None
    return codec


def gradient(n: int = 6000, scale: float = 1.0, seed: int = 0) -> Floats:
    return (np.random.default_rng(seed).normal(size=n) * scale).astype(np.float32)


def sent(codec: Codec, array: Floats, memory: Memory | None = None, context: Context = CONTEXT):
    """What the receiver adds, what the sender remembers, and the payload's bytes."""
    payload, left = codec.encode(array, memory, context)
    assert payload is not None
    packed = Packed(codec.format, np.dtype(np.float32), array.shape, payload)
    return decode(packed), left, payload


arrays = st.builds(
    lambda n, exponent, seed: gradient(n, 2.0**exponent, seed),
    st.sampled_from([0, 1, 2, 7, 255, 256, 257, 4097]),
    st.integers(-100, 100),
    st.integers(0, 10_000),
)


# ---- round trips


@given(arrays)
@settings(max_examples=60, deadline=None)
def test_float16_keeps_eleven_bits_at_any_scale(x: Floats) -> None:
    received, left, payload = sent(codec_of("float16"), x)
    peak = float(np.abs(x).max(initial=0.0))
    assert left is None
    assert payload.nbytes == 4 + 2 * x.size
    assert (np.abs(received - x) <= 2.0**-11 * np.abs(x) + 2.0**-39 * peak).all()


@given(arrays)
@settings(max_examples=60, deadline=None)
def test_bfloat16_keeps_eight_bits_at_any_scale(x: Floats) -> None:
    received, left, payload = sent(codec_of("bfloat16"), x)
    assert left is None
    assert payload.nbytes == 2 * x.size
    assert (np.abs(received - x) <= 2.0**-8 * np.abs(x)).all()


def test_bfloat16_rounds_to_nearest_even() -> None:
    bits = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF], dtype=np.uint32)
    received, _, _ = sent(codec_of("bfloat16"), bits.view(np.float32))
    assert received.view(np.uint32).tolist() == [0x3F800000, 0x3F820000, 0x3F810000, 0x3F800000]


@given(arrays)
@settings(max_examples=60, deadline=None)
def test_int8_is_within_one_step_of_its_group(x: Floats) -> None:
    received, left, payload = sent(codec_of("int8"), x)
    assert left is None
    assert payload.nbytes == x.size + 4 * -(-x.size // 256)
    for start in range(0, x.size, 256):
        group = x[start : start + 256]
        step = float(np.abs(group).max()) / 127
        assert (np.abs(received[start : start + 256] - group) <= step * (1 + 1e-5)).all()


def test_int8_has_no_bias() -> None:
    x = gradient(2048)
    many = [sent(codec_of("int8"), x, context=Context(1, i, 0, 1, "g"))[0] for i in range(400)]
    step = np.abs(x).max() / 127
    assert np.abs(np.mean(many, axis=0) - x).max() < 0.15 * step


def test_int8_rounds_alike_for_the_same_job_round_and_shards() -> None:
    x = gradient()
    again = [sent(codec_of("int8"), x, context=Context(1, 2, 0, 4, "g"))[2] for _ in range(2)]
    others = [
        sent(codec_of("int8"), x, context=context)[2]
        for context in (
            Context(2, 2, 0, 4, "g"),
            Context(1, 3, 0, 4, "g"),
            Context(1, 2, 0, 8, "g"),
            Context(1, 2, 1, 4, "g"),
            Context(1, 2, 0, 4, "h"),
        )
    ]
    assert (again[0] == again[1]).all()
    assert all((other != again[0]).any() for other in others)


@pytest.mark.parametrize("text", CODECS)
@given(exponent=st.integers(-120, 100), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_what_arrives_is_nearer_than_nothing_at_any_scale(text: str, exponent: int, seed: int) -> None:
    x = gradient(4096, 2.0**exponent, seed).reshape(64, 64)
    received, _, _ = sent(codec_of(text), x)
    assert received.shape == x.shape
    assert received.dtype == np.float32
    assert np.linalg.norm((received - x).astype(float)) <= np.linalg.norm(x.astype(float))


@pytest.mark.parametrize("text", [text for text in CODECS if text not in MATRIX_ONLY])
@pytest.mark.parametrize("x", [[], [0.0], [-3.5], [0.0] * 300], ids=["empty", "zero", "one", "zeros"])
def test_tiny_and_empty_tensors(text: str, x: list[float]) -> None:
    array = np.array(x, dtype=np.float32)
    received, left, _ = sent(codec_of(text), array)
    expected = array if left is None else array - left.residual
    assert received == pytest.approx(expected, rel=1e-2)
    if x == [-3.5]:
        assert received == pytest.approx(array, rel=1e-2)


@pytest.mark.parametrize("text", CODECS)
def test_what_is_encoded_is_left_as_it_is(text: str) -> None:
    codec, x = codec_of(text), gradient(4096).reshape(64, 64)
    _, memory, _ = sent(codec, x)
    before = x.copy(), None if memory is None else memory.residual.copy()
    sent(codec, x, memory)
    assert (x == before[0]).all()
    assert memory is None or (memory.residual == before[1]).all()


# ---- error feedback


@pytest.mark.parametrize("text", ["topk:0.01", "topk:0.01,values=float32", "signsgd", "powersgd:2"])
def test_what_was_sent_and_the_residual_are_all_gradients(text: str) -> None:
    codec, memory, total, received = codec_of(text), None, np.zeros((64, 80)), np.zeros((64, 80))
    for i in range(30):
        g = gradient(64 * 80, seed=i).reshape(64, 80)
        arrived, memory, _ = sent(codec, g, memory, Context(1, i, 0, 1, "g"))
        total += g
        received += arrived
    assert memory is not None
    np.testing.assert_allclose(received + memory.residual, total, atol=2e-5)


def test_pure_sparsification_loses_not_a_bit() -> None:
    codec, x = TopK(0.1, exact=True), gradient()
    received, memory, _ = sent(codec, x)
    assert memory is not None
    assert ((received != 0) & (memory.residual != 0)).sum() == 0
    assert (received + memory.residual == x).all()


def test_the_residual_takes_what_rounding_the_values_has_lost() -> None:
    received, memory, _ = sent(TopK(1.0), gradient())
    assert memory is not None
    assert 0 < np.abs(memory.residual).max() <= 2.0**-10 * np.abs(received).max()
    np.testing.assert_array_equal((received + memory.residual).astype(np.float32), gradient())


@pytest.mark.parametrize("text", ["topk:0.01", "signsgd", "powersgd:2"])
def test_the_residual_stays_bounded(text: str) -> None:
    codec, memory, norms = codec_of(text), None, []
    for i in range(400):
        _, memory, _ = sent(codec, gradient(4096, seed=i).reshape(64, 64), memory)
        assert memory is not None
        norms.append(float(np.linalg.norm(memory.residual)))
    assert max(norms[200:]) < 1.5 * max(norms[:200])


def test_nothing_is_sent_with_k_zero() -> None:
    received, memory, _ = sent(TopK(0.0), gradient())
    assert memory is not None
    assert not received.any()
    assert (memory.residual == gradient()).all()


def test_low_rank_finds_a_matrix_of_low_rank() -> None:
    rng, codec, memory = np.random.default_rng(0), codec_of("powersgd:2"), None
    x = (rng.normal(size=(90, 2)) @ rng.normal(size=(2, 70))).astype(np.float32)
    received, memory, payload = sent(codec, x, memory)
    assert payload.nbytes == 24 + 4 * 2 * (90 + 70)
    assert np.linalg.norm(received - x) < 1e-5 * np.linalg.norm(x)


def test_low_rank_folds_a_long_tensor_into_rows_where_it_is_told_how() -> None:
    rng = np.random.default_rng(0)
    weights = (rng.normal(size=(90, 2)) @ rng.normal(size=(2, 70))).astype(np.float32)
    x = np.concatenate([weights.ravel(), np.arange(33, dtype=np.float32) / 100])
    codec, memory, total = codec_of("powersgd:3,columns=70"), None, np.zeros_like(x)
    for i in range(3):
        received, memory, payload = sent(codec, x, memory)
        total += received
        assert memory is not None
        assert memory.residual.shape == x.shape
        np.testing.assert_allclose(total + memory.residual, (i + 1) * x, atol=1e-4)
    assert payload.nbytes == 24 + 4 * 3 * (91 + 70)
    assert np.linalg.norm(received - x) < 1e-4 * np.linalg.norm(x)


@pytest.mark.parametrize("shape", [(6000,), (3, 2000), (5000, 1)])
def test_low_rank_leaves_alone_what_it_would_hardly_shrink(shape: tuple[int, ...]) -> None:
    x = gradient(math.prod(shape)).reshape(shape)
    assert codec_of("powersgd:2").encode(x, None, CONTEXT) == (None, None)


# ---- deep gradient compression


def test_dgc_sends_more_while_it_warms_up() -> None:
    codec = Dgc(0.001, warmup=80)
    assert [codec.ratio_at(i) for i in (0, 19, 20, 40, 60, 79, 80)] == [
        0.25, 0.25, 0.0625, 0.015625, 0.00390625, 0.00390625, 0.001,
    ]  # fmt: skip


def test_dgc_accumulates_momentum_and_masks_what_was_sent() -> None:
    codec, g = Dgc(0.25, momentum=0.5, warmup=0), np.array([4.0, 1.0, 2.0, -3.0], np.float32)
    received, memory, _ = sent(codec, g)
    assert received.tolist() == [4, 0, 0, 0]
    assert memory is not None
    assert memory.velocity is not None
    assert memory.velocity.tolist() == [0, 1, 2, -3]
    received, memory, _ = sent(codec, g, memory)
    # u = [4, 1.5, 3, -4.5], v = [4, 2.5, 5, -7.5]
    assert received.tolist() == [0, 0, 0, -7.5]
    assert memory is not None
    assert memory.velocity is not None
    assert memory.velocity.tolist() == [4, 1.5, 3, 0]
    assert memory.residual.tolist() == [4, 2.5, 5, 0]


# ---- memories


def test_memories_of_several_ranges_add_up() -> None:
    one = Memory(np.ones(3, np.float32), velocity=np.full(3, 2, np.float32))
    two = Memory(np.full(3, 5, np.float32), basis=np.zeros((3, 1), np.float32))
    both = folded([one, two])
    assert both is not None
    assert both.residual.tolist() == [6, 6, 6]
    assert both.velocity is not None
    assert both.velocity.tolist() == [2, 2, 2]
    assert both.basis is two.basis
    assert folded([]) is None
    assert both.nbytes == 36


# ---- what is refused


@pytest.mark.parametrize("text", CODECS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_is_refused(text: str, bad: float) -> None:
    x = gradient(4096).reshape(64, 64)
    x[3, 5] = bad
    with pytest.raises(NotFinite, match="NaN, Inf"):
        codec_of(text).encode(x, None, CONTEXT)


@pytest.mark.parametrize("text", CODECS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_damaged_payloads_are_refused_or_finite(text: str, data: st.DataObject) -> None:
    """Checksums catch accidents; this is for a sender that means harm: no crash, no NaN, no other shape."""
    x = gradient(4096).reshape(64, 64)
    _, _, payload = sent(codec_of(text), x)
    broken = payload.copy()
    match data.draw(st.sampled_from(["flip", "cut", "longer", "noise"])):
        case "flip":
            for _ in range(data.draw(st.integers(1, 4))):
                place = data.draw(st.one_of(st.integers(0, 30), st.integers(0, broken.size - 1)))
                broken[place] ^= data.draw(st.integers(1, 255))
        case "cut":
            broken = broken[: data.draw(st.integers(0, broken.size - 1))]
        case "longer":
            broken = np.concatenate([broken, np.zeros(data.draw(st.integers(1, 9)), np.uint8)])
        case "noise":
            size = data.draw(st.integers(0, 400))
            broken = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 256, size, np.uint8)
    try:
        received = decode(Packed(codec_of(text).format, np.dtype(np.float64), x.shape, broken))
    except FrameRefused:
        return
    assert received.shape == x.shape
    assert np.isfinite(received).all()


@pytest.mark.parametrize("format_", Format)
def test_every_format_refuses_an_empty_payload(format_: Format) -> None:
    with pytest.raises(FrameRefused):
        decode(Packed(format_, np.dtype(np.float32), (5000,), np.empty(0, np.uint8)))


def test_the_scale_of_halves_is_a_power_of_two_that_can_be_undone() -> None:
    assert shift_of(0.0) == 0
    assert shift_of(1.0) == 14
    assert shift_of(1e-45) == 126
    assert shift_of(1e38) == -112

"""Good bytes made bad, for Hypothesis: what is changed, cut, doubled or made huge stays small enough to look at."""

from hypothesis import strategies as st

MOST = 2000
HUGE = (
    b"\xff" * 8,
    b"\0" * 8,
    b"\xff" * 7 + b"\x7f",
    b"\x80" * 9 + b"\1",
    (1 << 40).to_bytes(8, "little"),
    b"9" * 20,
)


@st.composite
def hostile(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Bytes of their own, or a seed after some changes."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=200))
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.integers(0, 4)):
            case 0 if data:
                data[at] = draw(st.integers(0, 255))
            case 1:
                del data[at:]
            case 2:
                data[at : at + draw(st.integers(0, 8))] = draw(st.sampled_from(HUGE))
            case 3:
                data[at:at] = data[: draw(st.integers(0, 40))]
            case _:
                data[at:at] = draw(st.binary(max_size=8))
    return bytes(data)

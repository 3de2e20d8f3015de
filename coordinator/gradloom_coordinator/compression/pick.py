"""``codec=auto``: which codec pays, from how fast answers really came. Pure.

Sending one partial takes

    none:   bytes / bandwidth            codec:   wire bytes / bandwidth + float32 bytes / speed of encode and decode

The ladder goes from what changes nothing to what changes most: none, bfloat16, int8, and for steps along the gradient
topk:0.01. A rung is taken only where it saves a fair part of what the one before takes, and a time worth speaking of.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from gradloom.words import bytes_text, seconds_text

ROUNDS = 3
"""Rounds that are measured before the first choice."""
AGAIN_AFTER = 100
"""Rounds until the next."""
MIN_GAIN = 1.3
MIN_SAVED_S = 0.002
SENDING_SHARE = 0.5
"""A sparse codec is taken only where sending with int8 would still be so much of a round."""
SAMPLES = 64


@dataclass(frozen=True, slots=True)
class Rung:
    """A codec of the ladder; bytes a second of float32, encode and decode together, on a busy core."""

    codec: str
    wire_bytes_per_element: float
    bytes_per_s: float
    sparse: bool = False


LADDER = (
    Rung("bfloat16", 2.0, 2.0e9),
    Rung("int8", 1.016, 0.9e9),
    Rung("topk:0.01", 0.033, 1.2e9, sparse=True),
)


def pick(
    raw_bytes: int, element_bytes: int, bytes_per_s: float, rest_s: float, *, sparse_suits: bool
) -> tuple[str, str]:
    """The codec for partials of so many bytes, and why; ``rest_s`` is what a round takes besides sending one."""
    elements, chosen, send_s = raw_bytes / element_bytes, "none", raw_bytes / bytes_per_s
    reason = (
        f"{_told(raw_bytes, bytes_per_s)}: sending one takes {seconds_text(send_s)}, and no codec saves much"
    )
    for rung in LADDER:
        if rung.sparse and (not sparse_suits or send_s < SENDING_SHARE * (send_s + rest_s)):
            continue
        with_codec_s = elements * (rung.wire_bytes_per_element / bytes_per_s + 4.0 / rung.bytes_per_s)
        if send_s >= MIN_GAIN * with_codec_s and send_s - with_codec_s >= MIN_SAVED_S:
            chosen, send_s = rung.codec, with_codec_s
            times = f"{seconds_text(send_s)}, not {seconds_text(raw_bytes / bytes_per_s)}"
            reason = f"{_told(raw_bytes, bytes_per_s)}: one takes about {times}"
    return chosen, reason


def _told(raw_bytes: int, bytes_per_s: float) -> str:
    return f"answers of {bytes_text(raw_bytes)} come at {bytes_text(bytes_per_s)}/s"


@dataclass(slots=True)
class Picker:
    """Measures how fast big answers come, and picks now and then."""

    codec: str = "none"
    reason: str = "measuring how fast answers come"
    _rates: list[float] = field(default_factory=list)
    _raw_bytes: int = 0
    _wire_bytes: int = 0
    _rounds: int = 0

    def measured(self, wire_bytes: int, raw_bytes: int, seconds: float) -> None:
        """A big answer has come, in so many seconds from the moment it was asked for."""
        self._raw_bytes, self._wire_bytes = raw_bytes, wire_bytes
        self._rates = [*self._rates[1 - SAMPLES :], wire_bytes / max(seconds, 1e-6)]

    def arrived(self, raw_bytes: int) -> None:
        """An answer has come inline: so fast that there is nothing to measure."""
        self._raw_bytes = max(self._raw_bytes, raw_bytes)

    def end_round(self, round_s: float, *, element_bytes: int, sparse_suits: bool) -> str | None:
        """A round of training is over; what to say if another codec is in force from now on."""
        self._rounds += 1
        if (self._rounds - ROUNDS) % AGAIN_AFTER:
            return None
        before = self.codec, self.reason
        self.codec, self.reason = self._choose(self._rates, round_s, element_bytes, sparse_suits)
        return f"codec {self.codec}: {self.reason}" if (self.codec, self.reason) != before else None

    def _choose(
        self, rates: Sequence[float], round_s: float, element_bytes: int, sparse_suits: bool
    ) -> tuple[str, str]:
        if not rates:
            return "none", f"answers of {bytes_text(self._raw_bytes)} are too small for a codec to pay"
        bytes_per_s = median(rates)
        rest_s = max(0.0, round_s - self._wire_bytes / bytes_per_s)
        return pick(self._raw_bytes, element_bytes, bytes_per_s, rest_s, sparse_suits=sparse_suits)

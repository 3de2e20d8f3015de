"""What travelled in a job's rounds of training: bytes with and without codecs, seconds, errors, resets. Pure."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

from gradloom.codecs import NONE, Account
from gradloom.jobs import Compression
from gradloom.saved import Scalar

BUCKETS_S = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


@dataclass(slots=True)
class Flow:
    """Bytes of one codec in one direction."""

    raw_bytes: int = 0
    wire_bytes: int = 0


@dataclass(slots=True)
class Times:
    """How long something took, by buckets; the last one has no end."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        """It took so long once more."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.total_s += seconds


@dataclass(slots=True)
class Ledger:
    """One job's; what people see of it is a ``Compression``."""

    up: dict[str, Flow] = field(default_factory=dict)
    """By codec."""
    down: dict[str, Flow] = field(default_factory=dict)
    encode_s: float = 0.0
    decode_s: float = 0.0
    times: dict[tuple[str, str], Times] = field(default_factory=dict)
    """By codec and ``encode`` or ``decode``; not kept across a restart."""
    resets: int = 0
    relative_error: float | None = None
    residual_norm: float = 0.0
    _round: Account = field(default_factory=Account)
    """Of the open round."""

    def arrived(self, codec: str, raw: int, wire: int, encode_s: float, decode_s: float) -> None:
        """A partial has arrived, needed or not."""
        flow = self.up.setdefault(codec, Flow())
        flow.raw_bytes += raw
        flow.wire_bytes += wire
        if codec != NONE:
            self.encode_s += encode_s
            self.decode_s += decode_s
            for op, seconds in (("encode", encode_s), ("decode", decode_s)):
                self.times.setdefault((codec, op), Times()).add(seconds)

    def sent(self, codec: str, raw: int, wire: int) -> None:
        """A broadcast was sent to a worker."""
        flow = self.down.setdefault(codec, Flow())
        flow.raw_bytes += raw
        flow.wire_bytes += wire

    def counted(self, account: Account) -> None:
        """A partial is part of the round's sum."""
        if account.square_norm or account.square_residual:
            self._round += account

    def end_round(self) -> None:
        """Every partial of the round is counted."""
        account, self._round = self._round, Account()
        self.residual_norm = account.square_residual**0.5
        if account.relative_error is not None:
            self.relative_error = account.relative_error

    def view(self, codec: str, downlink: str, reason: str) -> Compression:
        """As people see it."""
        up, down = self.up.values(), self.down.values()
        return Compression(
            codec=codec,
            downlink=downlink,
            reason=reason,
            raw_bytes_up=sum(flow.raw_bytes for flow in up),
            wire_bytes_up=sum(flow.wire_bytes for flow in up),
            raw_bytes_down=sum(flow.raw_bytes for flow in down),
            wire_bytes_down=sum(flow.wire_bytes for flow in down),
            encode_seconds=self.encode_s,
            decode_seconds=self.decode_s,
            relative_error=self.relative_error,
            residual_norm=self.residual_norm,
            resets=self.resets,
        )

    def save(self) -> dict[str, Scalar]:
        """For a checkpoint."""
        values: dict[str, Scalar] = {
            "encode_s": self.encode_s.hex(),
            "decode_s": self.decode_s.hex(),
            "resets": self.resets,
        }
        for direction, flows in (("up", self.up), ("down", self.down)):
            for codec, flow in flows.items():
                values[f"{direction} {codec}"] = f"{flow.raw_bytes} {flow.wire_bytes}"
        return values


def restored_ledger(values: Mapping[str, Scalar]) -> Ledger:
    """A ledger that was saved. Raises ValueError, KeyError for values that are none."""
    ledger = Ledger(
        encode_s=float.fromhex(str(values["encode_s"])),
        decode_s=float.fromhex(str(values["decode_s"])),
        resets=int(str(values["resets"])),
    )
    for name, value in values.items():
        direction, space, codec = name.partition(" ")
        if space and direction in ("up", "down"):
            raw, wire = map(int, str(value).split())
            flows = ledger.up if direction == "up" else ledger.down
            flows[codec] = Flow(raw, wire)
    return ledger

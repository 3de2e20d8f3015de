"""Moments, in seconds since the epoch, <-> protobuf."""

from google.protobuf.timestamp_pb2 import Timestamp


def set_time(stamp: Timestamp, at: float) -> None:
    """Seconds and nanoseconds apart: a float of nanoseconds since the epoch would be 100 ns off."""
    seconds, fraction = divmod(at, 1.0)
    stamp.seconds = int(seconds)
    stamp.nanos = min(round(fraction * 1e9), 999_999_999)


def get_time(stamp: Timestamp) -> float:
    """Seconds since the epoch."""
    return float(stamp.seconds + stamp.nanos * 1e-9)

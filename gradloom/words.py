"""Numbers, sizes and moments in words: the same in terminals, on pages, in notebooks and in sentences. Pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime


def number_text(value: float | None) -> str:
    """Six digits, or a dash."""
    return "-" if value is None else f"{value:.6g}"


def seconds_text(seconds: float) -> str:
    """A duration: ``0 s``, ``0.42 ms``, ``420 ms``, ``12.3 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if 0 < seconds < 0.9995:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left:02d} min" if hours else f"{minutes} min {rest:02d} s"


def bytes_text(count: float) -> str:
    """What travels or lies on a disk, in powers of ten: ``0 B``, ``48 kB``, ``1.5 MB``."""
    return _scaled(count, ("B", "kB", "MB", "GB", "TB"))


def memory_text(count: float) -> str:
    """Memory, in powers of two as it is sold: ``512 KiB``, ``100.0 MiB``, ``8.0 GiB``."""
    for unit in ("B", "KiB"):
        if count < 1023.5:
            return f"{count:.0f} {unit}"
        count /= 1024
    for unit in ("MiB", "GiB"):
        if count < 1023.95:
            return f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def rate_text(rows_per_second: float) -> str:
    """``950 rows/s``, ``1.2 M rows/s``."""
    return _scaled(rows_per_second, ("rows/s", "k rows/s", "M rows/s", "G rows/s"))


def _scaled(value: float, units: Sequence[str]) -> str:
    """Three digits and the unit that needs no more."""
    for unit in units:
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{1000 * value:,.0f} {units[-1]}"


def share_text(share: float) -> str:
    """``12.3 %``."""
    return f"{100 * share:.1f} %"


def time_text(at: float) -> str:
    """A moment, given in seconds since the epoch, in local time: ``2026-03-01 15:52:50``."""
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def clock_text(at: float) -> str:
    """A moment of the day in local time: ``15:52:50``."""
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%H:%M:%S")


def counted(number: int, thing: str) -> str:
    """``1 round``, ``1,200 rounds``."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def pairs_text(pairs: Mapping[str, object]) -> str:
    """``disk=ssd, zone=a``, in the order given; empty for none."""
    return ", ".join(f"{name}={value}" for name, value in pairs.items())

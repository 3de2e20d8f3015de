"""Numbers and moments in words, the same on the page, in the notebook and in titles."""

from datetime import UTC, datetime

_BYTES = ("B", "KB", "MB", "GB", "TB")


def number_text(value: float | None) -> str:
    """Six digits, or a dash."""
    return "-" if value is None else f"{value:.6g}"


def seconds_text(seconds: float) -> str:
    """``0.42 ms``, ``42 ms``, ``1.3 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left:02d} min" if hours else f"{minutes} min {rest:02d} s"


def bytes_text(count: float) -> str:
    """``0 B``, ``1.5 MB``; a KB has 1000."""
    for unit in _BYTES[:-1]:
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} {_BYTES[-1]}"


def share_text(share: float) -> str:
    """``12.3 %``."""
    return f"{100 * share:.1f} %"


def time_text(at: float) -> str:
    """A moment, given in seconds since the epoch, in local time."""
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def counted(number: int, thing: str) -> str:
    """``1 round``, ``12 rounds``."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"

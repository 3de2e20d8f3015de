"""The words for a synchrony, and what is refused."""

import pytest

from gradloom.errors import InvalidInput
from gradloom.synchrony import Synchrony, SynchronyKind, damping, parse_synchrony


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", Synchrony()),
        ("synchronous", Synchrony()),
        ("backup:2", Synchrony(SynchronyKind.BACKUP, 2)),
        ("synchronous(backup=2)", Synchrony(SynchronyKind.BACKUP, 2)),
        ("bounded", Synchrony(SynchronyKind.BOUNDED, 3)),
        ("bounded:5", Synchrony(SynchronyKind.BOUNDED, 5)),
        ("bounded(staleness=5)", Synchrony(SynchronyKind.BOUNDED, 5)),
        ("bounded:0", Synchrony()),
        ("local:8", Synchrony(SynchronyKind.LOCAL, 8)),
        ("local(steps=4)", Synchrony(SynchronyKind.LOCAL, 4)),
        ("asynchronous", Synchrony(SynchronyKind.ASYNCHRONOUS)),
    ],
)
def test_a_synchrony_is_read_and_written(text: str, meant: Synchrony) -> None:
    assert parse_synchrony(text) == meant
    assert parse_synchrony(str(meant)) == meant
    assert meant.exact == (meant.kind in (SynchronyKind.SYNCHRONOUS, SynchronyKind.LOCAL))


@pytest.mark.parametrize(
    "text",
    [
        "async",
        "bounded:-1",
        "bounded:1.5",
        "asynchronous:2",
        "bounded(backup=1)",
        "synchronous:1",
        "bounded:9999999",
        "local:1.5",
        "local(staleness=2)",
        "backup:" + "9" * 5000,  # more digits than Python reads
    ],
)
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"synchrony: .* not allowed; it must"):
        parse_synchrony(text)


def test_the_older_a_gradient_the_less_it_weighs() -> None:
    assert [damping(n) for n in (0, 1, 3)] == [1.0, 0.5, 0.25]

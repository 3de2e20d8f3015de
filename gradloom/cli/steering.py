"""``gradloom set``: the words of a command line as changes of a live job."""

from collections.abc import Sequence
from dataclasses import dataclass

from gradloom.cli.training import parse_pairs
from gradloom.errors import InvalidInput

NAMES = ("placement", "synchrony", "speculation", "share_weight")


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be different; None = as it is."""

    placement: str | None
    synchrony: str | None
    speculation: bool | None
    share_weight: float | None


def changes_of(words: Sequence[str]) -> Changes:
    """``synchrony=bounded:3 speculation=off`` as values. Raises InvalidInput."""
    pairs = parse_pairs("gradloom set", words, "JOB synchrony=bounded:3")
    for name in pairs:
        if name not in NAMES:
            raise InvalidInput.unknown_name("gradloom set", name, NAMES)
    return Changes(
        placement=pairs.get("placement"),
        synchrony=pairs.get("synchrony"),
        speculation=_switch(pairs["speculation"]) if "speculation" in pairs else None,
        share_weight=_number(pairs["share_weight"]) if "share_weight" in pairs else None,
    )


def _switch(word: str) -> bool:
    if word not in ("on", "off"):
        raise InvalidInput("speculation", f"{word!r} is not allowed; it must be on or off")
    return word == "on"


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise InvalidInput("share_weight", f"{word!r} is not allowed; it must be a number") from None

"""``gradloom set``: the words of a command line as changes of a live job."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradloom.cli.training import parse_pairs
from gradloom.errors import InvalidInput

ALIASES = {"policy": "placement"}
SCHEDULING = ("placement", "synchrony", "speculation", "share_weight", "codec", "downlink")
"""What is no setting of the algorithm."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be different; None = as it is."""

    placement: str | None
    synchrony: str | None
    speculation: bool | None
    share_weight: float | None
    codec: str | None
    downlink: str | None
    settings: Mapping[str, str]
    """Of the algorithm; the coordinator knows which there are."""


def changes_of(words: Sequence[str]) -> Changes:
    """``synchrony=bounded:3 learning_rate=0.01`` as values. Raises InvalidInput."""
    given = parse_pairs("gradloom set", words, "JOB synchrony=bounded:3")
    pairs = {ALIASES.get(name, name): value for name, value in given.items()}
    return Changes(
        placement=pairs.get("placement"),
        synchrony=pairs.get("synchrony"),
        speculation=_switch(pairs["speculation"]) if "speculation" in pairs else None,
        share_weight=_number(pairs["share_weight"]) if "share_weight" in pairs else None,
        codec=pairs.get("codec"),
        downlink=pairs.get("downlink"),
        settings={name: value for name, value in pairs.items() if name not in SCHEDULING},
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

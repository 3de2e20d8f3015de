"""What a cell is, told from its text. Pure, and without Arrow, which is slow to import."""

import re

from gradloom.errors import DataError

_NUMBER = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf|infinity|nan)", re.ASCII | re.IGNORECASE)


def is_number(text: str) -> bool:
    """Whether a label reads as a number."""
    return _NUMBER.fullmatch(text) is not None


def not_numeric(name: str, type_name: str, uri: str) -> DataError:
    """The refusal of a feature that is not a number."""
    return DataError(
        f"column {name!r}",
        f"is {type_name} in {uri}, not a number; leave it out with --features, or encode it first",
    )

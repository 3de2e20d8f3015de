"""The setting ``class_weight`` of a classifier, checked before any data is read."""

from math import isfinite
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from gradloom.errors import InvalidInput


def _empty_from_none(value: object) -> object:
    return "" if value is None or value == "none" else value


def _checked(value: str) -> str:
    if value not in ("", "balanced"):
        for item in value.split(","):
            _check_weight_of_label(item)
    return value


def _check_weight_of_label(item: str) -> None:
    label, colon, number = item.rpartition(":")
    try:
        weight = float(number)
    except ValueError:
        weight = -1.0
    if not (colon and label.strip() and isfinite(weight) and weight >= 0):
        raise InvalidInput(
            "class_weight",
            f"{item!r} is not allowed; it must be balanced, or label:weight with a weight of at least 0",
        )


ClassWeight = Annotated[
    str,
    BeforeValidator(_empty_from_none),
    AfterValidator(_checked),
    Field(description="empty = all alike, balanced = W / (K W_k), or label:weight,label:weight"),
]

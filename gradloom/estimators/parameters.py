"""What the parameters of an estimator may be. Whatever is not supported is refused in words, and nothing is ignored."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from gradloom.errors import InvalidParameter

MAX_SEED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Rule:
    """What one parameter may be."""

    test: Callable[[Any], bool]
    allowed: str
    """In words, as the end of a sentence."""


def check_parameters(values: Mapping[str, object], rules: Mapping[str, Rule]) -> None:
    """Raise InvalidParameter for the first value that breaks its rule."""
    for name, rule in rules.items():
        value = values[name]
        if not rule.test(value):
            raise InvalidParameter(name, f"{value!r} is not supported; {rule.allowed}")


def only(value: object, why: str) -> Rule:
    """Nothing but this value (a number also as a numpy scalar); ``why`` says what else there is."""
    return Rule(lambda given: _same(given, value), f"only {value!r} is: {why}")


def one_of(*values: object, why: str = "") -> Rule:
    """One of some texts, truth values or None."""
    listed = ", ".join(map(repr, values))
    return Rule(
        lambda given: any(type(given) is type(value) and given == value for value in values),
        f"it must be one of: {listed}" + (f" ({why})" if why else ""),
    )


def truth() -> Rule:
    """True or False."""
    return Rule(lambda given: isinstance(given, bool | np.bool_), "it must be True or False")


def number(
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> Rule:
    """A number within bounds."""
    return Rule(
        lambda given: _is_number(given) and _within(given, least, above, most, below),
        _bounds("a number", least, above, most, below),
    )


def whole(*, least: int, most: int | None = None) -> Rule:
    """A whole number within bounds."""
    return Rule(
        lambda given: (
            isinstance(given, Integral) and _is_number(given) and _within(given, least, None, most, None)
        ),
        _bounds("a whole number", least, None, most, None),
    )


def either(*rules: Rule) -> Rule:
    """What any of the rules allows."""
    allowed = ", or ".join(
        [rules[0].allowed, *(rule.allowed.removeprefix("it must be ") for rule in rules[1:])]
    )
    return Rule(lambda given: any(rule.test(given) for rule in rules), allowed)


def class_weights() -> Rule:
    """None, ``"balanced"``, or a dictionary from labels to weights of at least 0."""
    return Rule(
        lambda given: (
            given is None
            or (isinstance(given, str) and given == "balanced")
            or (isinstance(given, Mapping) and _all_weights(given.values()))
        ),
        "it must be None, 'balanced', or a dictionary from labels to weights of at least 0",
    )


def random_state() -> Rule:
    """What scikit-learn takes as a random state."""
    return Rule(
        lambda given: (
            given is None
            or isinstance(given, np.random.RandomState)
            or (isinstance(given, Integral) and _is_number(given) and 0 <= int(given) < 2**32)
        ),
        "it must be None, a numpy.random.RandomState, or a whole number in [0, 2**32)",
    )


# what many estimators have in common
IN_THE_CLUSTER = only(None, "the workers of the cluster do the work")
QUIET = Rule(
    lambda given: _is_number(given, truths=True) and not given,
    "only 0 is: job_.watch() shows what happens while it trains",
)
COLD = only(False, "every fit starts from the beginning")


def _same(given: object, value: object) -> bool:
    plain = isinstance(given, str | int | float | np.generic | None)
    return plain and _is_number(given) == _is_number(value) and bool(given == value)


def _is_number(value: object, *, truths: bool = False) -> bool:
    return isinstance(value, Real | np.bool_) and (truths or not isinstance(value, bool | np.bool_))


def _all_weights(values: Iterable[object]) -> bool:
    return all(_is_number(weight) and _within(weight, 0, None, None, float("inf")) for weight in values)


def _within(
    value: Any, least: float | None, above: float | None, most: float | None, below: float | None
) -> bool:
    return bool(
        (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
        and (below is None or value < below)
        and value == value
    )


def _bounds(
    what: str, least: float | None, above: float | None, most: float | None, below: float | None
) -> str:
    low = f"at least {least:g}" if least is not None else f"above {above:g}" if above is not None else ""
    high = f"at most {most:g}" if most is not None else f"below {below:g}" if below is not None else ""
    return " ".join(["it must be", what, " and ".join(bound for bound in (low, high) if bound)]).strip()

"""The algorithms by name: one line each. Building one reads its settings from text and refuses what is wrong.

Other packages add theirs through the entry point group ``gradloom.algorithms``: each entry point is a function
without arguments that calls ``register``. They are loaded when the first algorithm is asked for, never on import; one
that can't be loaded is left out, and whoever asks for it hears why.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from pydantic import ValidationError

from gradloom.algorithms.algorithm import Algorithm, Settings
from gradloom.errors import Conflict, InvalidInput
from gradloom.jobs import AlgorithmDescription
from gradloom.specs import setting_text

T = TypeVar("T", bound=Settings)
SHOWN = 60
"""Characters of a refused value that are repeated."""
PLUGINS = "gradloom.algorithms"
"""The entry point group."""


@dataclass(frozen=True, slots=True)
class _Entry:
    version: int
    summary: str
    settings: type[Settings]
    make: Callable[[Any], Algorithm[Any]]


_ENTRIES: dict[str, _Entry] = {}
_BROKEN: dict[str, str] = {}
"""Why an entry point could not be loaded, by its name."""


def register(
    name: str, *, version: int, summary: str, settings: type[T], make: Callable[[T], Algorithm[Any]]
) -> None:
    """Make an algorithm known. Raises Conflict if the name is taken."""
    if name in _ENTRIES:
        raise Conflict(f"an algorithm named {name!r} is registered already")
    _ENTRIES[name] = _Entry(version, summary, settings, make)


def names() -> tuple[str, ...]:
    """Names of all algorithms, sorted."""
    _load_plugins()
    return tuple(sorted(_ENTRIES))


def versions() -> dict[str, int]:
    """The version of each algorithm by name."""
    _load_plugins()
    return {name: entry.version for name, entry in _ENTRIES.items()}


def build(name: str, settings: Mapping[str, object] | None = None) -> Algorithm[Any]:
    """The algorithm with its settings, given as text (``"0.1"``, ``"true"``, ``"none"``) or as Python scalars.

    Raises InvalidInput for an unknown algorithm or setting, with the nearest known name, and for a value that is
    not allowed, with what is.
    """
    return _entry(name).make(_checked(name, settings or {}))


def _checked(name: str, given: Mapping[str, object]) -> Settings:
    kind = _entry(name).settings
    for setting in given:
        if setting not in kind.model_fields:
            raise InvalidInput.unknown_name("setting", setting, kind.model_fields)
    try:
        return kind(**given)
    except ValidationError as error:
        raise _refusal(error) from error


def describe(name: str) -> AlgorithmDescription:
    """What the algorithm is, with the JSON Schema of its settings. Raises InvalidInput for an unknown name."""
    entry = _entry(name)
    schema = json.dumps(entry.settings.model_json_schema())
    return AlgorithmDescription(name, entry.version, entry.summary, schema)


@cache
def _load_plugins() -> None:
    """Call every entry point once."""
    for point in entry_points(group=PLUGINS):
        try:
            point.load()()
        except Exception as error:  # noqa: BLE001 - a stranger's code must not keep ours from working
            _BROKEN[point.name] = f"{_home(point)} could not be loaded: {type(error).__name__}: {error}"


def _home(point: EntryPoint) -> str:
    package = point.dist.name if point.dist else "its package"
    return f"{point.value} of {package}"


def broken() -> dict[str, str]:
    """Why algorithms of other packages could not be loaded, by the name of their entry point."""
    _load_plugins()
    return dict(_BROKEN)


def steerable(name: str) -> frozenset[str]:
    """The settings that may change while a job lives. Raises InvalidInput for an unknown algorithm."""
    return _entry(name).settings.steerable


def setting_texts(name: str, settings: Mapping[str, object]) -> dict[str, str]:
    """Every setting as text, defaults written out. Raises InvalidInput as ``build``."""
    values = _checked(name, settings).model_dump()
    return {setting: setting_text(setting, value) for setting, value in values.items()}


def _entry(name: str) -> _Entry:
    _load_plugins()
    if name in _BROKEN and name not in _ENTRIES:
        raise InvalidInput("algorithm", f"{name!r} is not known: {_BROKEN[name]}")
    if name not in _ENTRIES:
        raise InvalidInput.unknown_name("algorithm", name, _ENTRIES)
    return _ENTRIES[name]


def _refusal(error: ValidationError) -> InvalidInput:
    """The first complaint as one sentence; pydantic's begin with "Input should"."""
    first = error.errors(include_url=False)[0]
    setting = str(first["loc"][0]) if first["loc"] else "settings"
    rule = str(first["msg"]).replace("Input should", "it should", 1)
    return InvalidInput(setting, f"{shortened(repr(first['input']))} is not allowed; {rule}")


def shortened(text: str) -> str:
    """The beginning of a long text, with three dots."""
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."

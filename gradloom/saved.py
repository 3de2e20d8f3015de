"""Frozen values taken apart into named arrays and small texts, and put together again to the same bits.

What a checkpoint needs of a state: arrays stay arrays, a float is kept as its hexadecimal digits, and the class of
each part comes from the type hints of the class that holds it, so that nothing in a file names code to run.

::

    Point(at=array, loss=0.1, best=None)   <->   arrays {"at": array}, values {"loss": "0x1.99999ap-4", "best": None}
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from gradloom.tensors import Array, Tensors

T = TypeVar("T")
Scalar = str | int | bool | None


@dataclass(frozen=True, slots=True, eq=False)
class Saved:
    """A value taken apart; the names are the paths of its fields, joined by dots."""

    arrays: Tensors
    values: Mapping[str, Scalar]

    def under(self, field: str) -> "Saved":
        """The part that is the field of a value."""
        start = f"{field}."
        return Saved(
            {name.removeprefix(start): a for name, a in self.arrays.items() if name.startswith(start)},
            {name.removeprefix(start): v for name, v in self.values.items() if name.startswith(start)},
        )


def save_value(value: object, *leave_out: str) -> Saved:
    """Take a dataclass apart, but for the fields to leave out.

    Its fields hold arrays, texts, numbers, None, and dataclasses or tuples of these.
    """
    arrays: dict[str, Array] = {}
    values: dict[str, Scalar] = {}
    for name in _field_names(type(value)):
        if name not in leave_out:
            _take_apart(name, getattr(value, name), arrays, values)
    return Saved(arrays, values)


def restore_value(kind: type[T], saved: Saved, **known: object) -> T:
    """Put a dataclass together; ``known`` are the fields that were left out, or are restored already.

    Raises ValueError for parts that do not make such a value.
    """
    hints = get_type_hints(kind)
    parts = {
        name: _put_together(hints[name], name, saved) for name in _field_names(kind) if name not in known
    }
    return kind(**parts, **known)


def _field_names(kind: Any) -> list[str]:
    return [field.name for field in fields(kind)]


def _take_apart(path: str, value: object, arrays: dict[str, Array], values: dict[str, Scalar]) -> None:
    match value:
        case np.ndarray():
            arrays[path] = value
        case bool() | int() | str() | None:
            values[path] = value
        case float():
            values[path] = value.hex()
        case tuple():
            values[path] = len(value)
            for i, item in enumerate(value):
                _take_apart(f"{path}.{i}", item, arrays, values)
        case _:
            for name in _field_names(type(value)):
                _take_apart(f"{path}.{name}", getattr(value, name), arrays, values)


def _put_together(hint: Any, path: str, saved: Saved) -> object:
    if path in saved.arrays:
        return saved.arrays[path]
    kind = _kind_besides_none(hint)
    if path not in saved.values:
        if not is_dataclass(kind) or not isinstance(kind, type):
            raise ValueError(f"{path!r} is missing")
        return restore_value(kind, saved.under(path))
    value = saved.values[path]
    if value is None:
        return None
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        part = saved.under(path)
        n, most = int(value), len(part.arrays) + len(part.values)
        if not 0 <= n <= most:
            raise ValueError(f"{path!r} has {n} items, and there are {most} parts of them")
        return tuple(_put_together(item, str(i), part) for i in range(n))
    if kind is float:
        try:
            return float.fromhex(str(value))
        except OverflowError as error:
            raise ValueError(f"{path!r} is {value!r}, which is no float64") from error
    if not isinstance(value, kind):
        raise ValueError(f"{path!r} is {value!r}, where {kind.__name__} is needed")  # noqa: TRY004 - a bad file
    return value


def _kind_besides_none(hint: Any) -> Any:
    """``X`` of ``X | None``."""
    if get_origin(hint) not in (Union, UnionType):
        return hint
    return next(kind for kind in get_args(hint) if kind is not NoneType)

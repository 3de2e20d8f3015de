"""What a shard's rows were made into for searching, kept as long as those rows are in memory.

Making it is a pure function of the rows, so keeping it changes no result. A worker computes one task at a time.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar
from weakref import ref

from numpy.typing import NDArray


class Made(Protocol):
    """What takes memory beside the rows."""

    @property
    def nbytes(self) -> int:
        """Of it, without the rows themselves."""
        ...


T = TypeVar("T", bound=Made)

_KEPT: dict[int, tuple["ref[NDArray[Any]]", dict[object, Any]]] = {}


def kept_with(X: NDArray[Any], key: object, make: Callable[[], T]) -> T:
    """What ``make`` makes of the rows X; made once for each key while X lives."""
    found = _KEPT.get(id(X))
    if found is None or found[0]() is not X:
        place = id(X)
        found = _KEPT[place] = (ref(X, lambda _: _KEPT.pop(place, None)), {})
    made = found[1]
    if key not in made:
        made[key] = make()
    value: T = made[key]
    return value


def kept_bytes(X: NDArray[Any]) -> int:
    """Memory of all that is kept for the rows X."""
    found = _KEPT.get(id(X))
    return 0 if found is None or found[0]() is not X else sum(made.nbytes for made in found[1].values())

"""The canonical sum: partials are merged over one fixed binary tree, whoever computed them and whenever.

Float addition is not associative, so "the sum of all shards" has many values that differ in the last bits.
The tree over the shards ``[0, n)`` picks one of them::

    node(lo, hi) = merge(node(lo, mid), node(mid, hi)),   mid = (lo + hi + 1) // 2,   node(i, i+1) = map(shard i)

A worker that holds a whole node merges it by itself and sends one partial for the range; the coordinator
merges the rest. Each shard is counted exactly once: a node is accepted only while it is missing.

Only order lives here: no I/O, no arrays, no arithmetic but the ``merge`` that is passed in.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Range(NamedTuple):
    """The shards ``lo <= i < hi`` of one job."""

    lo: int
    hi: int

    def __str__(self) -> str:
        return str(self.lo) if self.hi == self.lo + 1 else f"{self.lo}-{self.hi - 1}"

    @property
    def size(self) -> int:
        """Number of shards in the range."""
        return self.hi - self.lo

    def children(self) -> "tuple[Range, Range]":
        """The two nodes below this one; only for nodes of more than one shard."""
        mid = (self.lo + self.hi + 1) // 2
        return Range(self.lo, mid), Range(mid, self.hi)

    def covers(self, other: "Range") -> bool:
        """Whether every shard of ``other`` is one of ours."""
        return self.lo <= other.lo and other.hi <= self.hi


def path_to(node: Range, n_shards: int) -> Iterator[Range]:
    """The nodes from the root down to ``node``; raises ValueError if it is not a node of the tree."""
    here = Range(0, n_shards)
    while here != node:
        yield here
        if here.size <= 1 or not here.covers(node):
            raise ValueError(f"[{node.lo}, {node.hi}) is not a node of the tree over {n_shards} shards")
        left, right = here.children()
        here = left if node.lo < left.hi else right
    yield here


def cover(shards: Iterable[int], n_shards: int) -> list[Range]:
    """The fewest nodes of the tree that hold exactly ``shards``, in order."""
    found: list[Range] = []
    for run in runs(shards):
        _collect(0, n_shards, run.lo, run.hi, found)
    return found


def runs(shards: Iterable[int]) -> list[Range]:
    """The maximal stretches of consecutive numbers, in order."""
    found: list[Range] = []
    for i in sorted(set(shards)):
        if found and found[-1].hi == i:
            found[-1] = Range(found[-1].lo, i + 1)
        else:
            found.append(Range(i, i + 1))
    return found


def _collect(lo: int, hi: int, run_lo: int, run_hi: int, found: list[Range]) -> None:
    """The nodes of a stretch that lies in the node ``[lo, hi)``, in order."""
    while run_lo > lo or hi > run_hi:
        mid = (lo + hi + 1) // 2
        if run_hi <= mid:
            hi = mid
        elif mid <= run_lo:
            lo = mid
        else:
            _collect(lo, mid, run_lo, mid, found)
            lo, run_lo = mid, mid
    found.append(Range(lo, hi))


def fold(node: Range, leaf: Callable[[int], T], merge: Callable[[T, T], T]) -> T:
    """Compute ``node`` from its leaves in canonical order, keeping at most one value per level."""
    if node.size == 1:
        return leaf(node.lo)
    left, right = node.children()
    merged_left = fold(left, leaf, merge)
    return merge(merged_left, fold(right, leaf, merge))


class CanonicalSum(Generic[T]):
    """Collects the nodes of one round as they arrive, and merges siblings as soon as both are there."""

    def __init__(self, n_shards: int, merge: Callable[[T, T], T]) -> None:
        assert n_shards > 0
        self._n_shards = n_shards
        self._merge = merge
        self._counted = bytearray(n_shards)
        self._held: dict[Range, T] = {}

    def add(self, node: Range, value: T) -> bool:
        """Count ``node`` if all of it is still missing; say whether it was counted. ValueError for no node."""
        trail = _trail(node, self._n_shards)
        if self._counted.find(1, node.lo, node.hi) >= 0:
            return False
        self._counted[node.lo : node.hi] = b"\x01" * node.size
        for parent, sibling in trail:
            other = self._held.pop(sibling, None)
            if other is None:
                break
            value = self._merge(value, other) if node.lo < sibling.lo else self._merge(other, value)
            node = parent
        self._held[node] = value
        return True

    def replace(self, node: Range, value: T) -> bool:
        """Count ``node`` in place of those parts of it that are counted; say whether it was.

        Only for values that come out the same whoever computed them.
        """
        for part in [held for held in self._held if held != node and node.covers(held)]:
            del self._held[part]
            self._counted[part.lo : part.hi] = bytes(part.size)
        return self.add(node, value)

    @property
    def n_held(self) -> int:
        """Values that are kept: sums, and nodes whose sibling is missing."""
        return len(self._held)

    @property
    def complete(self) -> bool:
        """Whether every shard has been counted."""
        return (0, self._n_shards) in self._held

    def total(self) -> T:
        """The root of the tree; only when ``complete``."""
        assert self.complete, f"{len(self._held)} nodes are still apart"
        return self._held[Range(0, self._n_shards)]

    def total_so_far(self) -> T:
        """What has been counted, merged over the same tree with the missing nodes left out; at least one is there."""
        total = self._under(Range(0, self._n_shards))
        assert total is not None, "nothing has been counted"
        return total

    def _under(self, node: Range) -> T | None:
        if node in self._held:
            return self._held[node]
        if self._counted.find(1, node.lo, node.hi) < 0:
            return None
        left, right = (self._under(child) for child in node.children())
        if left is None or right is None:
            return right if left is None else left
        return self._merge(left, right)


@lru_cache(maxsize=65_536)
def _trail(node: Range, n_shards: int) -> tuple[tuple[Range, Range], ...]:
    """Parent and sibling of ``node``, then of its parent, up to the root."""
    trail = []
    path = list(path_to(node, n_shards))
    for parent, child in zip(reversed(path[:-1]), reversed(path), strict=False):
        left, right = parent.children()
        trail.append((parent, right if child == left else left))
    return tuple(trail)

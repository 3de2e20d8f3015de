"""Rows drawn at random from all shards, the same ones however rows lie in shards and shards on workers.

Each row has uniform numbers of its own, from its position in the data set. A row competes with a key; the smallest
keys win. Winners of parts compete again when partials are merged, so that ``merge_draws`` is associative to the bit.

    weighted, one:      key = -ln(u) / w           the smallest is row i with probability w_i / sum w
    weighted, several:  the next smallest are draws without replacement
    independently:      key = u / w < c / sum w    each row by itself, with probability min(1, c w_i / sum w)

Sources: Efraimidis, Spirakis, "Weighted random sampling with a reservoir", IPL 2006; the last is what k-means||
asks for (Bahmani et al., "Scalable k-means++", VLDB 2012), in one round: rows compete before sum w is known.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradloom.rng import row_bits
from gradloom.tensors import Tensors

Vector = NDArray[np.float64]
Integers = NDArray[np.int64]

MANY = 4
"""Times as many rows as can win: so many are sorted out by a partition before they are copied."""


def row_uniforms(seed: int, stream: int, round_: int, positions: Integers) -> Vector:
    """One number in (0, 1) for each row, shape (m,): 53 random bits and a half."""
    bits = np.ascontiguousarray(row_bits(seed, stream, round_, positions, 4)).view("<u8").reshape(-1)
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def race_keys(uniforms: Vector, weights: Vector) -> Vector:
    """-ln(u) / w, infinite where w is 0: such a row is never drawn. Shapes (m,) or (m, G)."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(-np.log(uniforms) / weights)


def chance_keys(uniforms: Vector, weights: Vector) -> Vector:
    """u / w, infinite where w is 0. Shapes (m,) or (m, G)."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(uniforms / weights)


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """Rows that have won so far, sorted by group and key."""

    group: Integers  # (m,): which draw a row has won
    key: Vector  # (m,)
    position: Integers  # (m,): of the row in the data set; decides between equal keys
    row: Vector  # (m, d)
    mark: Vector  # (m, 2): the row's weight, and what else there is to say of it

    def __len__(self) -> int:
        return len(self.group)

    def of(self, group: int) -> "Draws":
        """The winners of one draw, the first first."""
        return self._chosen(self.group == group)

    def _chosen(self, chosen: NDArray[Any]) -> "Draws":
        return Draws(
            self.group[chosen], self.key[chosen], self.position[chosen], self.row[chosen], self.mark[chosen]
        )

    def joined(self, other: "Draws") -> "Draws":
        """Both, sorted."""
        both = Draws(
            np.concatenate([self.group, other.group]),
            np.concatenate([self.key, other.key]),
            np.concatenate([self.position, other.position]),
            np.concatenate([self.row, other.row]),
            np.concatenate([self.mark, other.mark]),
        )
        return both._chosen(np.lexsort((both.position, both.key, both.group)))

    def first(self, keep: int) -> "Draws":
        """The winners of each group, ``keep`` at most."""
        starts = np.searchsorted(self.group, self.group)
        return self._chosen(np.arange(len(self)) - starts < keep)

    def below(self, limit: float, totals: Vector) -> "Draws":
        """Those with key * totals[group] < limit."""
        return self._chosen(self.key * totals[self.group] < limit)

    def to_tensors(self) -> Tensors:
        """As a part of a partial."""
        return {
            "drawn_group": self.group,
            "drawn_key": self.key,
            "drawn_position": self.position,
            "drawn_row": self.row,
            "drawn_mark": self.mark,
        }

    @staticmethod
    def from_tensors(tensors: Tensors) -> "Draws":
        """The draws in a partial."""
        names = ("group", "key", "position", "row", "mark")
        return Draws(*(tensors[f"drawn_{name}"] for name in names))


def no_draws(d: int) -> Draws:
    """Nobody has won yet."""
    none = np.zeros(0, dtype=np.int64)
    return Draws(none, np.zeros(0), none, np.zeros((0, d)), np.zeros((0, 2)))


class Race:
    """Collects the winners of several draws over the blocks of a shard."""

    def __init__(self, d: int, keep: int) -> None:
        """Rows of ``d`` columns; ``keep`` winners of each draw."""
        self._keep = keep
        self.draws = no_draws(d)
        self._bound: Vector | None = None
        """(G,): no key above it can win any more."""

    def offer(self, keys: Vector, X: NDArray[Any], positions: Integers, marks: Vector) -> None:
        """Rows of a block compete: keys (m, G), infinite for those that must not win; marks (m, 2)."""
        if not self._keep:
            return
        bound = np.full(keys.shape[1], np.inf) if self._bound is None else self._bound
        hits = (keys <= bound) & np.isfinite(keys)
        if len(keys) > self._keep and np.count_nonzero(hits) > MANY * self._keep * keys.shape[1]:
            bound = np.minimum(bound, np.partition(keys, self._keep - 1, axis=0)[self._keep - 1])
            hits &= keys <= bound
        row, group = np.nonzero(hits)
        if len(row):
            found = Draws(group, keys[row, group], positions[row], X[row].astype(np.float64), marks[row])
            self.draws = self.draws.joined(found).first(self._keep)
        self._bound = self._bounded(bound)

    def _bounded(self, bound: Vector) -> Vector:
        """The keys of the last winners, where a draw has all of its winners."""
        group, bound = self.draws.group, bound.copy()
        groups = np.arange(len(bound))
        first, end = np.searchsorted(group, groups), np.searchsorted(group, groups, side="right")
        full = end - first == self._keep
        bound[full] = self.draws.key[end[full] - 1]
        return bound


def merge_draws(left: Tensors, right: Tensors) -> Tensors:
    """Two partials with draws into one; whatever else they hold is added up.

    ``drawn_keep`` () int64 is how many winners a draw has; with ``drawn_limit`` () float64, winners are instead the
    rows whose key times the total of their draw, ``potential`` (G,), is below it.
    """
    sums = {name: np.asarray(left[name] + right[name]) for name in left if not name.startswith("drawn_")}
    if "drawn_group" not in left:
        return sums
    both = Draws.from_tensors(left).joined(Draws.from_tensors(right))
    fixed = {
        name: np.maximum(left[name], right[name]) for name in ("drawn_keep", "drawn_limit") if name in left
    }
    if "drawn_limit" in fixed:
        both = both.below(float(fixed["drawn_limit"]), sums["potential"])
    else:
        both = both.first(int(fixed["drawn_keep"]))
    return {**sums, **{name: np.asarray(value) for name, value in fixed.items()}, **both.to_tensors()}

"""Shards in memory: read from their files when first asked for, kept as long as there is room.

One task at a time uses this: in the executor's thread, or on the event loop while that thread has nothing to do.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from gradloom.data.allowed import EVERYTHING, DataAllowed
from gradloom.data.manifest import Manifest, ShardPlan
from gradloom.data.preparation import Preparation, prepare
from gradloom.data.reading import read_rows
from gradloom.data.shard import RawShard, Shard
from gradloom.nearest.kept import kept_bytes
from gradloom_worker.patience import patiently

V = TypeVar("V")
RAW = "raw"
"""What was done to rows that stand as in the files."""
CacheKey = tuple[str, str, int]
"""Fingerprint of source and plan, what was done to the rows, and the shard's index."""


@dataclass(slots=True)
class _Entry(Generic[V]):
    value: V
    nbytes: int


class ShardStore:
    """A least-recently-used cache of raw and prepared shards, bounded in bytes.

    What a search has made of the rows of a shard counts with it; it goes when the shard goes.
    """

    def __init__(self, limit_bytes: int, may_read: DataAllowed = EVERYTHING) -> None:
        self._limit = limit_bytes
        self._may_read = may_read
        self._entries: OrderedDict[CacheKey, _Entry[RawShard | Shard]] = OrderedDict()
        self.nbytes = 0
        self.hits = 0
        self.misses = 0
        self.evictions = 0
        self.on_read: Callable[[str, float], None] = lambda _, __: None
        """Hears of each shard that is read: the format of its files, and the seconds it took."""

    def holds(self, source: str, prepared_as: str, index: int) -> bool:
        """Whether a shard is here in this form (or RAW); neither a hit nor a miss, and no use of it."""
        return (source, prepared_as, index) in self._entries

    def raw(self, source: str, manifest: Manifest, plan: ShardPlan) -> RawShard:
        """A shard's rows as they stand in the files. Raises DataError."""
        key = (source, RAW, plan.index)
        found = self._get(key)
        if isinstance(found, RawShard):
            return found
        raw = self._read(manifest, plan)
        self._put(key, raw, _raw_bytes(raw))
        return raw

    def prepared(
        self, source: str, prepared_as: str, manifest: Manifest, plan: ShardPlan, how: Preparation
    ) -> Shard:
        """A shard's rows ready to compute on; its raw rows are forgotten. Raises DataError."""
        key = (source, prepared_as, plan.index)
        found = self._get(key)
        if isinstance(found, Shard):
            return found
        kept = self._take((source, RAW, plan.index))
        raw = kept if isinstance(kept, RawShard) else self._read(manifest, plan)
        shard = prepare(raw, how)
        self._put(key, shard, shard.nbytes)
        return shard

    def _read(self, manifest: Manifest, plan: ShardPlan) -> RawShard:
        start = time.perf_counter()
        raw = patiently(lambda: read_rows(manifest.files, manifest.columns, plan, self._may_read))
        self.on_read(manifest.files[0].format, time.perf_counter() - start)
        return raw

    def _count_anew(self) -> None:
        """The shard that was used last may have grown since: what was made of it is known only now."""
        if not self._entries:
            return
        last = self._entries[next(reversed(self._entries))]
        if isinstance(last.value, Shard):
            grown = last.value.nbytes + kept_bytes(last.value.train.X)
            self.nbytes += grown - last.nbytes
            last.nbytes = grown

    def _get(self, key: CacheKey) -> RawShard | Shard | None:
        self._count_anew()
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        self._make_room()
        return entry.value

    def _take(self, key: CacheKey) -> RawShard | Shard | None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        self.nbytes -= entry.nbytes
        return entry.value

    def _put(self, key: CacheKey, value: RawShard | Shard, nbytes: int) -> None:
        self._entries[key] = _Entry(value, nbytes)
        self.nbytes += nbytes
        self._make_room()

    def _make_room(self) -> None:
        while self.nbytes > self._limit and len(self._entries) > 1:
            _, oldest = self._entries.popitem(last=False)
            self.nbytes -= oldest.nbytes
            self.evictions += 1


def _raw_bytes(raw: RawShard) -> int:
    n_rows, y, weight = raw.X.shape[0], raw.y, raw.weight
    text = 56 * n_rows if y is not None and y.dtype == object else 0
    return (
        raw.X.nbytes
        + (y.nbytes if y is not None else 0)
        + (weight.nbytes if weight is not None else 0)
        + text
    )

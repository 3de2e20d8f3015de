"""What one job's tasks compute: the job's setup bound to the shards. No streams, no threads."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradloom.algorithms.algorithm import Algorithm
from gradloom.algorithms.serving import serving_part
from gradloom.canonical import Range, fold
from gradloom.codecs import Account, Memory, Parcel
from gradloom.data.manifest import Manifest, ShardPlan
from gradloom.data.preparation import Preparation, Split
from gradloom.data.profile import profile_shard
from gradloom.errors import GradloomError
from gradloom.steps import Step, merge_of
from gradloom.tensors import Array, Tensors, rows_taken
from gradloom_worker.phases import Doing
from gradloom_worker.shards import RAW, ShardStore


class NonFinite(GradloomError):
    """A partial holds NaN or Inf: it is never merged."""


@dataclass(frozen=True, slots=True)
class Computed:
    """A task's partial, and where its time went."""

    partial: Parcel
    """As it is sent."""
    rows: int
    load_s: float
    compute_s: float
    encode_s: float = 0.0
    account: Account | None = None
    """What encoding came to; None where nothing was encoded."""
    left_over: Mapping[str, Memory] = field(default_factory=dict)
    """What encoding has left out."""
    holds_back: bool = False
    """Whether more of the job's gradients is held here than this partial has taken up or leaves out."""


@dataclass(slots=True)
class JobWork:
    """One job on this worker."""

    step: Step
    algorithm: Algorithm[Any]
    n_shards: int
    source_key: str
    """Fingerprint of the data source."""
    preparation_key: str
    manifest: Manifest
    """Files and columns; its shards are in ``plans``."""
    split: Split
    preparation: Preparation
    plans: dict[int, ShardPlan] = field(default_factory=dict)

    def is_loaded(self, shards: Range, store: ShardStore) -> bool:
        """Whether computing a range would read no file and prepare no rows."""
        form = RAW if self.step is Step.PROFILE else self.preparation_key
        return all(store.holds(self.source_key, form, index) for index in range(*shards))

    def compute(
        self,
        shards: Range,
        message: Tensors,
        store: ShardStore,
        switch: Callable[[Doing], None] = lambda _: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> Computed:
        """The partial of a range, merged in canonical order; ``switch`` hears what is being done.

        Raises DataError, NonFinite, whatever map raises.
        """
        load_s = 0.0
        rows = 0

        def leaf(index: int) -> Tensors:
            nonlocal load_s, rows
            switch(Doing.LOAD)
            before = clock()
            run, n_rows = self._load(index, store)
            load_s += clock() - before
            switch(Doing.COMPUTE)
            partial = run(message)
            taken = rows_taken(partial) if self.step is Step.TRAIN else None
            rows += n_rows if taken is None else taken
            return partial

        start = clock()
        partial = fold(shards, leaf, merge_of(self.step, self.algorithm))
        if self.step is not Step.PROFILE:  # a profile counts the cells that are not finite
            refuse_nonfinite(partial, shards)
        return Computed(partial, rows, load_s, clock() - start - load_s)

    def _load(self, index: int, store: ShardStore) -> tuple[Callable[[Tensors], Tensors], int]:
        plan = self.plans[index]
        if self.step is Step.PROFILE:
            raw = store.raw(self.source_key, self.manifest, plan)
            nonnegative = self.algorithm.needs.nonnegative
            return lambda _: profile_shard(raw, self.split, nonnegative=nonnegative), raw.X.shape[0]
        shard = store.prepared(self.source_key, self.preparation_key, self.manifest, plan, self.preparation)
        if self.step is Step.TRAIN:
            return lambda message: self.algorithm.map(shard, message), len(shard.train)
        if self.step is Step.QUERY:
            search = serving_part(self.algorithm).search
            return lambda message: search(shard, message), len(shard.train)
        return lambda message: self.algorithm.assess(shard.test, message), len(shard.test)


def _all_finite(array: Array) -> bool:
    """One pass and no temporary, since NaN and Inf survive a sum; a second one where huge numbers overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(np.sum(array, dtype=np.float64))
    return math.isfinite(total) or bool(np.isfinite(array).all())


def refuse_nonfinite(partial: Tensors, shards: Range) -> None:
    """Never let NaN or Inf into a sum. Raises NonFinite."""
    for name, array in partial.items():
        if array.dtype.kind == "f" and not _all_finite(array):
            raise NonFinite(f"the partial of shards {shards} holds NaN or Inf in {name!r}")

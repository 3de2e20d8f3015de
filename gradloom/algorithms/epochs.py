"""Epochs of global batches: in which step of stochastic training which rows of a shard are taken.

An epoch has T = ceil(N / batch_size) steps over the N train rows of all shards. In step t of an epoch shard k takes

    rows perm_k[ lo : hi ],   lo = (t n_k + phase_k) div T,   hi = ((t + 1) n_k + phase_k) div T,   0 <= phase_k < T

of its n_k rows, in an order that is new in every epoch: every row once an epoch, about batch_size rows from all shards
together, from each in proportion to its size. The phases, the fractions of multiples of the golden ratio, keep shards
with fewer rows than an epoch has steps from taking them all in the same ones. Nothing here depends on workers.
"""

import numpy as np

from gradloom.data.preparation import aligned_empty
from gradloom.data.shard import Rows
from gradloom.rng import shuffled_rows

GOLDEN_RATIO = 0x9E3779B97F4A7C15
"""(sqrt(5) - 1) / 2 as a fraction of 2^64."""


def steps_per_epoch(n_rows: int, batch_size: int) -> int:
    """Steps in which every one of ``n_rows`` is taken once, at least 1; a ``batch_size`` of 0 takes all at once."""
    return 1 if batch_size == 0 else max(1, -(-n_rows // batch_size))


def batch_bounds(n_rows: int, shard: int, step: int, steps: int) -> tuple[int, int]:
    """Where the batch of the ``step``-th of ``steps`` steps begins and ends in the shard's order of the epoch."""
    phase = (shard * GOLDEN_RATIO % 2**64) * steps >> 64
    return (step * n_rows + phase) // steps, ((step + 1) * n_rows + phase) // steps


def batch_at(rows: Rows, shard: int, seed: int, epoch: int, step: int, steps: int) -> Rows:
    """The rows of a shard in the ``step``-th of the ``steps`` steps of an epoch; if it is the only one, as they are.

    A ``step`` beyond the last belongs to the epoch after.
    """
    if steps == 1:
        return rows
    later, within = divmod(step, steps)
    epoch += later
    lo, hi = batch_bounds(len(rows), shard, within, steps)
    chosen = shuffled_rows(seed, shard, epoch, len(rows))[lo:hi]
    X = aligned_empty((len(chosen), rows.X.shape[1]), rows.X.dtype)
    np.take(rows.X, chosen, axis=0, out=X)
    weight = None if rows.weight is None else rows.weight[chosen]
    return Rows(X, rows.y[chosen], weight, rows.positions[chosen])

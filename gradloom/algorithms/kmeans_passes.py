"""What workers compute for K-means once there are centers: sums over clusters, batches, rows far from all. Pure.

A runs are going, with centers (A, k, d) each; ``run`` (A,) of a message holds their numbers.
"""

import numpy as np

from gradloom.algorithms.draws import Race, Vector, race_keys, row_uniforms
from gradloom.algorithms.nearest_centers import Centers, blocks, cluster_sums, exact_distances, weights_of
from gradloom.data.shard import Rows
from gradloom.tensors import Tensors


def step_sums(rows: Rows, centers: Vector, *, with_norms: bool = False) -> Tensors:
    """A step of Lloyd's iteration: weight (A, k), sums (A, k, d), cost (A,) of the clusters around centers (A, k, d).

    The cost leaves sum w |x|^2 out unless ``with_norms``.
    """
    sums = cluster_sums(rows, centers, with_norms=with_norms)
    return {"weight": sums.weight, "sums": sums.rows, "cost": sums.cost}


def batch_sums(batch: Rows, message: Tensors, seed: int, round_: int) -> Tensors:
    """The sums of a batch, ``batch`` (2,): its rows and their weight, and rows drawn for centers that starve."""
    keep, runs = int(message["keep"]), message["run"]
    race = Race(batch.X.shape[1], keep)
    for block in blocks(batch, len(runs)) if keep else ():
        positions = batch.positions[block]
        keys = np.full((len(positions), int(runs.max()) + 1), np.inf)  # runs that have ended draw nothing
        for run in runs.tolist():
            keys[:, run] = race_keys(row_uniforms(seed, run, round_, positions), np.ones(len(positions)))
        race.offer(keys, batch.X[block], positions, np.zeros((len(positions), 2)))
    weight = float(len(batch)) if batch.weight is None else float(batch.weight.sum())
    return {
        **step_sums(batch, message["centers"], with_norms=True),
        "batch": np.asarray([float(len(batch)), weight]),
        "drawn_keep": message["keep"],
        **race.draws.to_tensors(),
    }


def farthest(rows: Rows, message: Tensors) -> Tensors:
    """The rows that are farthest from the centers of their clusters, with their weights and labels."""
    runs, centers = message["run"], message["centers"]
    nearest = Centers(centers, rows.X.dtype)
    race = Race(rows.X.shape[1], int(message["keep"]))
    for block in blocks(rows, nearest.runs * nearest.k):
        X, weight = rows.X[block], weights_of(rows, block)
        labels, _ = nearest.nearest(X)
        for at, run in enumerate(runs.tolist()):
            keys = np.full((len(X), int(runs.max()) + 1), np.inf)
            keys[:, run] = -exact_distances(X, centers[at], labels[:, at])
            race.offer(
                keys, X, rows.positions[block], np.stack([weight, labels[:, at].astype(np.float64)], axis=1)
            )
    return {"drawn_keep": message["keep"], **race.draws.to_tensors()}

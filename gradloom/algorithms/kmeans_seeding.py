"""How K-means begins: k-means||, k-means++ or random rows, drawn from all shards. Pure.

random      k rows, drawn by weight, in one round.
k-means++   one row by weight; then, a round a center, T rows are drawn with probability ~ w D^2 (D: distance to the
            nearest center so far) and the one that leaves the smallest cost becomes the next. In the same round the
            next T rows are drawn, for each of the T outcomes. Source: Arthur, Vassilvitskii, SODA 2007, with the
            greedy trials of scikit-learn.
k-means||   one row by weight; then, for a few rounds, every row by itself with probability l w D^2 / cost; at last
            each row adds its weight to the nearest row drawn, and k of those are chosen by weighted k-means++ and
            Lloyd's iteration on the coordinator. Source: Bahmani et al., "Scalable k-means++", VLDB 2012.

Several runs begin side by side, each with random numbers of its own. Every drawn row is the same whatever the shards.
"""

from dataclasses import dataclass, replace

import numpy as np

from gradloom.algorithms.draws import (
    Draws,
    Integers,
    Race,
    Vector,
    chance_keys,
    no_draws,
    race_keys,
    row_uniforms,
)
from gradloom.algorithms.nearest_centers import Centers, blocks, squared_distances, weights_of
from gradloom.data.shard import Rows
from gradloom.tensors import Tensors

LOCAL_ITERATIONS = 100
"""Of Lloyd's iteration on the rows that k-means|| has drawn: it converges long before."""
STREAM = 1 << 20
"""Set in the stream of the coordinator's own random numbers: no run has it."""


@dataclass(frozen=True, slots=True, eq=False)
class Seeding:
    """What has been chosen so far."""

    chosen: Vector  # (M, d): centers, or for k-means|| rows to choose centers from; run after run
    run: Integers  # (M,): whose they are
    trials: Vector | None = None  # (R, T, d): k-means++: rows of which one becomes the next center
    step: int = 0
    """Rounds of drawing done."""

    def of(self, run: int) -> Vector:
        """What one run has chosen, (m, d)."""
        chosen: Vector = self.chosen[self.run == run]
        return chosen


# --- workers -----------------------------------------------------------------------------------------------------


def draw_by_weight(rows: Rows, seed: int, round_: int, runs: int, keep: int) -> Tensors:
    """``keep`` rows for each run, with probability ~ weight, without replacement."""
    race = Race(rows.X.shape[1], keep)
    for block in blocks(rows, runs):
        weight = weights_of(rows, block)
        u = _uniforms(rows, block, seed, round_, runs)
        race.offer(race_keys(u, weight[:, np.newaxis]), rows.X[block], rows.positions[block], _marks(weight))
    return {"drawn_keep": np.asarray(keep, dtype=np.int64), **race.draws.to_tensors()}


def try_rows(rows: Rows, seeding: Seeding, seed: int, round_: int, keep: int) -> Tensors:
    """A round of k-means++: the cost after each trial, ``potential`` (R, T), and ``keep`` rows drawn for each."""
    assert seeding.trials is not None
    runs, trials, d = seeding.trials.shape
    candidates = Centers(seeding.trials, rows.X.dtype)
    chosen = Centers(seeding.chosen.reshape(runs, -1, d), rows.X.dtype) if len(seeding.chosen) else None
    race, potential = Race(d, keep), np.zeros((runs, trials))
    for block in blocks(rows, runs * (trials + len(seeding.chosen) // runs)):
        X, weight = rows.X[block], weights_of(rows, block)
        distances = squared_distances(X, candidates)  # (m, R, T)
        if chosen is not None:
            np.minimum(distances, squared_distances(X, chosen).min(axis=2, keepdims=True), out=distances)
        distances *= weight[:, np.newaxis, np.newaxis]
        potential += distances.sum(axis=0)
        if keep:
            u = _uniforms(rows, block, seed, round_, runs)[:, :, np.newaxis]
            keys = race_keys(u, distances).reshape(len(X), runs * trials)
            race.offer(keys, X, rows.positions[block], _marks(weight))
    drawn = {"drawn_keep": np.asarray(keep, dtype=np.int64), **race.draws.to_tensors()}
    return {"potential": potential, **drawn}


def draw_independently(rows: Rows, seeding: Seeding, seed: int, round_: int, limit: float) -> Tensors:
    """A round of k-means||: the cost ``potential`` (R,), and rows with u < limit w D^2 / cost."""
    runs = int(seeding.run.max()) + 1
    centers = [Centers(seeding.of(run)[np.newaxis], rows.X.dtype) for run in range(runs)]
    potential, draws = np.zeros(runs), no_draws(rows.X.shape[1])
    for block in blocks(rows, len(seeding.chosen)):
        X, weight = rows.X[block], weights_of(rows, block)
        nearest = [squared_distances(X, each)[:, 0].min(axis=1) for each in centers]
        shares = np.stack(nearest, axis=1) * weight[:, np.newaxis]  # (m, R)
        potential += shares.sum(axis=0)
        keys = chance_keys(_uniforms(rows, block, seed, round_, runs), shares)
        # the cost grows from block to block: whoever is out now would be out at the end
        with np.errstate(
            invalid="ignore"
        ):  # infinity times 0, of rows on a center, is no number below the limit
            row, run = np.nonzero(keys * potential < limit)
        positions = rows.positions[block][row]
        found = Draws(run, keys[row, run], positions, X[row].astype(np.float64), _marks(weight)[row])
        draws = draws.joined(found) if len(row) else draws
    drawn = draws.below(limit, potential).to_tensors()
    return {"potential": potential, "drawn_limit": np.asarray(limit), **drawn}


def weigh(rows: Rows, seeding: Seeding) -> Tensors:
    """``weight`` (M,): of the rows that are nearest to each chosen one, run by run."""
    runs = int(seeding.run.max()) + 1
    centers = [Centers(seeding.of(run)[np.newaxis], rows.X.dtype) for run in range(runs)]
    weights = [np.zeros(each.k) for each in centers]
    for block in blocks(rows, len(seeding.chosen)):
        for each, weight in zip(centers, weights, strict=True):
            labels = each.nearest(rows.X[block])[0][:, 0]
            weight += np.bincount(labels, weights_of(rows, block), each.k)
    return {"weight": np.concatenate(weights)}


def _uniforms(rows: Rows, block: slice, seed: int, round_: int, runs: int) -> Vector:
    """Numbers of each row for each run, (m, R)."""
    positions = rows.positions[block]
    return np.stack([row_uniforms(seed, run, round_, positions) for run in range(runs)], axis=1)


def _marks(weight: Vector) -> Vector:
    return np.stack([weight, np.zeros_like(weight)], axis=1)


# --- coordinator -------------------------------------------------------------------------------------------------


def random_centers(total: Tensors, runs: int, k: int) -> Vector:
    """The rows drawn by weight, (R, k, d); where too few rows weigh anything, the first ones again."""
    draws = Draws.from_tensors(total)
    return np.stack([_filled(draws.of(run).row, k) for run in range(runs)])


def first_rows(total: Tensors, runs: int) -> Vector:
    """One row for each run, (R, 1, d)."""
    return random_centers(total, runs, 1)


def after_trials(seeding: Seeding, total: Tensors, trials: int) -> Seeding:
    """Of the rows tried, the one that left the smallest cost is chosen; those drawn for that outcome are next."""
    assert seeding.trials is not None
    runs, tried, d = seeding.trials.shape
    best = total["potential"].argmin(axis=1)  # (R,)
    chosen = seeding.chosen.reshape(runs, -1, d)
    chosen = np.concatenate([chosen, seeding.trials[np.arange(runs), best][:, np.newaxis]], axis=1)
    draws = Draws.from_tensors(total)
    following = [draws.of(run * tried + int(best[run])).row for run in range(runs)]
    # where every row lies on a center, none is drawn: the first center stands in again
    following = [rows if len(rows) else chosen[run, :1] for run, rows in enumerate(following)]
    return Seeding(
        chosen=chosen.reshape(-1, d),
        run=np.repeat(np.arange(runs), chosen.shape[1]),
        trials=np.stack([_filled(rows, trials) for rows in following]),
        step=seeding.step + 1,
    )


def after_drawing(seeding: Seeding, total: Tensors) -> Seeding:
    """The rows drawn join those chosen before."""
    draws = Draws.from_tensors(total)
    run = np.concatenate([seeding.run, draws.group])
    order = np.argsort(run, kind="stable")
    chosen = np.concatenate([seeding.chosen, draws.row])
    return replace(seeding, chosen=chosen[order], run=run[order], step=seeding.step + 1)


def reduced(seeding: Seeding, weight: Vector, k: int, trials: int, seed: int) -> Vector:
    """The centers of each run, (R, k, d), from the rows that it has chosen and their weights."""
    runs = int(seeding.run.max()) + 1
    return np.stack(
        [
            _reduced(seeding.of(run), weight[seeding.run == run], k, trials, (seed, STREAM | run))
            for run in range(runs)
        ]
    )


def _reduced(rows: Vector, weight: Vector, k: int, trials: int, key: tuple[int, int]) -> Vector:
    rows, weight = rows[weight > 0], weight[weight > 0]
    if len(rows) <= k:
        return _filled(rows, k)
    centers = _plus_plus(rows, weight, k, trials, key)
    for _ in range(LOCAL_ITERATIONS):
        moved = _moved(rows, weight, centers)
        if np.array_equal(moved, centers):
            break
        centers = moved
    return centers


def _moved(rows: Vector, weight: Vector, centers: Vector) -> Vector:
    """One step of Lloyd's iteration; rows (m, d), centers (k, d). A center without rows stays."""
    labels = Centers(centers[np.newaxis], rows.dtype).nearest(rows)[0][:, 0]
    order = np.argsort(labels, kind="stable")
    taken, starts = np.unique(labels[order], return_index=True)
    total = np.add.reduceat(weight[order], starts)
    moved = centers.copy()
    moved[taken] = (
        np.add.reduceat((rows * weight[:, np.newaxis])[order], starts, axis=0) / total[:, np.newaxis]
    )
    return moved


def _plus_plus(rows: Vector, weight: Vector, k: int, trials: int, key: tuple[int, int]) -> Vector:
    """Greedy weighted k-means++ on rows (m, d)."""
    everyone = np.arange(len(rows), dtype=np.int64)
    chosen = [int(race_keys(row_uniforms(*key, 0, everyone), weight).argmin())]
    closest = _distances(rows, rows[chosen])[:, 0]
    for step in range(1, k):
        keys = race_keys(row_uniforms(*key, step, everyone), weight * closest)
        tried = np.argsort(keys, kind="stable")[:trials]
        distances = np.minimum(_distances(rows, rows[tried]), closest[:, np.newaxis])  # (m, T)
        best = int((weight @ distances).argmin())
        chosen.append(int(tried[best]))
        closest = distances[:, best]
    return rows[chosen]


def _distances(rows: Vector, centers: Vector) -> Vector:
    """|row - center|^2, (m, k)."""
    return squared_distances(rows, Centers(centers[np.newaxis], rows.dtype))[:, 0]


def _filled(rows: Vector, n: int) -> Vector:
    """The first n rows; the same ones over again where there are fewer. At least one is there."""
    return np.asarray(rows[np.arange(n) % len(rows)])

"""What becomes of the centers between two passes over the rows: the coordinator's part of K-means. Pure.

Lloyd         c_j = sum_{label j} w x / sum_{label j} w
mini-batch    n_j += sum w;   c_j += (sum w x - c_j sum w) / n_j           over the rows of a batch

The rules are scikit-learn's, so that the same first centers lead through the same iterations to the same clusters:
a center without rows moves to the row that is farthest from its own center, which leaves its cluster; the iteration
ends when no label has changed, when sum |dc|^2 <= tolerance, or after so many iterations. That no label has changed
shows in the sums of the clusters, which then come out the same to the bit.

Several runs go side by side; those that have ended are not computed any more. Sources: Lloyd 1982; Sculley,
"Web-scale k-means clustering", WWW 2010.
"""

from dataclasses import dataclass, replace
from math import inf

import numpy as np

from gradloom.algorithms.draws import Draws, Integers, Vector
from gradloom.algorithms.kmeans_settings import KMeansSettings

GOING, SAME_LABELS, SMALL_SHIFT, LAST_ROUND, OUT_OF_PATIENCE = range(5)
MAX_REASSIGNED = 0.5
"""Of the rows of a batch: no more become centers at once."""
ROWS_BETWEEN_REASSIGNMENTS = 10
"""Times the number of clusters; sooner where a center has no rows at all."""


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """R runs with k centers each, on columns that are centred."""

    centers: Vector  # (R, k, d)
    iterations: Integers  # (R,)
    stopped: Integers  # (R,): why, or GOING
    cost: Vector  # (R,): as of the last pass
    weight: Vector  # (R, k): of each cluster in the last pass; of all batches so far, in batches
    sums: Vector  # (R, k, d): weighted sums of the rows of each cluster in the last pass; empty in batches
    seen: Vector  # (R,): rows of batches since centers were last reassigned
    smooth_cost: Vector  # (R,): per weight, exponentially averaged over batches
    best_cost: Vector  # (R,): the smallest of those
    worse: Integers  # (R,): batches since then

    @property
    def going(self) -> Integers:
        """The runs that have not ended."""
        return np.flatnonzero(self.stopped == GOING)


def begin(centers: Vector, *, batches: bool) -> Runs:
    """Runs that start from centers (R, k, d)."""
    runs, k, d = centers.shape
    zeros = np.zeros(runs)
    return Runs(
        centers=centers,
        iterations=np.zeros(runs, dtype=np.int64),
        stopped=np.full(runs, GOING, dtype=np.int64),
        cost=np.full(runs, inf),
        weight=np.zeros((runs, k)),
        sums=np.zeros((runs, k, 0 if batches else d)),
        seen=zeros,
        smooth_cost=np.full(runs, inf),
        best_cost=np.full(runs, inf),
        worse=np.zeros(runs, dtype=np.int64),
    )


def empty_clusters(weight: Vector) -> Integers:
    """How many clusters of each run have no rows; weight (R, k), returns (R,)."""
    empty: Integers = (weight == 0).sum(axis=1, dtype=np.int64)
    return empty


def relocated(weight: Vector, sums: Vector, far: Draws) -> tuple[Vector, Vector]:
    """Cluster weights (k,) and sums (k, d) of one run after its empty clusters have got the farthest rows.

    ``far`` holds those rows, the farthest first; their keys are the distances, negated, and their marks weight and
    label. Where all lie on their centers there is nothing to gain, and nothing is moved.
    """
    weight, sums = weight.copy(), sums.copy()
    if not len(far) or far.key[0] == 0:
        return weight, sums
    for new, row, (row_weight, label) in zip(np.flatnonzero(weight == 0), far.row, far.mark, strict=False):
        old = int(label)
        sums[old] -= row * row_weight
        sums[new] = row * row_weight
        weight[new] = row_weight
        weight[old] -= row_weight
    return weight, sums


def means(weight: Vector, sums: Vector) -> Vector:
    """The centers of one run, (k, d); a cluster without weight is put where the heaviest is."""
    filled = weight > 0
    centers = sums / np.where(filled, weight, 1.0)[:, np.newaxis]
    centers[~filled] = centers[weight.argmax()]
    return centers


def lloyd_step(
    runs: Runs, weight: Vector, sums: Vector, cost: Vector, far: Draws | None, max_shift: float, last: int
) -> Runs:
    """Every run that is going takes a step.

    weight (A, k), sums (A, k, d) and cost (A,) are of those runs in order; ``far`` what is needed to fill empty
    clusters, by the number of the run; ``max_shift`` the tolerance in squared units; ``last`` the last iteration.
    """
    centers, stopped = runs.centers.copy(), runs.stopped.copy()
    iterations = runs.iterations.copy()
    going = runs.going
    for at, run in enumerate(going):
        new_weight, new_sums = weight[at], sums[at]
        if far is not None:
            new_weight, new_sums = relocated(new_weight, new_sums, far.of(int(run)))
        centers[run] = means(new_weight, new_sums)
        iterations[run] += 1
        same = iterations[run] > 1 and np.array_equal(weight[at], runs.weight[run])
        if same and np.array_equal(sums[at], runs.sums[run]):
            stopped[run] = SAME_LABELS
        elif np.square(centers[run] - runs.centers[run]).sum() <= max_shift:
            stopped[run] = SMALL_SHIFT
        elif iterations[run] >= last:
            stopped[run] = LAST_ROUND
    return replace(
        runs,
        centers=centers,
        iterations=iterations,
        stopped=stopped,
        weight=_put(runs.weight, going, weight),
        sums=_put(runs.sums, going, sums),
        cost=_put(runs.cost, going, cost),
    )


def _put(old: Vector, at: Integers, new: Vector) -> Vector:
    values = old.copy()
    values[at] = new
    return values


# --- mini-batches ------------------------------------------------------------------------------------------------


def reassignment_is_due(runs: Runs, settings: KMeansSettings) -> bool:
    """Whether some run would move centers that hardly any row belongs to, after the batch to come."""
    if settings.reassignment_ratio == 0:
        return False
    going = runs.going
    waited = runs.seen[going] >= ROWS_BETWEEN_REASSIGNMENTS * settings.n_clusters
    return bool((waited | (runs.weight[going] == 0).any(axis=1)).any())


@dataclass(frozen=True, slots=True, eq=False)
class BatchSums:
    """What a batch has given, of the runs that are going."""

    weight: Vector  # (A, k)
    sums: Vector  # (A, k, d)
    cost: Vector  # (A,)
    rows: float
    total_weight: float
    drawn: Draws | None
    """Rows for centers to move to, by the number of the run."""


def batch_step(
    runs: Runs, batch: BatchSums, settings: KMeansSettings, train_weight: float, max_shift: float, last: int
) -> Runs:
    """Every run that is going takes in a batch; ``train_weight`` is of all train rows, ``last`` the last batch."""
    share = min(1.0, 2.0 * batch.total_weight / train_weight)
    if batch.total_weight == 0:
        iterations = _put_added(runs.iterations, runs.going)
        over = (runs.stopped == GOING) & (iterations >= last)
        return replace(runs, iterations=iterations, stopped=np.where(over, LAST_ROUND, runs.stopped))
    after = replace(
        runs,
        centers=runs.centers.copy(),
        weight=runs.weight.copy(),
        iterations=_put_added(runs.iterations, runs.going),
        stopped=runs.stopped.copy(),
        cost=runs.cost.copy(),
        seen=runs.seen.copy(),
        smooth_cost=runs.smooth_cost.copy(),
        best_cost=runs.best_cost.copy(),
        worse=runs.worse.copy(),
    )
    for at, run in enumerate(runs.going):
        _take_in(after, int(run), at, batch, settings)
        cost = float(batch.cost[at]) / batch.total_weight
        smooth = float(after.smooth_cost[run])
        # the first batch is nearer to its own centers than any other will be
        if after.iterations[run] > 1:
            after.smooth_cost[run] = cost if smooth == inf else smooth * (1 - share) + cost * share
        after.cost[run] = cost * train_weight
        shift = float(np.square(after.centers[run] - runs.centers[run]).sum())
        end = _batch_end(after, int(run), settings, max_shift > 0.0 and shift <= max_shift)
        after.stopped[run] = LAST_ROUND if end == GOING and after.iterations[run] >= last else end
    return after


def _put_added(old: Integers, at: Integers) -> Integers:
    values = old.copy()
    values[at] += 1
    return values


def _take_in(after: Runs, run: int, at: int, batch: BatchSums, settings: KMeansSettings) -> None:
    """One run's centers and weights, in place in arrays of ours; then centers that starve move."""
    weight, centers = after.weight[run], after.centers[run]
    hit = batch.weight[at] > 0
    weight += batch.weight[at]
    step = batch.sums[at, hit] - centers[hit] * batch.weight[at, hit, np.newaxis]
    centers[hit] += step / weight[hit, np.newaxis]
    after.seen[run] += batch.rows
    if batch.drawn is None:
        return
    starving = weight < settings.reassignment_ratio * weight.max()
    rows = batch.drawn.of(run).row
    most = min(int(MAX_REASSIGNED * batch.rows), len(rows))
    if np.count_nonzero(starving) > most:
        starving[np.argsort(weight, kind="stable")[most:]] = False
    if starving.any():
        centers[starving] = rows[: np.count_nonzero(starving)]
        weight[starving] = weight[~starving].min()  # not so little that they would move again at once
    after.seen[run] = 0.0


def _batch_end(after: Runs, run: int, settings: KMeansSettings, small_shift: bool) -> int:
    smooth = float(after.smooth_cost[run])
    if smooth < after.best_cost[run]:
        after.best_cost[run], after.worse[run] = smooth, 0
    elif after.iterations[run] > 1:
        after.worse[run] += 1
    if small_shift:
        return SMALL_SHIFT
    if settings.patience and after.worse[run] >= settings.patience:
        return OUT_OF_PATIENCE
    return GOING

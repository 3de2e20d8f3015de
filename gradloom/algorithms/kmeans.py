"""K-means: k centers such that the rows lie near the center that is nearest to them.

    minimise over c:   sum_i w_i min_j |x_i - c_j|^2

First centers are chosen (``kmeans_seeding``), then moved by Lloyd's iteration or by mini-batches (``kmeans_runs``);
a last pass looks at all rows and tells the cost of each run exactly. One pass over the rows is one round. Workers
keep nothing between rounds. Columns are centred before they are cast, so that distances by products keep their digits.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from gradloom.algorithms.algorithm import Needs, Progress, WholeRounds
from gradloom.algorithms.draws import Draws, Vector, merge_draws
from gradloom.algorithms.epochs import batch_at, steps_per_epoch
from gradloom.algorithms.kmeans_passes import batch_sums, farthest, step_sums
from gradloom.algorithms.kmeans_runs import (
    LAST_ROUND,
    OUT_OF_PATIENCE,
    SAME_LABELS,
    SMALL_SHIFT,
    BatchSums,
    Runs,
    batch_step,
    begin,
    empty_clusters,
    lloyd_step,
    reassignment_is_due,
)
from gradloom.algorithms.kmeans_seeding import (
    Seeding,
    after_drawing,
    after_trials,
    draw_by_weight,
    draw_independently,
    first_rows,
    random_centers,
    reduced,
    try_rows,
    weigh,
)
from gradloom.algorithms.kmeans_settings import KMeansSettings
from gradloom.algorithms.nearest_centers import exact_costs, spread
from gradloom.data.shard import Rows, Shard
from gradloom.errors import InvalidInput, JobFailed
from gradloom.models import Clusters, Model
from gradloom.saved import Saved, restore_value, save_value
from gradloom.schema import Schema
from gradloom.tensors import Tensors


class Phase(IntEnum):
    """What a round is for."""

    FIRST = 0
    """Draw rows by weight."""
    TRY = 1
    """k-means++: try rows for the next center."""
    DRAW = 2
    """k-means||: draw rows far from those drawn before."""
    WEIGH = 3
    """k-means||: weigh the rows drawn."""
    STEP = 4
    """Lloyd: sum up the rows of each cluster."""
    BATCH = 5
    """Mini-batch: the same for a batch of each shard."""
    FAR = 6
    """The centers are the same as in the round before: find the farthest rows, for clusters that are empty."""
    LAST = 7
    """The exact cost of each run."""
    DONE = 8


REASONS = {
    SAME_LABELS: "converged: no row changed its cluster",
    SMALL_SHIFT: "converged: the centers moved by no more than the tolerance",
    LAST_ROUND: "{limit} reached",
    OUT_OF_PATIENCE: "converged: no better smoothed cost in {patience} batches",
}


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """The sums of a step that waits for rows to fill empty clusters, of the runs that are going."""

    weight: Vector  # (A, k)
    sums: Vector  # (A, k, d)
    cost: Vector  # (A,)


@dataclass(frozen=True, slots=True, eq=False)
class KMeansState:
    """Where the training stands."""

    schema: Schema
    phase: int
    round: int = 0
    fills: int = 0
    """Rounds that went into filling empty clusters."""
    spread: float = 0.0
    """sum |x|^2 over the train rows, on centred columns."""
    weighted_spread: float = 0.0
    """sum w |x|^2."""
    seeding: Seeding | None = None
    runs: Runs | None = None
    pending: Pending | None = None


@dataclass(frozen=True, slots=True)
class KMeans(WholeRounds):  # means over some shards are no means of clusters, and draws need every row
    """K-means with its settings; a value that coordinator and workers build alike."""

    settings: KMeansSettings
    name: str = "kmeans"
    version: int = 1

    @property
    def needs(self) -> Needs:
        """Centred columns; no target is looked at."""
        return Needs("unsupervised", self.settings.dtype, standardize=False, center=True, heavy_update=True)

    # --- the loop ------------------------------------------------------------------------------------------------

    def start(self, schema: Schema) -> KMeansState:
        """Nothing is chosen, or the given centers are. Raises InvalidInput for fewer rows than clusters."""
        k = self.settings.n_clusters
        if k > schema.train_rows:
            raise InvalidInput(
                "n_clusters",
                f"{k} is more than there are train rows, {schema.train_rows}; it must be at most that",
            )
        if self.settings.init != "given":
            return KMeansState(schema, Phase.FIRST)
        centers = self.settings.first_centers
        if centers.shape[1] != schema.n_features:
            raise InvalidInput(
                "init_centers", f"have {centers.shape[1]} columns, where the data has {schema.n_features}"
            )
        centers = centers - np.asarray(schema.preparation.center)
        return self._begun(KMeansState(schema, Phase.FIRST), centers[np.newaxis])

    def broadcast(self, state: KMeansState) -> Tensors:
        """phase, round, seed () int64, and what the phase needs: centers of the runs that are going, rows to try."""
        numbers = {"phase": state.phase, "round": state.round, "seed": self._seed(state)}
        match state.phase:
            case Phase.TRY | Phase.DRAW | Phase.WEIGH:
                numbers["keep"] = self.settings.trials if self._more_to_choose(state) else 0
                parts = _of_seeding(state.seeding)
            case Phase.STEP | Phase.BATCH | Phase.FAR | Phase.LAST:
                numbers["keep"], parts = self._wanted(state), self._of_runs(state)
                numbers["epoch_steps"] = steps_per_epoch(state.schema.train_rows, self.settings.batch_size)
            case _:
                parts = {}
        return {**{name: np.asarray(value, dtype=np.int64) for name, value in numbers.items()}, **parts}

    def map(self, shard: Shard, message: Tensors) -> Tensors:
        """Sums over the train rows, float64, and the rows that were drawn; see the functions of each phase."""
        with np.errstate(over="ignore", invalid="ignore"):  # the coordinator refuses what comes of it
            return self._partial(shard, message)

    def _partial(self, shard: Shard, message: Tensors) -> Tensors:
        rows, s = shard.train, self.settings
        phase, round_, seed = (int(message[name]) for name in ("phase", "round", "seed"))
        match phase:
            case Phase.FIRST:
                partial = draw_by_weight(rows, seed, round_, s.n_init, self._first_draws)
            case Phase.TRY:
                partial = try_rows(rows, _seeding_of(message), seed, round_, int(message["keep"]))
            case Phase.DRAW:
                limit = s.oversampling * s.n_clusters
                partial = draw_independently(rows, _seeding_of(message), seed, round_, limit)
            case Phase.WEIGH:
                partial = weigh(rows, _seeding_of(message))
            case Phase.STEP:
                partial = step_sums(rows, message["centers"])
            case Phase.BATCH:
                batch = batch_at(rows, shard.index, seed, 0, round_, int(message["epoch_steps"]))
                partial = batch_sums(batch, message, seed, round_)
            case Phase.FAR:
                partial = farthest(rows, message)
            case _:
                cost, weight = exact_costs(rows, message["centers"])
                partial = {"cost": cost, "weight": weight}
        return {**partial, "spread": np.asarray(spread(rows))} if round_ == 0 else partial

    merge = staticmethod(merge_draws)

    def update(self, state: KMeansState, total: Tensors) -> KMeansState:
        """What the phase of this round leads to. Raises JobFailed for sums that are not finite."""
        self._refuse_not_finite(total)
        if state.round == 0:
            plain, weighted = total["spread"].tolist()
            state = replace(state, spread=plain, weighted_spread=weighted)
        after = replace(state, round=state.round + 1)
        match state.phase:
            case Phase.FIRST:
                return self._after_first(after, total)
            case Phase.TRY | Phase.DRAW | Phase.WEIGH:
                return self._after_seeding(after, total)
            case Phase.STEP:
                return self._after_step(after, total)
            case Phase.FAR:
                return self._stepped(replace(after, fills=after.fills + 1), Draws.from_tensors(total))
            case Phase.BATCH:
                return self._after_batch(after, total)
            case _:
                assert state.runs is not None
                runs = replace(state.runs, cost=total["cost"], weight=total["weight"])
                return replace(after, phase=Phase.DONE, runs=runs)

    def save(self, state: KMeansState) -> Saved:
        """All but the schema."""
        return save_value(state, "schema")

    def restore(self, schema: Schema, saved: Saved) -> KMeansState:
        """The state that was saved."""
        return restore_value(KMeansState, saved, schema=schema)

    def done(self, state: KMeansState) -> str | None:
        """Once the last pass has been made: why the best run had ended."""
        if state.phase != Phase.DONE or state.runs is None:
            return None
        reason = REASONS[int(state.runs.stopped[self._best(state.runs)])]
        s = self.settings
        by_epochs = self._last(state) < s.max_rounds
        limit = f"max_epochs = {s.max_epochs}" if by_epochs else f"max_rounds = {s.max_rounds}"
        return reason.format(limit=limit, patience=s.patience)

    def finish(self, state: KMeansState) -> Model:
        """The clusters of the best run, on raw columns; one around the mean of all rows while there are none."""
        schema, runs = state.schema, state.runs
        best = 0 if runs is None else self._best(runs)
        cost = state.weighted_spread if runs is None else float(runs.cost[best])
        return Clusters(
            algorithm=self.name,
            version=self.version,
            features=schema.features,
            target=schema.target,
            classes=None,
            centers=self.solution(state)["centers"] + np.asarray(schema.preparation.center),
            weights=np.asarray([schema.train_weight]) if runs is None else runs.weight[best].copy(),
            settings=self.settings.model_dump(),
            metadata={
                "train_rows": schema.train_rows,
                "train_weight": schema.train_weight,
                "solver": "mini-batch" if self.settings.batch_size else "lloyd",
                "rounds": state.round,
                "iterations": 0 if runs is None else int(runs.iterations[best]),
                "inertia": cost if np.isfinite(cost) else None,
                "stopped": self.done(state) or "stopped early",
            },
        )

    def progress(self, state: KMeansState) -> Progress:
        """Rounds, those of the beginning and the last pass included; the loss is the inertia of the best run."""
        s, runs = self.settings, state.runs
        before = {"given": 0, "random": 1, "k-means++": s.n_clusters + 1, "k-means||": s.init_rounds + 2}[
            s.init
        ]
        cost = None if runs is None else float(runs.cost[self._best(runs)])
        return Progress(
            iteration=state.round,
            max_iterations=before + self._last(state) + state.fills + (state.phase == Phase.FAR) + 1,
            loss=cost if cost is not None and np.isfinite(cost) else None,
        )

    # --- held-out rows -------------------------------------------------------------------------------------------

    def solution(self, state: KMeansState) -> Tensors:
        """centers (k, d) of the best run, on centred columns; the origin alone while there are none."""
        if state.runs is None:
            return {"centers": np.zeros((1, state.schema.n_features))}
        return {"centers": state.runs.centers[self._best(state.runs)]}

    def assess(self, rows: Rows, solution: Tensors) -> Tensors:
        """Sums of weights and of weighted squared distances to the nearest center."""
        cost, weight = exact_costs(rows, solution["centers"][np.newaxis])
        return {"inertia": cost[0], "weight": np.asarray(weight.sum())}

    def scores(self, total: Tensors) -> dict[str, float]:
        """inertia, and mean_squared_distance; see ``gradloom.models.clusters``."""
        return Clusters.scores_of({name: float(value) for name, value in total.items()})

    # --- parts ---------------------------------------------------------------------------------------------------

    @property
    def _first_draws(self) -> int:
        return self.settings.n_clusters if self.settings.init == "random" else 1

    @staticmethod
    def _seed(state: KMeansState) -> int:
        return state.schema.preparation.split.seed

    @staticmethod
    def _best(runs: Runs) -> int:
        return int(runs.cost.argmin())

    def _refuse_not_finite(self, total: Tensors) -> None:
        sums = (values for name, values in total.items() if not name.startswith("drawn_"))
        if all(np.isfinite(values).all() for values in sums):
            return
        wider = " dtype=float64," if self.settings.dtype == "float32" else ""
        raise JobFailed(
            "a sum over the rows is not a finite number: the squares of the values of the data are too large for "
            f"{self.settings.dtype}; try{wider} columns of a smaller unit, or standardised ones"
        )

    def _last(self, state: KMeansState) -> int:
        return self.settings.last_round(state.schema.train_rows)

    def _max_shift(self, state: KMeansState) -> float:
        cells = state.schema.train_rows * state.schema.n_features
        return self.settings.shift_tolerance * state.spread / cells

    def _more_to_choose(self, state: KMeansState) -> bool:
        """Whether k-means++ needs another center after the one that is tried now."""
        assert state.seeding is not None
        return state.seeding.step + 1 < self.settings.n_clusters

    def _wanted(self, state: KMeansState) -> int:
        """How many rows each run is to draw."""
        assert state.runs is not None
        if state.phase == Phase.FAR:
            assert state.pending is not None
            return int(empty_clusters(state.pending.weight).max())
        due = state.phase == Phase.BATCH and reassignment_is_due(state.runs, self.settings)
        return self.settings.n_clusters if due else 0

    def _of_runs(self, state: KMeansState) -> Tensors:
        assert state.runs is not None
        going = np.arange(self.settings.n_init) if state.phase == Phase.LAST else state.runs.going
        return {"centers": state.runs.centers[going], "run": going}

    def _begun(self, state: KMeansState, centers: Vector) -> KMeansState:
        batches = self.settings.batch_size > 0
        phase = Phase.BATCH if batches else Phase.STEP
        return replace(state, phase=phase, runs=begin(centers, batches=batches), seeding=None)

    def _after_first(self, state: KMeansState, total: Tensors) -> KMeansState:
        s = self.settings
        if s.init == "random":
            return self._begun(state, random_centers(total, s.n_init, s.n_clusters))
        first = first_rows(total, s.n_init)
        if s.init == "k-means++":
            none = Seeding(np.zeros((0, first.shape[2])), np.zeros(0, dtype=np.int64), trials=first)
            return replace(state, phase=Phase.TRY, seeding=none)
        return replace(state, phase=Phase.DRAW, seeding=Seeding(first[:, 0], np.arange(s.n_init)))

    def _after_seeding(self, state: KMeansState, total: Tensors) -> KMeansState:
        s, seeding = self.settings, state.seeding
        assert seeding is not None
        if state.phase == Phase.WEIGH:
            return self._begun(
                state, reduced(seeding, total["weight"], s.n_clusters, s.trials, self._seed(state))
            )
        if state.phase == Phase.DRAW:
            seeding = after_drawing(seeding, total)
            phase = Phase.DRAW if seeding.step < s.init_rounds else Phase.WEIGH
            return replace(state, phase=phase, seeding=seeding)
        seeding = after_trials(seeding, total, s.trials)
        if seeding.step < s.n_clusters:
            return replace(state, seeding=seeding)
        return self._begun(state, seeding.chosen.reshape(s.n_init, s.n_clusters, -1))

    def _after_step(self, state: KMeansState, total: Tensors) -> KMeansState:
        cost = np.maximum(total["cost"] + state.weighted_spread, 0.0)
        pending = Pending(total["weight"], total["sums"], cost)
        state = replace(state, pending=pending)
        if empty_clusters(pending.weight).any():
            return replace(state, phase=Phase.FAR)
        return self._stepped(state, None)

    def _stepped(self, state: KMeansState, far: Draws | None) -> KMeansState:
        pending, runs = state.pending, state.runs
        assert pending is not None
        assert runs is not None
        runs = lloyd_step(
            runs,
            pending.weight,
            pending.sums,
            pending.cost,
            far,
            self._max_shift(state),
            self.settings.max_rounds,
        )
        return replace(state, runs=runs, pending=None, phase=Phase.STEP if len(runs.going) else Phase.LAST)

    def _after_batch(self, state: KMeansState, total: Tensors) -> KMeansState:
        assert state.runs is not None
        drawn = Draws.from_tensors(total) if int(total["drawn_keep"]) else None
        rows, weight = total["batch"].tolist()
        batch = BatchSums(total["weight"], total["sums"], total["cost"], rows, weight, drawn)
        train_weight, shift = state.schema.train_weight, self._max_shift(state)
        runs = batch_step(state.runs, batch, self.settings, train_weight, shift, self._last(state))
        return replace(state, runs=runs, phase=Phase.BATCH if len(runs.going) else Phase.LAST)


def _of_seeding(seeding: Seeding | None) -> Tensors:
    assert seeding is not None
    chosen = {"chosen": seeding.chosen, "run": seeding.run}
    return chosen if seeding.trials is None else {**chosen, "trials": seeding.trials}


def _seeding_of(message: Tensors) -> Seeding:
    return Seeding(message["chosen"], message["run"], message.get("trials"))

"""Statistics of every column in one round: values, missing cells, mean, variance, smallest and largest.

    W = sum w,    mean = sum w x / W,    variance = m2 / W,    m2 = sum w (x - mean)^2,    over the cells with a value

Squares are summed around the mean of their block, and blocks and shards are merged pair by pair: no digit is lost
to a mean that is large beside the deviation. Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm
for computing sample variances", 1979. A cell without a value is left out of its column, as in scikit-learn's
StandardScaler, whose twin this is.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gradloom.algorithms.algorithm import Needs, Progress, Settings, WholeRounds
from gradloom.data.shard import Rows, Shard
from gradloom.models import Model, Statistics
from gradloom.models.statistics import squares
from gradloom.saved import Saved, restore_value, save_value
from gradloom.schema import Schema
from gradloom.tensors import Tensors

Vector = NDArray[np.float64]
BLOCK_BYTES = 1 << 19


class StatisticsSettings(Settings):
    """How statistics are taken."""

    dtype: Literal["float32", "float64"] = Field(
        "float64", description="of the rows; float32 rounds the smallest and the largest value"
    )


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Of each column, over the cells with a value, shapes (d,)."""

    count: Vector
    missing: Vector
    weight: Vector
    mean: Vector
    m2: Vector
    minimum: Vector
    maximum: Vector


@dataclass(frozen=True, slots=True, eq=False)
class StatisticsState:
    """Where the training stands."""

    schema: Schema
    round: int = 0
    sums: Sums | None = None


def merge_moments(left: Tensors, right: Tensors) -> Tensors:
    """Counts add up; means, m2, smallest and largest are those of one side where the other has no value.

    delta = mean_r - mean_l;   mean = mean_l + delta W_r / W;   m2 = m2_l + m2_r + delta^2 W_l W_r / W
    """
    merged = {name: np.asarray(left[name] + right[name]) for name in ("count", "missing", "weight")}
    share = right["weight"] / np.where(merged["weight"] > 0, merged["weight"], 1.0)
    delta = right["mean"] - left["mean"]
    of_both = {
        "mean": left["mean"] + delta * share,
        "m2": left["m2"] + right["m2"] + np.square(delta) * left["weight"] * share,
        "minimum": np.minimum(left["minimum"], right["minimum"]),
        "maximum": np.maximum(left["maximum"], right["maximum"]),
    }
    on_left, on_right = left["count"] > 0, right["count"] > 0
    for name, value in of_both.items():
        merged[name] = np.where(on_left & on_right, value, np.where(on_left, left[name], right[name]))
    return merged


@dataclass(frozen=True, slots=True)
class ColumnStatistics(WholeRounds):
    """Statistics of columns; a value that coordinator and workers build alike."""

    settings: StatisticsSettings
    name: str = "statistics"
    version: int = 1

    @property
    def needs(self) -> Needs:
        """Columns as they are, which may lack values; no target is looked at."""
        return Needs("unsupervised", self.settings.dtype, standardize=False, missing_allowed=True)

    # --- the loop ------------------------------------------------------------------------------------------------

    def start(self, schema: Schema) -> StatisticsState:
        """Nothing is known."""
        return StatisticsState(schema)

    def broadcast(self, state: StatisticsState) -> Tensors:  # noqa: ARG002 - there is nothing to say
        """Nothing."""
        return {}

    def map(self, shard: Shard, message: Tensors) -> Tensors:  # noqa: ARG002 - there is nothing to hear
        """count, missing, weight, mean, m2, minimum, maximum of each column, (d,) float64; 0 without values."""
        rows = shard.train
        sums = {name: np.zeros(rows.X.shape[1]) for name in Sums.__slots__}
        step = max(64, BLOCK_BYTES // (8 * rows.X.shape[1]))
        for start in range(0, len(rows), step):
            block = slice(start, start + step)
            weight = None if rows.weight is None else rows.weight[block]
            sums = dict(merge_moments(sums, _moments(rows.X[block].astype(np.float64, copy=False), weight)))
        return sums

    merge = staticmethod(merge_moments)

    def update(self, state: StatisticsState, total: Tensors) -> StatisticsState:
        """The sums."""
        return replace(state, round=state.round + 1, sums=Sums(**total))

    def save(self, state: StatisticsState) -> Saved:
        """All but the schema."""
        return save_value(state, "schema")

    def restore(self, schema: Schema, saved: Saved) -> StatisticsState:
        """The state that was saved."""
        return restore_value(StatisticsState, saved, schema=schema)

    def done(self, state: StatisticsState) -> str | None:
        """After one round."""
        return "all rows are counted" if state.round else None

    def finish(self, state: StatisticsState) -> Model:
        """The statistics of raw columns; zeros where a column has no value at all."""
        schema = state.schema
        zeros = np.zeros(schema.n_features)
        sums = state.sums or Sums(*(zeros for _ in Sums.__slots__))
        return Statistics(
            algorithm=self.name,
            version=self.version,
            features=schema.features,
            target=schema.target,
            classes=None,
            count=sums.count,
            missing=sums.missing,
            weight=sums.weight,
            mean=sums.mean,
            variance=sums.m2 / np.where(sums.weight > 0, sums.weight, 1.0),
            minimum=sums.minimum,
            maximum=sums.maximum,
            settings=self.settings.model_dump(),
            metadata={
                "train_rows": schema.train_rows,
                "train_weight": schema.train_weight,
                "rounds": state.round,
                "stopped": self.done(state) or "stopped early",
            },
        )

    def progress(self, state: StatisticsState) -> Progress:
        """Rounds."""
        return Progress(iteration=state.round, max_iterations=1)

    # --- held-out rows -------------------------------------------------------------------------------------------

    def solution(self, state: StatisticsState) -> Tensors:
        """mean and scale (d,)."""
        model = self.finish(state)
        assert isinstance(model, Statistics)
        return {"mean": model.mean, "scale": model.scale}

    def assess(self, rows: Rows, solution: Tensors) -> Tensors:
        """Sums of weights and of weighted squared scores over the cells with a value."""
        z = (rows.X - solution["mean"]) / solution["scale"]
        sums = squares(z, np.ones(len(z)) if rows.weight is None else rows.weight)
        return {name: np.asarray(value) for name, value in sums.items()}

    def scores(self, total: Tensors) -> dict[str, float]:
        """mean_squared_score; see ``gradloom.models.statistics``."""
        return Statistics.scores_of({name: float(value) for name, value in total.items()})


def _moments(X: Vector, weight: Vector | None) -> Tensors:
    """The moments of a block (m, d) of at least one row; NaN where a cell has no value."""
    there = ~np.isnan(X)
    count = there.sum(axis=0).astype(np.float64)
    s = np.ones(len(X)) if weight is None else weight
    total = s @ there
    low = high = values = X
    if not there.all():
        values, low, high = (np.where(there, X, instead) for instead in (0.0, np.inf, -np.inf))
    mean = s @ values / np.where(total > 0, total, 1.0)
    return {
        "count": count,
        "missing": len(X) - count,
        "weight": total,
        "mean": mean,
        "m2": s @ np.where(there, np.square(values - mean), 0.0),
        "minimum": np.where(count > 0, low.min(axis=0), 0.0),
        "maximum": np.where(count > 0, high.max(axis=0), 0.0),
    }

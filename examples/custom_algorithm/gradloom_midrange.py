"""An algorithm from outside gradloom: the midrange of a target, (min y + max y) / 2, in one round.

Install this package where the coordinator and the workers run; then ``gradloom train midrange --data ... --target y``
works like any other. It shows the whole shape once, with a merge that is no sum.
"""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from gradloom.algorithms import register
from gradloom.algorithms.algorithm import Needs, Progress, Settings
from gradloom.data.shard import Rows, Shard
from gradloom.models import Linear, Model
from gradloom.saved import Saved, restore_value, save_value
from gradloom.schema import Schema
from gradloom.scores import regression_scores, regression_sums
from gradloom.tensors import Tensors


class MidrangeSettings(Settings):
    """What people may set."""

    shrink: float = Field(1.0, gt=0, le=1, description="factor that the result is multiplied by")


@dataclass(frozen=True, slots=True)
class Extremes:
    """The state: the schema, and after the round the smallest and the largest target."""

    schema: Schema
    smallest: float | None = None
    largest: float | None = None


@dataclass(frozen=True, slots=True)
class Midrange:
    """Predicts the middle between the smallest and the largest target that was seen."""

    settings: MidrangeSettings
    name: str = "midrange"
    version: int = 1
    takes_part_sums: bool = False

    @property
    def needs(self) -> Needs:
        """Numbers to learn, and rows as they are."""
        return Needs("regression", "float64", standardize=False)

    def start(self, schema: Schema) -> Extremes:
        """Nothing is known yet."""
        return Extremes(schema)

    def broadcast(self, state: Extremes) -> Tensors:
        """Workers need to know nothing."""
        return {}

    def map(self, shard: Shard, message: Tensors) -> Tensors:
        """smallest, largest () float64: of the shard's train targets."""
        y = shard.train.y
        return {"smallest": np.asarray(y.min(initial=1e300)), "largest": np.asarray(y.max(initial=-1e300))}

    def merge(self, left: Tensors, right: Tensors) -> Tensors:
        """Of both."""
        return {
            "smallest": np.minimum(left["smallest"], right["smallest"]),
            "largest": np.maximum(left["largest"], right["largest"]),
        }

    def update(self, state: Extremes, total: Tensors) -> Extremes:
        """The only round is over."""
        return Extremes(state.schema, float(total["smallest"]), float(total["largest"]))

    def damped(self, partial: Tensors, factor: float) -> Tensors:
        """Never asked for: it takes no part sums."""
        return partial

    def done(self, state: Extremes) -> str | None:
        """After one round."""
        return None if state.smallest is None else "every row has been seen"

    def _middle(self, state: Extremes) -> float:
        return self.settings.shrink * ((state.smallest or 0.0) + (state.largest or 0.0)) / 2

    def finish(self, state: Extremes) -> Model:
        """A linear model that is constant."""
        schema = state.schema
        return Linear(
            algorithm=self.name,
            version=self.version,
            features=schema.features,
            target=schema.target,
            classes=None,
            settings=self.settings.model_dump(),
            coefficients=np.zeros(schema.n_features),
            intercept=np.asarray(self._middle(state)),
        )

    def progress(self, state: Extremes) -> Progress:
        """One round."""
        return Progress(int(state.smallest is not None), max_iterations=1)

    def save(self, state: Extremes) -> Saved:
        """For a checkpoint."""
        return save_value(state, "schema")

    def restore(self, schema: Schema, saved: Saved) -> Extremes:
        """From a checkpoint."""
        return restore_value(Extremes, saved, schema=schema)

    def solution(self, state: Extremes) -> Tensors:
        """What assessing needs."""
        return {"middle": np.asarray(self._middle(state))}

    def assess(self, rows: Rows, solution: Tensors) -> Tensors:
        """Sums of the errors over held-out rows."""
        middle = float(solution["middle"])
        return regression_sums(rows.y, np.full(len(rows), middle), rows.weight, middle)

    def scores(self, total: Tensors) -> dict[str, float]:
        """r2, rmse, mae."""
        return regression_scores(total)


def add_midrange() -> None:
    """What the entry point names."""
    register(
        "midrange",
        version=1,
        summary="the middle between the smallest and the largest target",
        settings=MidrangeSettings,
        make=Midrange,
    )

"""The smallest algorithm there is: the mean of the target, approached by halves. And the data it learns from."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from builders.models import linear_model
from gradloom.algorithms.algorithm import Needs, Progress
from gradloom.data.manifest import Manifest
from gradloom.data.planning import build_manifest
from gradloom.data.shard import Rows, Shard
from gradloom.errors import InvalidInput
from gradloom.models import Model
from gradloom.saved import Saved, restore_value, save_value
from gradloom.schema import Schema
from gradloom.tensors import Tensors, sum_tensors


@dataclass(frozen=True)
class Guess:
    """The mean so far."""

    schema: Schema
    mean: float = 0.0
    loss: float | None = None
    rounds: int = 0


@dataclass(frozen=True)
class Averaging:
    """mean += (sum of y - mean) / (2 n), until ``rounds`` are done; loss = mean squared error."""

    name: ClassVar[str] = "averaging"
    version: ClassVar[int] = 1
    rounds: int = 3
    width: int = 1
    """Copies of the sum in each partial, to make it as big as a test wants."""

    @property
    def needs(self) -> Needs:
        return Needs("regression", "float64", standardize=False)

    def start(self, schema: Schema) -> Guess:
        if schema.target == "unwanted":
            raise InvalidInput("target", "'unwanted' is what it says")
        return Guess(schema)

    def broadcast(self, state: Guess) -> Tensors:
        return {"mean": np.full(self.width, state.mean)}

    def map(self, shard: Shard, message: Tensors) -> Tensors:
        error = shard.train.y - message["mean"][0]
        return {
            "error": np.full(self.width, error.sum()),
            "loss": np.array((error**2).sum()),
            "rows": np.array(float(len(error))),
        }

    merge = staticmethod(sum_tensors)

    def update(self, state: Guess, total: Tensors) -> Guess:
        n = float(total["rows"])
        mean = state.mean + float(total["error"][0]) / (2 * n)
        return Guess(state.schema, mean, float(total["loss"]) / n, state.rounds + 1)

    takes_part_sums = True

    def damped(self, partial: Tensors, factor: float) -> Tensors:
        return {name: array * factor for name, array in partial.items()}

    def save(self, state: Guess) -> Saved:
        return save_value(state, "schema")

    def restore(self, schema: Schema, saved: Saved) -> Guess:
        return restore_value(Guess, saved, schema=schema)

    def done(self, state: Guess) -> str | None:
        return f"{self.rounds} rounds are done" if state.rounds >= self.rounds else None

    def finish(self, state: Guess) -> Model:
        d = len(state.schema.features)
        schema = state.schema
        return linear_model(
            self.name, schema.features, schema.target, None, np.zeros(d), np.array(state.mean)
        )

    def progress(self, state: Guess) -> Progress:
        return Progress(state.rounds, self.rounds, loss=state.loss)

    def solution(self, state: Guess) -> Tensors:
        return {"mean": np.array(state.mean)}

    def assess(self, rows: Rows, solution: Tensors) -> Tensors:
        error = rows.y - solution["mean"]
        return {"squares": np.array((error**2).sum()), "rows": np.array(float(len(error)))}

    def scores(self, total: Tensors) -> dict[str, float]:
        return {"mse": float(total["squares"] / total["rows"])}


def write_rows(folder: Path, y: list[float], name: str = "data.csv") -> Path:
    """A CSV file with the columns x and y; x counts the rows."""
    path = folder / name
    lines = [f"{i},{value!r}" for i, value in enumerate(y)]
    path.write_text("\n".join(["x,y", *lines]) + "\n", encoding="utf-8")
    return path


def manifest_of(path: Path, n_shards: int) -> Manifest:
    """The plan of such a file."""
    return build_manifest((str(path),), target="y", n_shards=n_shards)

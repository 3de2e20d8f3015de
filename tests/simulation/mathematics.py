"""What the simulated jobs compute: float32 sums that come out otherwise in any other order of additions."""

from dataclasses import dataclass, field
from functools import cache
from operator import add

import numpy as np

from gradloom.canonical import CanonicalSum, Range, fold
from gradloom.steps import Step
from simulation.messages import Vector

MAX_SHARDS = 16
WIDTH = 8
SHARDS = np.random.default_rng(7).normal(size=(MAX_SHARDS, WIDTH)).astype(np.float32)
NOTHING: Vector = np.zeros(WIDTH, np.float32)


def partial(step: Step, shard: int, parameters: Vector) -> Vector:
    """The map of one shard."""
    scale = np.float32(3.0 if step is Step.PROFILE else 1e3)
    return np.asarray(np.sin(SHARDS[shard] * scale + parameters), np.float32)


def partials(step: Step, shards: Range, parameters: Vector) -> Vector:
    """The sum over a node of the tree."""
    return fold(shards, lambda shard: partial(step, shard, parameters), add)


@dataclass(slots=True)
class Descent:
    """One job's training: a profile that finds the first parameters, then rounds of steps."""

    n_shards: int
    max_rounds: int
    step: Step = Step.PROFILE
    rounds: int = 0
    parameters: Vector = field(default_factory=lambda: NOTHING)

    @property
    def finished(self) -> bool:
        return self.rounds == self.max_rounds

    def advance(self, total: Vector) -> None:
        """Take in the sum of a round."""
        if self.step is Step.PROFILE:
            self.step, self.parameters = Step.TRAIN, np.float32(0.01) * total
        else:
            self.rounds, self.parameters = self.rounds + 1, self.parameters - np.float32(0.1) * total


def answer(n_shards: int, parameters: Vector) -> Vector:
    """What all shards know of a query, found by one worker that does everything by itself."""
    tree: CanonicalSum[Vector] = CanonicalSum(n_shards, add)
    for i in range(n_shards):
        tree.add(Range(i, i + 1), partial(Step.QUERY, i, parameters))
    return tree.total()


@cache
def undisturbed(n_shards: int, max_rounds: int) -> bytes:
    """The bits of one worker that does everything by itself, shard by shard."""
    descent = Descent(n_shards, max_rounds)
    while not descent.finished:
        tree: CanonicalSum[Vector] = CanonicalSum(n_shards, add)
        for i in range(n_shards):
            tree.add(Range(i, i + 1), partial(descent.step, i, descent.parameters))
        descent.advance(tree.total())
    return descent.parameters.tobytes()

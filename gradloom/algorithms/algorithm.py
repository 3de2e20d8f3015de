"""The one shape of every algorithm: a loop of broadcast, map, merge, update.

::

    state = algorithm.start(schema)
    while algorithm.done(state) is None:
        message  = algorithm.broadcast(state)                 # coordinator -> workers, once a round
        partials = [algorithm.map(shard, message) ...]        # worker, one per shard
        total    = algorithm.merge(left, right) ...           # over the canonical tree
        state    = algorithm.update(state, total)             # coordinator
    model = algorithm.finish(state)

Rules that the contract suite tests: ``map`` returns SUMS over rows, never means, so that unequal shards weigh
right; it works on a shard of no rows; ``merge`` is associative up to rounding; nothing here does I/O, reads a
clock or draws from a global random generator; ``state`` is a frozen value.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, ConfigDict

from gradloom.data.shard import Rows, Shard
from gradloom.models import Model
from gradloom.saved import Saved
from gradloom.schema import Schema
from gradloom.tensors import Tensors

S = TypeVar("S")
Task = Literal["regression", "binary", "multiclass", "unsupervised"]
"""What the target is: numbers, one of two classes, one of two or more, or nothing that is looked at."""
Dtype = Literal["float32", "float64"]


class Settings(BaseModel):
    """Settings of an algorithm: typed, bounded, described; unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    steerable: ClassVar[frozenset[str]] = frozenset()
    """Settings that may change while a job lives: ``update`` goes on from a state that was made with others."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What an algorithm needs of those around it: how its rows are prepared, how its messages may travel."""

    task: Task
    dtype: Dtype
    standardize: bool
    """Subtract each column's mean over the train rows and divide by its standard deviation."""
    validation_fraction: float = 0.0
    class_weight: str = ""
    """``""`` = 1 for all, ``balanced`` = n / (K n_k), or ``label:weight,label:weight``."""
    gradients: tuple[str, ...] = ()
    """Tensors of a partial that a lossy codec may compress: sums of gradients, which bear small errors."""
    parameters: tuple[str, ...] = ()
    """Tensors of a broadcast that may be sent as compressed differences from the round before."""
    heavy_update: bool = False
    """Whether ``update`` takes long, whatever the size of its messages."""
    center: bool = False
    """Subtract each column's mean over the train rows, weights left out, before the cast to ``dtype``."""
    missing_allowed: bool = False
    """Whether a feature may have cells without a value: they are NaN in X, and count as the mean in the center."""
    nonnegative: bool = False
    """Whether a feature with a cell below 0 is refused."""
    balance_rows: bool = False
    """Whether ``balanced`` class weights count rows; else they add up their weights."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a job stands after a round; None where the algorithm has no such number."""

    iteration: int
    """Updates done."""
    max_iterations: int
    loss: float | None = None
    gradient_norm: float | None = None
    validation_loss: float | None = None
    learning_rate: float | None = None


class Algorithm(Protocol[S]):
    """One algorithm with its settings. ``S`` is its state, a frozen value."""

    @property
    def name(self) -> str:
        """As it is registered."""
        ...

    @property
    def version(self) -> int:
        """Raised whenever the same input would give other bits; both sides must agree on it."""
        ...

    @property
    def needs(self) -> Needs:
        """How rows are prepared before ``map`` sees them, and how messages may travel."""
        ...

    def start(self, schema: Schema) -> S:
        """The state before the first round. Raises InvalidInput if the data does not suit the settings."""
        ...

    def broadcast(self, state: S) -> Tensors:
        """What every worker needs to know this round."""
        ...

    def map(self, shard: Shard, message: Tensors) -> Tensors:
        """The partial of one shard: sums over its rows; ``rows`` () says over how many, where not over all of them."""
        ...

    def merge(self, left: Tensors, right: Tensors) -> Tensors:
        """Two partials into one. ``sum_tensors`` itself lets large partials be added chunk by chunk."""
        ...

    def update(self, state: S, total: Tensors) -> S:
        """The next state from the sum over all shards."""
        ...

    @property
    def takes_part_sums(self) -> bool:
        """Whether ``update`` makes sense of a sum over some of the shards, as relaxed synchrony gives it."""
        ...

    def damped(self, partial: Tensors, factor: float) -> Tensors:
        """A partial that was computed with old parameters, with less weight in the next step."""
        ...

    def save(self, state: S) -> Saved:
        """The state taken apart for a checkpoint, its schema left out."""
        ...

    def restore(self, schema: Schema, saved: Saved) -> S:
        """The state that was saved: the rest of the run has the same bits. Raises ValueError if it is none."""
        ...

    def done(self, state: S) -> str | None:
        """Why no further round is needed, in words; None while one is."""
        ...

    def finish(self, state: S) -> Model:
        """The trained model."""
        ...

    def progress(self, state: S) -> Progress:
        """The numbers that people watch."""
        ...

    def solution(self, state: S) -> Tensors:
        """The answer so far, as ``assess`` needs it."""
        ...

    def assess(self, rows: Rows, solution: Tensors) -> Tensors:
        """Metric sums of the solution over held-out rows; merged with ``sum_tensors``."""
        ...

    def scores(self, total: Tensors) -> dict[str, float]:
        """Named scores from the merged metric sums, e.g. ``accuracy``, ``log_loss``, ``r2``, ``rmse``."""
        ...


class WholeRounds:
    """What an algorithm stands on that can do nothing with a sum over some of the shards only."""

    __slots__ = ()

    @property
    def takes_part_sums(self) -> bool:
        """Each round is needed whole."""
        return False

    def damped(self, partial: Tensors, factor: float) -> Tensors:  # noqa: ARG002 - sums of all shards or none
        """As it is: no partial is ever late where every shard counts."""
        return partial


@runtime_checkable
class Refining(Protocol):
    """What an algorithm may have besides: it begins on rows of one dtype and goes on, when that pays, on another."""

    def dtype_of(self, state: Any) -> Dtype:
        """The dtype of the rows in the rounds from this state on; a pure function of the state."""
        ...


@runtime_checkable
class Harmed(Protocol):
    """What an algorithm may have besides: partials of old parameters may do it more harm than the delay."""

    @property
    def stale_sums_harm(self) -> str:
        """Empty if a damped partial of old parameters does no harm; else why it does, and what to do."""
        ...


def dtype_of(algorithm: Algorithm[Any], state: Any) -> Dtype:
    """The dtype of the rows that the next round needs."""
    return algorithm.dtype_of(state) if isinstance(algorithm, Refining) else algorithm.needs.dtype


def stale_sums_harm(algorithm: Algorithm[Any]) -> str:
    """Why partials of old parameters must not be used; empty if they may."""
    return algorithm.stale_sums_harm if isinstance(algorithm, Harmed) else ""

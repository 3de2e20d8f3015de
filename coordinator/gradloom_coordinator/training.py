"""One job's steps from the first look at its data to the model, and to answers from its workers.

No I/O and no clock: totals in, messages out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gradloom.algorithms.algorithm import Algorithm, Progress, dtype_of
from gradloom.algorithms.serving import Posed, serves_queries, serving_part
from gradloom.data.manifest import Manifest
from gradloom.data.preparation import Split
from gradloom.data.profile_schema import schema_from_profile
from gradloom.errors import InvalidInput
from gradloom.models import Model
from gradloom.nearest.answers import Answer
from gradloom.saved import Saved
from gradloom.schema import Schema
from gradloom.steps import Merge, Step, merge_of
from gradloom.synchrony import damping
from gradloom.tensors import Tensors


@dataclass(slots=True)
class Training:
    """Profile the data, train until the algorithm is done, assess the solution on the held-out rows.

    Each round: send ``message()``, sum the partials with ``merge``, hand the total to ``advance``.
    """

    algorithm: Algorithm[Any]
    manifest: Manifest
    split: Split
    step: Step = Step.PROFILE
    schema: Schema | None = None
    model: Model | None = None
    scores: dict[str, float] = field(default_factory=dict)
    ended_because: str = ""
    finished: bool = False
    posed: Sequence[Posed] = ()
    """What the round of queries asks that is prepared or open."""
    answers: Sequence[Answer | InvalidInput] = ()
    """To each of these, once the round is over."""
    _state: Any = None

    @property
    def dtype(self) -> str:
        """Of the rows that the next round is computed from; empty before the data is known."""
        return "" if self.step is Step.PROFILE else dtype_of(self.algorithm, self._state)

    @property
    def merge(self) -> Merge:
        """How two partials of the present step become one."""
        return merge_of(self.step, self.algorithm)

    def message(self) -> Tensors:
        """What every worker needs to know for the next round."""
        match self.step:
            case Step.PROFILE:
                return {}
            case Step.TRAIN:
                return self.algorithm.broadcast(self._state)
            case Step.ASSESS:
                return self.algorithm.solution(self._state)
            case Step.QUERY:
                return serving_part(self.algorithm).ask(self._state, self.posed)

    def damped(self, partial: Tensors, staleness: int) -> Tensors:
        """A partial that is so many updates old, with its due weight."""
        return self.algorithm.damped(partial, damping(staleness)) if staleness else partial

    def advance(self, total: Tensors) -> Progress | None:
        """Take in the sum of a round; progress after a round of training. Raises GradloomError if it can't go on."""
        match self.step:
            case Step.PROFILE:
                self._start(total)
                return None
            case Step.TRAIN:
                self._state = self.algorithm.update(self._state, total)
                progress = self.algorithm.progress(self._state)
                self._stop_training_when_done()
                return progress
            case Step.ASSESS:
                self.scores = self.algorithm.scores(total)
                self.finished = True
                return None
            case Step.QUERY:
                self.answers = serving_part(self.algorithm).answers(self._state, self.posed, total)
                return None

    @property
    def serves(self) -> bool:
        """Whether workers answer queries once it is finished; else the model knows all that is needed."""
        return serves_queries(self.algorithm) and self.algorithm.serves(self._state)

    def save(self) -> tuple[Saved, int] | None:
        """The algorithm's state and its round, for a checkpoint; None before the data is known."""
        if self.step is Step.PROFILE:
            return None
        state = self._state  # one value: an update puts another in its place, maybe right now
        return self.algorithm.save(state), self.algorithm.progress(state).iteration

    def restore(self, schema: Schema, saved: Saved) -> Progress:
        """Go on from where a checkpoint was taken. Raises ValueError if it is none of this algorithm's."""
        state = self.algorithm.restore(schema, saved)
        self.schema, self._state, self.step = schema, state, Step.TRAIN
        self.model, self.scores, self.ended_because, self.finished = None, {}, "", False
        self._stop_training_when_done()
        return self.algorithm.progress(state)

    def _start(self, total: Tensors) -> None:
        needs = self.algorithm.needs
        self.schema = schema_from_profile(total, self.manifest.columns, needs, self.split)
        self._state = self.algorithm.start(self.schema)
        self.step = Step.TRAIN
        self._stop_training_when_done()

    def _stop_training_when_done(self) -> None:
        reason = self.algorithm.done(self._state)
        if reason is None:
            return
        assert self.schema is not None
        self.ended_because = reason
        self.model = self.algorithm.finish(self._state)
        if self.schema.test_rows:
            self.step = Step.ASSESS
        else:
            self.finished = True

"""k nearest neighbours: nothing is learnt, the rows are the model.

Training looks at the rows once, for their mean: distances are computed on centred rows. Data whose rows fit into a
model file is gathered in the same round, and the model answers by itself. Larger data stays where it is: the job goes
on to serve, and a tile of queries is a round in which every worker names the nearest of its rows and the lists are
merged. Held-out rows are such queries. Which rows are found does not depend on shards or workers: exact distances in
float64 decide, and among equal ones the position in the data set (the approximate search depends on the shards).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gradloom.algorithms.algorithm import Needs, Progress, Task, WholeRounds
from gradloom.algorithms.knn_settings import KnnSettings, NeighborsSettings
from gradloom.algorithms.serving import Posed
from gradloom.data.shard import Rows, Shard
from gradloom.errors import InvalidInput
from gradloom.models.model import label_array
from gradloom.models.neighbors import Neighbors, checked_question
from gradloom.nearest.answers import MAX_WITHIN, Answer, Ask, Question, Voting
from gradloom.nearest.distances import Floats
from gradloom.nearest.lists import join_nearest, join_within, nearest_of, within_of
from gradloom.nearest.rough import center_sum
from gradloom.nearest.searching import TILE_ROWS_WITHIN, Search, as_queries, tile_rows
from gradloom.nearest.voting import Weights
from gradloom.saved import Saved, restore_value, save_value
from gradloom.schema import Schema
from gradloom.scores import classification_scores, classification_sums, regression_scores, regression_sums
from gradloom.tensors import Tensors

MODEL_BYTES = 64 * 1024 * 1024
"""Rows that take no more are in the model; and no more of held-out rows, or of what is predicted for them."""
LARGEST_MODEL_BYTES = 1024**3
"""Of rows that somebody wants in the model."""
LOOK_ROUNDS, READY_ROUNDS = 1, 2
"""Rounds after which the rows have been looked at, and after which workers are ready for queries."""


@dataclass(frozen=True, slots=True, eq=False)
class KnnState:
    """Where a job stands. Rows are on prepared columns."""

    schema: Schema
    round: int = 0
    center: Floats | None = None  # (d,)
    rows: NDArray[np.generic] | None = None  # (n, d) if the model holds them
    targets: Floats | None = None  # (n,)
    ids: NDArray[np.int64] | None = None  # (n,)
    held: NDArray[np.generic] | None = None  # (t, d) held-out rows, if workers answer for them
    held_ids: NDArray[np.int64] | None = None  # (t,)
    predicted: Floats | None = None  # (t,) or (t, K) for those that have been asked about


@dataclass(frozen=True, slots=True)
class KNearest(WholeRounds):  # neighbours of some shards are not neighbours
    """Nearest neighbours with their settings; a value that coordinator and workers build alike."""

    name: str
    version: int
    task: Task
    settings: NeighborsSettings

    @property
    def needs(self) -> Needs:
        """Rows as they are, or standardised; a weight would mean nothing."""
        return Needs(self.task, self.settings.dtype, self.settings.standardize)

    # --- the loop ------------------------------------------------------------------------------------------------

    def start(self, schema: Schema) -> KnnState:
        """Nothing known yet. Raises InvalidInput for what the data does not allow."""
        s = self.settings
        if schema.train_weight != schema.train_rows:
            raise InvalidInput(
                "weight", f"means nothing to {self.name}: every row is a neighbour like any other"
            )
        if s.n_neighbors > schema.train_rows:
            raise InvalidInput(
                "n_neighbors",
                f"{s.n_neighbors} is not allowed; the data has {schema.train_rows} rows to choose from",
            )
        if schema.test_rows and not self._predicts:
            raise InvalidInput("test_fraction", f"means nothing to {self.name}: it predicts nothing")
        if s.serve == "model" and self._row_bytes(schema) > LARGEST_MODEL_BYTES:
            raise InvalidInput(
                "serve",
                f"model: the rows take {self._row_bytes(schema):,} bytes; at most {LARGEST_MODEL_BYTES:,} may",
            )
        held = schema.test_rows * max(schema.n_features, schema.n_classes) * 8
        if not self._in_model(schema) and held > MODEL_BYTES:
            raise InvalidInput(
                "test_fraction",
                f"{schema.test_rows} held-out rows take {held:,} bytes; at most {MODEL_BYTES:,} may",
            )
        return KnnState(schema)

    def broadcast(self, state: KnnState) -> Tensors:
        """What is wanted: a look at the rows, readiness, or neighbours of a tile of held-out rows."""
        if state.round == 0 or self._in_model(state.schema):
            return {"gather": np.asarray(self._in_model(state.schema), dtype=np.int64)}
        if state.round < READY_ROUNDS or state.held is None:
            return self._center(state)
        return self._for_nearest(state, state.held[self._tile(state)], self.settings.n_neighbors)

    def map(self, shard: Shard, message: Tensors) -> Tensors:
        """sum (d,) and count () of the rows, with the rows that are gathered; count (); or lists of neighbours."""
        if "gather" in message:
            return self._look(shard, gather=bool(message["gather"]))
        if "queries" in message:
            return self.search(shard, message)
        self._search(message).make_ready(shard.train, shard.index)
        return {"count": np.asarray(float(len(shard.train)))}

    def _look(self, shard: Shard, *, gather: bool) -> Tensors:
        train, test = shard.train, shard.test
        found = {"sum": center_sum(train.X, self.settings.metric), "count": np.asarray(float(len(train)))}
        if gather:
            y = train.y.astype(np.float64)
            return {**found, "rows": train.X, "targets": y, "ids": train.positions}
        return {**found, "held": test.X, "held_ids": test.positions}

    def merge(self, left: Tensors, right: Tensors) -> Tensors:
        """Lists are joined, sums added, rows put one after the other."""
        if "keys" in left:
            return self.join(left, right)
        return {
            name: left[name] + right[name]
            if name in ("sum", "count")
            else np.concatenate([left[name], right[name]])
            for name in left
        }

    def update(self, state: KnnState, total: Tensors) -> KnnState:
        """What was seen is kept; a tile of held-out rows has its predictions."""
        after = replace(state, round=state.round + 1)
        if "sum" in total:
            center = total["sum"] / max(1.0, float(total["count"]))
            return replace(
                after,
                center=center,
                rows=total.get("rows"),
                targets=total.get("targets"),
                ids=total.get("ids"),
                held=total.get("held"),
                held_ids=total.get("held_ids"),
            )
        if "keys" not in total:
            return after
        voting = self._voting(state.schema)
        found = voting.means(total) if voting.labels is None else voting.shares(total)
        before = [] if state.predicted is None else [state.predicted]
        return replace(after, predicted=np.concatenate([*before, found]))

    def save(self, state: KnnState) -> Saved:
        """All but the schema."""
        return save_value(state, "schema")

    def restore(self, schema: Schema, saved: Saved) -> KnnState:
        """The state that was saved."""
        return restore_value(KnnState, saved, schema=schema)

    def done(self, state: KnnState) -> str | None:
        """Once the rows have been looked at and the held-out rows asked about."""
        if state.round < self._rounds(state.schema):
            return None
        n = state.schema.train_rows
        return (
            f"the model holds all {n} rows"
            if self._in_model(state.schema)
            else f"{n} rows are ready for queries"
        )

    def finish(self, state: KnnState) -> Neighbors:
        """The rows, or a model that knows that they are elsewhere."""
        schema, d = state.schema, state.schema.n_features
        dtype = np.dtype(schema.preparation.dtype)
        return Neighbors(
            algorithm=self.name,
            version=self.version,
            features=schema.features,
            target=schema.target if self._predicts else "",
            classes=schema.classes,
            settings=self.settings.model_dump(),
            metadata={"train_rows": schema.train_rows, "stopped": self.done(state) or "stopped early"},
            rows=np.zeros((0, d), dtype=dtype) if state.rows is None else state.rows,
            targets=np.zeros(0) if state.targets is None else state.targets,
            ids=np.zeros(0, dtype=np.int64) if state.ids is None else state.ids,
            middle=np.zeros(d) if state.center is None else state.center,
            shift=np.asarray(schema.preparation.center, dtype=np.float64),
            scale=np.asarray(schema.preparation.scale, dtype=np.float64),
        )

    def progress(self, state: KnnState) -> Progress:
        """Rounds."""
        return Progress(state.round, max(state.round, self._rounds(state.schema)))

    # --- held-out rows -------------------------------------------------------------------------------------------

    def solution(self, state: KnnState) -> Tensors:
        """The rows, if the model holds them; else what was predicted for each held-out row, by its position."""
        schema = state.schema
        if not self._in_model(schema):
            predicted = np.zeros(0) if state.predicted is None else state.predicted
            held_ids = np.zeros(0, dtype=np.int64) if state.held_ids is None else state.held_ids
            mean = float(predicted.mean()) if len(predicted) else 0.0
            return {
                "held_ids": held_ids,
                "predicted": predicted,
                "mean": np.asarray(mean),
                **self._classes(schema),
            }
        model = self.finish(state)
        mean = float(model.targets.mean()) if len(model.targets) else 0.0
        rows = {"rows": model.rows, "targets": model.targets, "ids": model.ids, "center": model.middle}
        return {**rows, "mean": np.asarray(mean), **self._classes(schema)}

    def assess(self, rows: Rows, solution: Tensors) -> Tensors:
        """Metric sums of what the neighbours of each row say; see ``gradloom.scores``."""
        if not self._predicts:
            return {"weight": np.asarray(0.0)}
        if "rows" in solution:
            known = Rows(solution["rows"], solution["targets"], None, solution["ids"])
            queries = rows.X.astype(np.float64)
            lists = self._search(solution).nearest(known, 0, queries, self.settings.n_neighbors)
            labels = np.arange(int(solution["classes"])) if self.task == "multiclass" else None
            voting = Voting(self.settings.metric, self._weights, labels=labels)
            predicted = voting.means(lists) if labels is None else voting.shares(lists)
        else:
            predicted = solution["predicted"][np.searchsorted(solution["held_ids"], rows.positions)]
        if self.task == "regression":
            return regression_sums(rows.y, predicted, rows.weight, center=float(solution["mean"]))
        return classification_sums(rows.y, predicted, rows.weight)

    def scores(self, total: Tensors) -> dict[str, float]:
        """accuracy, log_loss and roc_auc, or r2, rmse and mae; nothing without a target."""
        if not self._predicts:
            return {}
        return regression_scores(total) if self.task == "regression" else classification_scores(total)

    # --- queries -------------------------------------------------------------------------------------------------

    def serves(self, state: KnnState) -> bool:
        """Whether workers answer."""
        return not self._in_model(state.schema)

    @property
    def idle_limit_s(self) -> float | None:
        """How long nobody may ask before the job has served its purpose; None = for ever."""
        return self.settings.serve_for_s or None

    def tile_rows(self, question: Question) -> int:
        """Rows of queries that one round takes on."""
        if question.ask is Ask.WITHIN:
            return TILE_ROWS_WITHIN
        asked = question.neighbors if question.ask is Ask.NEIGHBORS else 0
        return tile_rows(asked or self.settings.n_neighbors)

    def share_a_round(self, one: Question, other: Question) -> bool:
        """Whatever needs the nearest rows; or whatever needs those within radii."""
        return (one.ask is Ask.WITHIN) == (other.ask is Ask.WITHIN)

    def check_question(self, schema: Schema, question: Question, n_queries: int) -> None:
        """Refuse what can't be answered, or not about so many rows at once. Raises InvalidInput."""
        settings = self.settings.model_dump()
        checked_question(question, self._voting(schema), settings, schema.train_rows, n_queries)

    def ask(self, state: KnnState, posed: Sequence[Posed]) -> Tensors:
        """queries (q, d), center (d,), and neighbors () or radius (q,)."""
        schema, how = state.schema, state.schema.preparation
        given = np.concatenate([one.X for one in posed])
        queries = as_queries(given, how.center, how.scale, how.dtype).astype(how.dtype)
        wanted = [self._wanted(schema, one.question) for one in posed]
        if posed[0].question.ask is Ask.WITHIN:
            radius = np.repeat([radius for _, radius in wanted], [len(one) for one in posed])
            return {"queries": queries, "radius": radius, **self._center(state)}
        return self._for_nearest(state, queries, max(k for k, _ in wanted))

    def search(self, shard: Shard, message: Tensors) -> Tensors:
        """Lists of the shard's rows that are near to each query; see ``gradloom.nearest.lists``."""
        queries = message["queries"].astype(np.float64)
        search = self._search(message)
        if "radius" in message:
            return search.within(shard.train, queries, message["radius"])
        return search.nearest(shard.train, shard.index, queries, int(message["neighbors"]))

    def join(self, left: Tensors, right: Tensors) -> Tensors:
        """The lists of two sets of shards as one."""
        return join_within(left, right, MAX_WITHIN) if "counts" in left else join_nearest(left, right)

    def answers(self, state: KnnState, posed: Sequence[Posed], total: Tensors) -> list[Answer | InvalidInput]:
        """The part of each in the lists."""
        voting = self._voting(state.schema)
        found: list[Answer | InvalidInput] = []
        start = 0
        for one in posed:
            part, start = slice(start, start + len(one)), start + len(one)
            k, _ = self._wanted(state.schema, one.question)
            lists = within_of(total, part) if "counts" in total else nearest_of(total, part, k)
            try:
                found.append(voting.answer(one.question.ask, lists))
            except InvalidInput as error:
                found.append(error)
        return found

    # --- parts ---------------------------------------------------------------------------------------------------

    @property
    def _predicts(self) -> bool:
        return self.task != "unsupervised"

    @property
    def _weights(self) -> Weights:
        return self.settings.weights if isinstance(self.settings, KnnSettings) else "uniform"

    def _voting(self, schema: Schema) -> Voting:
        labels = None if schema.classes is None else label_array(schema.classes)
        return Voting(self.settings.metric, self._weights, self._predicts, labels)

    def _wanted(self, schema: Schema, question: Question) -> tuple[int, float]:
        return checked_question(question, self._voting(schema), self.settings.model_dump(), schema.train_rows)

    def _row_bytes(self, schema: Schema) -> int:
        return schema.train_rows * schema.n_features * np.dtype(self.settings.dtype).itemsize

    def _in_model(self, schema: Schema) -> bool:
        serve = self.settings.serve
        return serve == "model" or (serve == "auto" and self._row_bytes(schema) <= MODEL_BYTES)

    def _rounds(self, schema: Schema) -> int:
        if self._in_model(schema):
            return LOOK_ROUNDS
        return READY_ROUNDS + -(-schema.test_rows // tile_rows(self.settings.n_neighbors))

    def _tile(self, state: KnnState) -> slice:
        step = tile_rows(self.settings.n_neighbors)
        start = (state.round - READY_ROUNDS) * step
        return slice(start, start + step)

    def _center(self, state: KnnState) -> Tensors:
        assert state.center is not None
        return {"center": state.center}

    def _for_nearest(self, state: KnnState, queries: NDArray[np.generic], k: int) -> Tensors:
        return {"queries": queries, "neighbors": np.asarray(k, dtype=np.int64), **self._center(state)}

    def _classes(self, schema: Schema) -> Tensors:
        return {"classes": np.asarray(schema.n_classes, dtype=np.int64)}

    def _search(self, message: Tensors) -> Search:
        s = self.settings
        return Search(s.metric, s.algorithm, s.lists, s.probes, message["center"])

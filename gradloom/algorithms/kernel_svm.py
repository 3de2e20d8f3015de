"""Kernel SVM: the cascade with feedback, which is exact; and landmarks where it would hold too many rows.

Each pair of classes maximises the dual of

    minimise over f, b:   1/2 |f|^2 + sum_i c_i max(0, 1 - y_i (f(x_i) + b)),      c_i = C times the row's weight

over the rows of its two classes. A training goes through phases, a round or several each::

    statistics -> local -> check -> check -> ... -> solved        the cascade
               -> landmarks -> linear -> linear -> ...            method="nystroem", or too many support vectors

*local*: every shard solves its own rows and sends its support vectors. The coordinator solves their union, *check*
broadcasts the machine, every shard sends the rows that violate its optimality conditions, and so on until none do.
The dual objective rises with every round that finds violators, so the rounds end; then the conditions hold over
all rows of the data set, whatever the shards: the solution is that of one machine with all rows.

Source: Graf, Cosatto, Bottou, Dourdanovic, Vapnik, "Parallel support vector machines: the cascade SVM", NIPS 2004.
"""

from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import Any

import numpy as np

from gradloom.algorithms import kernel_svm_landmarks as nystroem
from gradloom.algorithms import kernel_svm_shards as shards
from gradloom.algorithms.algorithm import Needs, Progress, WholeRounds
from gradloom.algorithms.kernel_svm_rows import (
    Candidates,
    PairsSolution,
    Space,
    filtered,
    from_tensors,
    settled_intercepts,
    solve_pairs,
    touched_pairs,
    unsolved,
)  # fmt: skip
from gradloom.algorithms.kernel_svm_settings import KernelSvmSettings
from gradloom.data.preparation import label_text
from gradloom.data.shard import Rows, Shard
from gradloom.errors import InvalidInput, JobFailed
from gradloom.kernels import Kernel
from gradloom.models import KernelMachine
from gradloom.one_vs_one import Expansion, Floats, decision_scores, decision_sums, n_pairs
from gradloom.saved import Saved, restore_value, save_value
from gradloom.schema import Schema
from gradloom.tensors import Tensors

PHASES = ("statistics", "local", "check", "landmarks", "linear", "solved")
LOCAL_TOLERANCE = 1e-2
"""Local solutions only propose rows: more digits would be thrown away."""
SHARE_OF_TOLERANCE = 0.2
"""What the solution on the rows held, and what each other row may violate, take of the tolerance: decisions, which
sum up many coefficients, then end within the tolerance of the optimum's."""
ANSWERS_PER_ROW_HELD = 0.5
"""Violators that a round may bring, per row that the coordinator holds."""
FEWEST_ANSWERS = 500
"""Violators that a round may bring in any case."""
IDLE_SOLUTIONS = 3
"""A row without coefficients in so many solutions in a row is let go."""
KEEP_FROM_ROUND = 30
"""From this round on no row is let go: so the rows held only grow, and the rounds end."""


@dataclass(frozen=True, slots=True, eq=False)
class KernelSvmState:
    """Where the training stands."""

    schema: Schema
    phase: str
    center: Floats  # (d,) mean of the train rows
    gamma: float
    round: int = 0
    held: PairsSolution | None = None
    """The rows that the coordinator holds, the active set, and the solution on them."""
    worst: float | None = None
    """The largest violation of the optimality conditions that the last check found."""
    rows_sent: int = 0
    """Rows that shards have sent to the coordinator."""
    landmarks: nystroem.Landmarks | None = None


@dataclass(frozen=True, slots=True)
class KernelSvm(WholeRounds):  # a check that leaves rows out would not see what they violate
    """One kernel SVM with its settings; a value that coordinator and workers build alike."""

    settings: KernelSvmSettings
    name: str = "kernel_svm"
    version: int = 1

    @property
    def needs(self) -> Needs:
        """How rows are prepared. ``update`` solves quadratic programs: it takes long."""
        s = self.settings
        return Needs(
            task="multiclass",
            dtype=s.dtype,
            standardize=s.standardize,
            class_weight=s.class_weight,
            balance_rows=True,
            heavy_update=True,
        )

    # --- the loop ------------------------------------------------------------------------------------------------

    def start(self, schema: Schema) -> KernelSvmState:
        """Nothing is known yet. Raises InvalidInput if the data has fewer than two classes."""
        if schema.n_classes < 2:
            raise InvalidInput(
                schema.target, f"has {schema.n_classes} classes, which {self.name} can't learn; it needs two"
            )
        return KernelSvmState(
            schema=schema,
            phase="statistics",
            center=np.zeros(schema.n_features),
            gamma=1.0,
        )

    def broadcast(self, state: KernelSvmState) -> Tensors:
        """phase, seed, n_classes () int64, center (d,), gamma (), share () float64, and what the phase needs.

        check: support (m, d), coefficients (m, K - 1), counts (K,), intercept (P,), active (n,) positions;
        linear: the same with coefficients (m, P), counts (0,) and active (0,).
        """
        machines = self._machines(state, trial=True)
        whole = {
            "phase": PHASES.index(state.phase),
            "seed": state.schema.preparation.split.seed,
            "n_classes": state.schema.n_classes,
        }
        none = np.zeros(0, dtype=np.int64)
        held = none if state.held is None else state.held.candidates.positions
        return {
            **{name: np.asarray(value, dtype=np.int64) for name, value in whole.items()},
            "center": state.center,
            "gamma": np.asarray(state.gamma),
            "share": np.asarray(self._share(state)),
            **_packed(machines),
            "active": held if state.phase == "check" else none,
        }

    def map(self, shard: Shard, message: Tensors) -> Tensors:
        """The shard's answer in this phase: see ``kernel_svm_shards`` and ``kernel_svm_landmarks``."""
        s, rows, phase = self.settings, shard.train, PHASES[int(message["phase"])]
        space = self._space(float(message["gamma"]), message["center"])
        n_classes, seed, share = (int(message["n_classes"]), int(message["seed"]), float(message["share"]))
        if phase == "statistics":
            return shards.statistics(rows)
        if phase == "local":
            tolerance = max(LOCAL_TOLERANCE, s.tolerance)
            problem = shards.LocalProblem(n_classes, s.C, tolerance, s.local_rows, s.max_steps, seed, share)
            return shards.local_support(space, rows, shard.index, problem)
        if phase == "landmarks":
            return nystroem.landmark_rows(rows, shard.index, seed, share, n_classes)
        machines = _unpacked(message)
        if phase == "linear":
            return nystroem.gradient_sums(space, machines, rows, s.C, n_classes)
        check = shards.Check(n_classes, s.C, SHARE_OF_TOLERANCE * s.tolerance, share, message["active"])
        return shards.violators(space, machines, rows, check)

    merge = staticmethod(shards.merge)

    def update(self, state: KernelSvmState, total: Tensors) -> KernelSvmState:
        """The next phase, or the next round of this one. Raises JobFailed where the numbers allow no solution."""
        state = replace(state, round=state.round + 1)
        match state.phase:
            case "statistics":
                return self._measured(state, total)
            case "local":
                return self._united(state, total)
            case "check":
                return self._extended(state, total)
            case "landmarks":
                return self._on_landmarks(state, total)
            case _:
                assert state.landmarks is not None
                stepped = nystroem.step(state.landmarks, total)
                return replace(state, landmarks=stepped)

    def save(self, state: KernelSvmState) -> Saved:
        """All but the schema."""
        return save_value(state, "schema")

    def restore(self, schema: Schema, saved: Saved) -> KernelSvmState:
        """The state that was saved."""
        return restore_value(KernelSvmState, saved, schema=schema)

    def done(self, state: KernelSvmState) -> str | None:
        """No row violates the conditions; the landmarks have converged; or out of rounds."""
        if state.phase == "solved":
            return f"converged: no row violates the KKT conditions by more than {self.settings.tolerance:g}"
        reason = None if state.landmarks is None else nystroem.done(state.landmarks)
        if reason is None and state.round >= self.settings.max_rounds:
            return f"max_rounds = {self.settings.max_rounds} reached"
        return reason

    def finish(self, state: KernelSvmState) -> KernelMachine:
        """The machine on raw columns."""
        schema, machines = state.schema, self._machines(state)
        preparation = schema.preparation
        moved = self.settings.kernel == "linear"
        space = self._space(state.gamma, state.center)
        return KernelMachine(
            algorithm=self.name,
            version=self.version,
            features=schema.features,
            target=schema.target,
            classes=schema.classes,
            support_vectors=machines.rows,
            coefficients=machines.coefficients,
            support_counts=machines.counts,
            support_positions=self._support_positions(state),
            intercept=space.at_origin(machines, schema.n_classes) if moved else machines.intercept,
            gamma=np.asarray(state.gamma),
            center=np.asarray(preparation.center, dtype=np.float64),
            scale=np.asarray(preparation.scale, dtype=np.float64),
            settings=self.settings.model_dump(),
            metadata={
                "train_rows": schema.train_rows,
                "train_weight": schema.train_weight,
                "rounds": state.round,
                "rows_sent": state.rows_sent,
                "method": "exact" if state.landmarks is None else "nystroem",
                "stopped": self.done(state) or "stopped early",
            },
        )

    def progress(self, state: KernelSvmState) -> Progress:
        """Loss: minus the dual objective (as libsvm prints it), or the loss on landmarks; worst violation."""
        loss, gradient_norm = inf, state.worst
        if state.landmarks is not None:
            loss, gradient_norm = state.landmarks.loss, state.landmarks.gradient_norm
        elif state.held is not None:
            loss = -float(state.held.objectives.sum())
        return Progress(
            iteration=state.round,
            max_iterations=self.settings.max_rounds,
            loss=loss if isfinite(loss) else None,
            gradient_norm=gradient_norm if gradient_norm is not None and isfinite(gradient_norm) else None,
        )

    # --- held-out rows -------------------------------------------------------------------------------------------

    def solution(self, state: KernelSvmState) -> Tensors:
        """The machines so far, on the columns that workers hold."""
        sizes = {"center": state.center, "gamma": np.asarray(state.gamma)}
        n_classes = np.asarray(state.schema.n_classes, dtype=np.int64)
        return {**_packed(self._machines(state)), **sizes, "n_classes": n_classes}

    def assess(self, rows: Rows, solution: Tensors) -> Tensors:
        """Metric sums of the votes; see ``gradloom.one_vs_one``."""
        space = self._space(float(solution["gamma"]), solution["center"])
        m, n_classes = _unpacked(solution), int(solution["n_classes"])
        f = m.with_rows(space.rows(m.rows)).decisions(space.kernel, space.rows(rows.X), n_classes)
        return decision_sums(rows.y, f, n_classes, rows.weight)

    def scores(self, total: Tensors) -> dict[str, float]:
        """accuracy and, with two classes, roc_auc."""
        return decision_scores(total)

    # --- the phases ----------------------------------------------------------------------------------------------

    def _measured(self, state: KernelSvmState, total: Tensors) -> KernelSvmState:
        """The centre, and gamma: 1 / (d Var X) with the variance of all cells of all train rows, 1 where it is 0."""
        s, d = self.settings, state.schema.n_features
        gamma = s.gamma
        if gamma == "scale":
            spread = float(total["squares"].mean()) / max(1.0, float(total["count"]))
            variance = spread + float(total["mean"].var())
            gamma = 1.0 / (d * variance) if variance != 0 else 1.0
        elif gamma == "auto":
            gamma = 1.0 / d
        if not (isfinite(gamma) and gamma > 0 and np.isfinite(total["mean"]).all()):
            raise JobFailed(
                "the variance of the data is not a finite number; its values are too large: try standardize=true"
            )
        state = replace(state, phase="local", center=np.asarray(total["mean"]), gamma=float(gamma))
        return self._to_landmarks(state) if s.method == "nystroem" else state

    def _united(self, state: KernelSvmState, total: Tensors) -> KernelSvmState:
        """The union of the shards' support vectors, solved; or landmarks, where it is too large."""
        found, limit = int(total["found"]), self.settings.max_support_vectors
        state = replace(state, rows_sent=state.rows_sent + len(total["positions"]))
        if found > 2 * limit:
            return self._beyond(state, found)
        union = from_tensors(total)
        if len(union) > limit:
            s, space = self.settings, self._space(state.gamma, state.center)
            tolerance = max(LOCAL_TOLERANCE, s.tolerance)
            union = filtered(space, union, limit, tolerance, min(s.max_steps, shards.STEPS_PER_ROW * limit))
        return self._solved(state, union, None)

    def _extended(self, state: KernelSvmState, total: Tensors) -> KernelSvmState:
        """The violators join; without any, all is done."""
        solution, worst = state.held, max(0.0, float(total["slack"].max()))
        assert solution is not None
        state = replace(state, worst=worst, rows_sent=state.rows_sent + len(total["positions"]))
        if not total["found"]:
            intercept = settled_intercepts(solution, total["slack"])
            return replace(state, phase="solved", held=replace(solution, intercept=intercept))
        held = solution.candidates
        if state.round < KEEP_FROM_ROUND:
            held = held.take(held.idle < IDLE_SOLUTIONS)
        more = from_tensors(total)
        if len(held) + len(more) > self.settings.max_support_vectors:
            held = held.take(held.support)
        return self._solved(state, held.with_(more), more)

    def _solved(self, state: KernelSvmState, union: Candidates, more: Candidates | None) -> KernelSvmState:
        """All pairs; or where rows have joined a solution, the pairs that they violate."""
        s, n_classes = self.settings, state.schema.n_classes
        if len(union) > s.max_support_vectors:
            return self._beyond(state, len(union))
        space, tolerance = self._space(state.gamma, state.center), SHARE_OF_TOLERANCE * s.tolerance
        only, before = None, unsolved(union, n_classes)
        if more is not None and state.held is not None:
            # A little sharper than the workers were: last bits may differ.
            only = touched_pairs(space, self._machines(state), more, n_classes, 0.9 * tolerance)
            before = replace(state.held, candidates=union)
        found = solve_pairs(space, before, tolerance, s.max_steps, only)
        self._refuse_unfinished(state.schema, found)
        return replace(state, phase="check", held=found)

    def _refuse_unfinished(self, schema: Schema, found: PairsSolution) -> None:
        if found.unfinished is None:
            return
        i, j, solution = found.unfinished
        names = [label_text(label) for label in schema.classes or ()]
        out_of_steps = solution.steps >= self.settings.max_steps
        why = "max_steps is reached" if out_of_steps else "rounding allows no better solution"
        cure = "a smaller C or gamma, dtype=float64 or a larger tolerance"
        raise JobFailed(
            f"classes {names[i]} and {names[j]}: after {solution.steps} steps the optimality conditions still fail"
            f" by {solution.gap:.3g}, where {SHARE_OF_TOLERANCE * self.settings.tolerance:g} is allowed, and {why};"
            f" try {cure if self.settings.standardize else 'standardised columns (standardize=true), ' + cure}"
        )

    def _beyond(self, state: KernelSvmState, rows: int) -> KernelSvmState:
        """More rows than may be held. Raises JobFailed where landmarks may not stand in for them."""
        limit = self.settings.max_support_vectors
        if self.settings.method == "exact":
            raise JobFailed(
                f"{rows} support vectors are more than max_support_vectors = {limit}: raise it (their kernel "
                "matrix must fit the coordinator's memory), lower C, or take method=nystroem"
            )
        return self._to_landmarks(replace(state, held=None, worst=None))

    def _to_landmarks(self, state: KernelSvmState) -> KernelSvmState:
        """Rows of a linear kernel stay where they are: the coefficients of landmarks do not sum to 0."""
        linear = self.settings.kernel == "linear"
        center = np.zeros_like(state.center) if linear else state.center
        return replace(state, phase="landmarks", center=center)

    def _on_landmarks(self, state: KernelSvmState, total: Tensors) -> KernelSvmState:
        X, positions = nystroem.chosen(total, self.settings.landmarks)
        n_classes = state.schema.n_classes
        cost = self.settings.C * state.schema.train_weight * 2 / n_classes
        space = self._space(state.gamma, state.center)
        landmarks = nystroem.begin(space, X, positions, n_classes, cost)
        sent = state.rows_sent + len(total["positions"])
        return replace(state, phase="linear", landmarks=landmarks, rows_sent=sent)

    # --- parts ---------------------------------------------------------------------------------------------------

    def _space(self, gamma: float, center: Floats) -> Space:
        s = self.settings
        return Space(Kernel(s.kernel, gamma, s.degree, s.coef0), center)

    def _share(self, state: KernelSvmState) -> float:
        """Rows that a shard may send in this phase, per row that it has."""
        s = self.settings
        held = 0 if state.held is None else len(state.held.candidates)
        most: dict[str, float] = {
            "local": 2.0 * s.max_support_vectors,
            "check": max(FEWEST_ANSWERS, ANSWERS_PER_ROW_HELD * held),
            "landmarks": s.landmarks,
        }
        return float(most.get(state.phase, 0.0)) / max(1, state.schema.train_rows)

    def _machines(self, state: KernelSvmState, *, trial: bool = False) -> Expansion:
        """The best machines so far, or those to evaluate next; without rows before there are any."""
        schema = state.schema
        if state.landmarks is not None:
            return state.landmarks.machines(trial=trial)
        if state.held is not None:
            return state.held.candidates.expansion(state.held.intercept)
        X = np.zeros((0, schema.n_features), dtype=self.settings.dtype)
        counts = np.zeros(schema.n_classes, dtype=np.int64)
        intercept = np.zeros(n_pairs(schema.n_classes))
        return Expansion(X, np.zeros((0, schema.n_classes - 1)), counts, intercept)

    def _support_positions(self, state: KernelSvmState) -> Any:
        if state.landmarks is not None:
            return state.landmarks.positions
        if state.held is None:
            return np.zeros(0, dtype=np.int64)
        return state.held.candidates.positions[state.held.candidates.support]


def _packed(machines: Expansion) -> Tensors:
    return {
        "support": machines.rows,
        "coefficients": machines.coefficients,
        "counts": machines.counts,
        "intercept": machines.intercept,
    }


def _unpacked(tensors: Tensors) -> Expansion:
    names = ("support", "coefficients", "counts", "intercept")
    return Expansion(*(tensors[name] for name in names))

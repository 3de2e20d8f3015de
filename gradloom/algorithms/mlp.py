"""Multi-layer perceptrons, trained by stochastic gradient descent over batches of one global size.

    minimise over W_l, b_l, batch by batch:   1/W (sum_i s_i loss(y_i, z(x_i)) + alpha/2 sum_l |W_l|^2),   W = sum_i s_i

z is the network of ``gradloom.networks``; the loss is the softmax cross-entropy, for two classes its equal with one
output, or half the squared error of a target that is standardised first. That is the objective of scikit-learn's
MLPClassifier and MLPRegressor. Workers return sums of loss and gradient over their share of the batch; the penalty,
the division and the optimizer are the coordinator's, in one float64 vector. The parameters travel in the dtype of
the rows. An epoch takes every row once; see ``gradloom.algorithms.epochs``.
"""

from dataclasses import dataclass, replace
from math import inf, isfinite, sqrt

import numpy as np
from numpy.typing import NDArray

from gradloom.algorithms.algorithm import Needs, Progress, Task
from gradloom.algorithms.epochs import batch_at, steps_per_epoch
from gradloom.algorithms.local_steps import Batch, averaged, moments_of, walk
from gradloom.algorithms.mlp_messages import Plan, architecture_of, network_of, rescaled
from gradloom.algorithms.mlp_optimizer import optimizer_of
from gradloom.algorithms.mlp_settings import MlpClassifierSettings, MlpRegressorSettings, MlpSettings
from gradloom.algorithms.mlp_state import MlpState
from gradloom.data.shard import Rows, Shard
from gradloom.errors import InvalidInput, JobFailed
from gradloom.models import Model, Network, probabilities
from gradloom.networks import ACTIVATIONS, Layout, Passes
from gradloom.optimizers.schedules import Scheduled
from gradloom.saved import Saved, restore_value, save_value
from gradloom.schema import Schema
from gradloom.scores import classification_scores, classification_sums, regression_scores, regression_sums
from gradloom.tensors import Tensors, sum_tensors

Vector = NDArray[np.float64]
HARDLY = 1e-6
"""A variance of the target below this share of its squared mean has lost digits."""
NEVER = 1e-28
"""A variance around the mean below this share of its square is rounding."""
MAX_PARAMETERS = 1 << 27
"""1 GiB in float64; an optimizer holds three to six times as much."""


@dataclass(frozen=True, slots=True)
class Mlp:
    """A multi-layer perceptron with its settings; a value that coordinator and workers build alike."""

    name: str
    version: int
    task: Task
    settings: MlpSettings

    @property
    def needs(self) -> Needs:
        """How rows are prepared, and which tensors bear a lossy codec."""
        s = self.settings
        class_weight = s.class_weight if isinstance(s, MlpClassifierSettings) else ""
        return Needs(
            self.task,
            s.dtype,
            s.standardize,
            s.validation_fraction,
            class_weight,
            gradients=() if self._walks else ("gradient",),
            parameters=() if self._walks else ("parameters",),
        )

    # --- the loop ------------------------------------------------------------------------------------------------

    def start(self, schema: Schema) -> MlpState:
        """Random weights. Raises InvalidInput if the classes or the weights of the data do not suit the task."""
        least, most = (0, 0) if self.task == "regression" else (2, inf)
        if not least <= schema.n_classes <= most:
            raise InvalidInput(
                schema.target, f"has {schema.n_classes} classes, which {self.name} can't learn"
            )
        if not schema.train_weight > 0:
            raise InvalidInput("weight", "every train row weighs 0; at least one must weigh more")
        layout = self._layout(schema)
        if layout.n_parameters > MAX_PARAMETERS:
            raise InvalidInput(
                "hidden_layer_sizes",
                f"{self.settings.hidden_layer_sizes!r} makes {layout.n_parameters:,} parameters of"
                f" {schema.n_features:,} columns; at most {MAX_PARAMETERS:,} are allowed",
            )
        gain = ACTIVATIONS[self.settings.activation].gain
        point = layout.initial(schema.preparation.split.seed, gain)
        return MlpState(
            schema,
            optimizer_of(self.settings, self._steps_per_epoch(schema)).init(point),
            steps=self._steps_per_epoch(schema),
            measured=not self._standardizes_target,
        )

    def broadcast(self, state: MlpState) -> Tensors:
        """What a worker needs for its part of this round.

        parameters (P,) in the dtype of the rows; sizes (L,) and plan, see ``Plan``, int64; target (2,) float64:
        center and scale. Where shards step by themselves parameters are float64, and penalty () float64, moments and
        updates come with them.
        """
        point = state.optimizer.point
        plan = Plan(
            state.epoch,
            state.step,
            state.steps,
            state.schema.preparation.split.seed,
            trains=int(state.measured and not self._out_of_epochs(state)),
            validates=int(self._validation_is_due(state)),
            measures=int(not state.measured),
        )
        return {
            "parameters": point if self._walks else point.astype(self.settings.dtype),
            **network_of(self._layout(state.schema), state.target_center, state.target_scale),
            "plan": plan.to_array(),
            **(
                {"penalty": self._mean_penalty(state.schema), **moments_of(state.optimizer)}
                if self._walks
                else {}
            ),
        }

    def map(self, shard: Shard, message: Tensors) -> Tensors:
        """Sums over this round's batch of the shard's train rows, all float64.

        loss, weight, fresh_weight, rows (), gradient (P,), or what ``walk`` returns; validation_loss,
        validation_weight, validation_rows () when the validation rows are due; target (3,): sums of s, s t, s t^2
        over all train rows when those are, t = y - center. What is not due is 0. The fresh weight is what is left of
        the weight of partials that are stale.
        """
        plan = Plan.from_array(message["plan"])
        held = _some(shard.validation, plan.validates)
        train = _some(shard.train, plan.trains)
        architecture = architecture_of(message, self.settings, self.task)
        passes = Passes(architecture, shard.train.X.dtype, max(len(train), len(held)))
        loss, weight = passes.loss(self._rescaled(held, message), message["parameters"])
        validation = {
            "validation_loss": np.asarray(loss),
            "validation_weight": np.asarray(weight),
            "validation_rows": np.asarray(float(len(held))),
        }
        if self._standardizes_target:
            center = float(message["target"][0])
            validation["target"] = _target_sums(_some(shard.train, plan.measures), center)
        if self._walks:
            return {**self._walk(passes, train, shard.index, plan, message), **validation}
        rows = self._rescaled(_batch(train, shard.index, plan, plan.step), message)
        sums = passes.sums(rows, message["parameters"], plan.dropout_key(plan.step))
        return {
            "loss": np.asarray(sums.loss),
            "weight": np.asarray(sums.weight),
            "fresh_weight": np.asarray(sums.weight),
            "rows": np.asarray(float(len(rows))),
            "gradient": sums.gradient,
            **validation,
        }

    merge = staticmethod(sum_tensors)

    def update(self, state: MlpState, total: Tensors) -> MlpState:
        """One step, or the average of many. Raises JobFailed where a loss is not finite: the training diverged."""
        after = replace(state, round=state.round + 1)
        if not state.measured:
            return self._measured(after, total)
        after = self._validated(after, total)
        if self._out_of_epochs(state):
            return after
        if float(total["weight"]) > 0:  # else no row of the batch counts
            after = self._averaged(after, total) if self._walks else self._stepped(after, total)
        return self._judged_by_train_rows(
            after, after.advanced(self.settings.local_steps, self._steps_per_epoch(state.schema))
        )

    @property
    def takes_part_sums(self) -> bool:
        """A step along the gradient of some rows is a step; an average must be of all shards."""
        return not self._walks

    @property
    def stale_sums_harm(self) -> str:
        """Velocity adds up gradients that are old already: with delays of 15 updates it diverged where none did."""
        s = self.settings
        if s.solver != "sgd" or not s.momentum:
            return ""
        return (
            f"momentum={s.momentum:g} adds up gradients that are old already, and may diverge for it; "
            "set momentum=0, or solver=adam or adamw"
        )

    def damped(self, partial: Tensors, factor: float) -> Tensors:
        """It counts less in the mean gradient, and the step along that is the shorter one.

        A smaller gradient alone would not do: Adam makes steps of the same length of it.
        """
        return {**partial, **{name: partial[name] * factor for name in ("gradient", "fresh_weight")}}

    def save(self, state: MlpState) -> Saved:
        """All but the schema."""
        return save_value(state, "schema")

    def restore(self, schema: Schema, saved: Saved) -> MlpState:
        """The state that was saved. Raises ValueError if it is none."""
        optimizer = optimizer_of(self.settings, 1).restore(saved.under("optimizer"))
        return restore_value(MlpState, saved, schema=schema, optimizer=optimizer)

    def done(self, state: MlpState) -> str | None:
        """Out of patience or out of epochs, once the last epoch is validated."""
        s = self.settings
        if s.patience and state.epochs_without_better >= s.patience:
            kind = "validation" if state.validated else "train"
            return f"no better {kind} loss in {s.patience} epochs"
        if self._out_of_epochs(state) and not self._validation_is_due(state):
            return f"max_epochs = {s.max_epochs} reached"
        return None

    def finish(self, state: MlpState) -> Model:
        """The network on raw columns, and of the raw target."""
        schema = state.schema
        layout = self._layout(schema)
        preparation, target = schema.preparation, (state.target_center, state.target_scale)
        return Network(
            algorithm=self.name,
            version=self.version,
            features=schema.features,
            target=schema.target,
            classes=schema.classes,
            parameters=rescaled(layout, self._solution(state), preparation, target),
            sizes=np.asarray(layout.sizes, dtype=np.int64),
            settings=self.settings.model_dump(),
            metadata={
                "train_rows": schema.train_rows,
                "train_weight": schema.train_weight,
                "rounds": state.round,
                "updates": state.optimizer.updates,
                "epochs": state.epochs,
                "loss": state.loss,
                "stopped": self.done(state) or "stopped early",
            },
        )

    def progress(self, state: MlpState) -> Progress:
        """The loss is the mean of about the last epoch, penalty included; a round without a step changes none."""
        seen = state.loss is not None
        return Progress(
            iteration=state.round,
            max_iterations=state.round + self._rounds_left(state),
            loss=state.loss,
            gradient_norm=state.optimizer.gradient_norm if seen else None,
            validation_loss=state.validation_loss,
            learning_rate=state.optimizer.learning_rate,
        )

    # --- held-out rows -------------------------------------------------------------------------------------------

    def solution(self, state: MlpState) -> Tensors:
        """parameters of the best answer so far, on the columns that workers hold, with sizes and target."""
        parameters = self._solution(state).astype(self.settings.dtype)
        layout = self._layout(state.schema)
        return {
            "parameters": parameters,
            **network_of(layout, state.target_center, state.target_scale),
        }

    def assess(self, rows: Rows, solution: Tensors) -> Tensors:
        """Metric sums of the solution; see ``gradloom.scores``."""
        passes = Passes(architecture_of(solution, self.settings, self.task), rows.X.dtype, len(rows))
        z = passes.outputs(rows.X, solution["parameters"]).astype(np.float64)
        if self.task == "regression":
            center, scale = solution["target"].tolist()
            return regression_sums(rows.y, z[:, 0] * scale + center, rows.weight, center=center)
        return classification_sums(rows.y, probabilities(z[:, 0] if z.shape[1] == 1 else z), rows.weight)

    def scores(self, total: Tensors) -> dict[str, float]:
        """accuracy, log_loss and roc_auc, or r2, rmse and mae."""
        return regression_scores(total) if self.task == "regression" else classification_scores(total)

    # --- parts ---------------------------------------------------------------------------------------------------

    @property
    def _walks(self) -> bool:
        """Whether shards take steps by themselves."""
        return self.settings.local_steps > 1

    @property
    def _standardizes_target(self) -> bool:
        return isinstance(self.settings, MlpRegressorSettings) and self.settings.standardize_target

    def _layout(self, schema: Schema) -> Layout:
        outputs = schema.n_classes if schema.n_classes > 2 else 1
        return Layout((schema.n_features, *self.settings.hidden, outputs))

    def _steps_per_epoch(self, schema: Schema) -> int:
        return steps_per_epoch(schema.train_rows, self.settings.batch_size)

    def _out_of_epochs(self, state: MlpState) -> bool:
        return state.epoch >= self.settings.max_epochs

    def _rounds_left(self, state: MlpState) -> int:
        """Of batches, and those for the target and for the last look at the validation rows."""
        if self._out_of_epochs(state):
            return int(self._validation_is_due(state))
        later = self.settings.max_epochs - state.epoch - 1
        batches = later * self._steps_per_epoch(state.schema) + state.steps - state.step
        rounds = -(-batches // self.settings.local_steps)
        return rounds + int(not state.measured) + int(self._validates(state.schema))

    def _validates(self, schema: Schema) -> bool:
        return bool(self.settings.validation_fraction) and schema.validation_rows > 0

    def _validation_is_due(self, state: MlpState) -> bool:
        return self._validates(state.schema) and state.epoch > state.validated

    def _solution(self, state: MlpState) -> Vector:
        return state.optimizer.point if state.best_parameters is None else state.best_parameters

    def _rescaled(self, rows: Rows, message: Tensors) -> Rows:
        """The rows with the target that the network learns."""
        if not self._standardizes_target:
            return rows
        center, scale = message["target"].tolist()
        return replace(rows, y=(rows.y - center) / scale)

    def _walk(self, passes: Passes, train: Rows, shard: int, plan: Plan, message: Tensors) -> Tensors:
        """``local_steps`` steps on batches of one shard; see ``gradloom.algorithms.local_steps``."""
        layout, penalty = Layout(tuple(message["sizes"].tolist())), float(message["penalty"])
        optimizer = optimizer_of(self.settings, plan.steps)

        def evaluate(i: int, point: Vector) -> Batch:
            rows = self._rescaled(_batch(train, shard, plan, plan.step + i), message)
            loss, weight, gradient = passes.sums(rows, point, plan.dropout_key(plan.step + i))
            if weight > 0:
                gradient /= weight
                _penalise(layout, gradient, point, penalty)
            return Batch(loss, weight, len(rows), gradient)

        return walk(optimizer, message["parameters"], message, self.settings.local_steps, evaluate)

    def _mean_penalty(self, schema: Schema) -> NDArray[np.float64]:
        """alpha over the mean weight of a global batch: a shard's own batch is but a part of it."""
        return np.asarray(self.settings.alpha * self._steps_per_epoch(schema) / schema.train_weight)

    def _memory(self, schema: Schema) -> int:
        """Rounds of an epoch."""
        return max(1, self._steps_per_epoch(schema) // self.settings.local_steps)

    def _stepped(self, state: MlpState, total: Tensors) -> MlpState:
        weight, fresh = float(total["weight"]), float(total["fresh_weight"])
        gradient = total["gradient"] / fresh
        mean_alpha = self.settings.alpha / weight
        squares = _penalise(self._layout(state.schema), gradient, state.optimizer.point, mean_alpha)
        loss = float(total["loss"]) / weight + 0.5 * mean_alpha * squares
        optimizer = self._optimizer(state).shortened(fresh / weight)
        stepped = optimizer.update(state.optimizer, loss, gradient)
        if not (isfinite(loss) and isfinite(stepped.gradient_norm)):
            raise self._diverged(state)
        return replace(state, optimizer=stepped).seen(loss, weight, self._memory(state.schema))

    def _averaged(self, state: MlpState, total: Tensors) -> MlpState:
        weight, before = float(total["weight"]), state.optimizer
        loss = float(total["loss"]) / weight
        rate = self._optimizer(state).schedule.rate(before.updates)
        stepped = averaged(before, total, loss, rate, self.settings.local_steps)
        if not (isfinite(loss) and isfinite(stepped.gradient_norm)):
            raise self._diverged(state)
        return replace(state, optimizer=stepped).seen(loss, weight, self._memory(state.schema))

    def _measured(self, state: MlpState, total: Tensors) -> MlpState:
        """Center and scale of the target from the sums over all train rows; a target that never varies has scale 1.

        Where it hardly varies beside its mean, its variance is taken in another round, around the mean.
        """
        weight, first, second = total["target"].tolist()
        if not weight > 0:  # with relaxed synchrony the first round may hold few rows
            return state
        shift = first / weight
        variance, center = second / weight - shift * shift, state.target_center + shift
        if center and not state.target_center and variance < HARDLY * center * center:
            return replace(state, target_center=center)
        scale = sqrt(variance) if variance > max(NEVER * center * center, 1e-300) else 1.0
        return replace(state, measured=True, target_center=center, target_scale=scale)

    def _validated(self, state: MlpState, total: Tensors) -> MlpState:
        """The validation loss at the point that was sent out, once an epoch."""
        if not (self._validation_is_due(state) and float(total["validation_rows"]) > 0):
            return state
        state = replace(state, validated=state.epoch)
        weight = float(total["validation_weight"])
        if weight <= 0:
            return state
        loss = float(total["validation_loss"]) / weight
        if not isfinite(loss):
            raise self._diverged(state)
        state = replace(state, validation_loss=loss)
        if self.settings.patience and loss < state.best_loss:
            state = replace(state, best_parameters=state.optimizer.point)
        return state.judged(loss, self.settings.tolerance)

    def _judged_by_train_rows(self, state: MlpState, later: MlpState) -> MlpState:
        """At the end of an epoch its mean loss counts, where there are no validation rows."""
        if later.epoch == state.epoch or state.epoch_weight <= 0 or self._validates(state.schema):
            return later
        return later.judged(state.epoch_loss / state.epoch_weight, self.settings.tolerance)

    def _diverged(self, state: MlpState) -> JobFailed:
        rate = state.optimizer.learning_rate or self.settings.learning_rate
        return JobFailed(
            f"the loss of round {state.round - 1} is not a finite number: the training diverged; a learning_rate"
            f" smaller than {rate:g} is needed, or standardize=true if the values of the data are large"
        )

    def _optimizer(self, state: MlpState) -> Scheduled:
        return optimizer_of(self.settings, state.steps)


def _some(rows: Rows, wanted: int) -> Rows:
    """The rows, or none of them."""
    return rows if wanted else Rows(rows.X[:0], rows.y[:0], None, rows.positions[:0])


def _batch(train: Rows, shard: int, plan: Plan, step: int) -> Rows:
    return batch_at(train, shard, plan.seed, plan.epoch, step, plan.steps)


def _target_sums(rows: Rows, center: float) -> NDArray[np.float64]:
    s = np.ones(len(rows)) if rows.weight is None else rows.weight
    t = rows.y - center
    return np.array([s.sum(), np.dot(s, t), np.dot(s, t**2)])


def _penalise(layout: Layout, gradient: Vector, point: Vector, alpha: float) -> float:
    """Add alpha W to the gradient of the weights, in place; returns sum_l |W_l|^2."""
    squares = 0.0
    for slope, layer in zip(layout.split(gradient), layout.split(point), strict=True):
        squares += float(np.vdot(layer.weights, layer.weights))
        if alpha:
            slope.weights[...] += alpha * layer.weights
    return squares

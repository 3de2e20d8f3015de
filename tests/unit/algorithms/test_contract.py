"""The contract of every algorithm: sums over rows, whatever the shards, and a pure loop around them."""

import copy
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

from builders.files import through_a_file
from gradloom.algorithms import build, names
from gradloom.algorithms.algorithm import Algorithm
from gradloom.canonical import Range, fold
from gradloom.data.preparation import row_parts
from gradloom.data.shard import Rows, Shard
from gradloom.errors import JobFailed
from gradloom.models import Model
from gradloom.saved import Saved
from gradloom.tensors import Tensors, sha256, sum_tensors
from tests.unit.algorithms.training import Data, schema_of, shards_of, total_of, train, train_state

DATA = {
    "linear": Data(*load_diabetes(return_X_y=True, scaled=False)),
    "logistic": Data(*load_breast_cancer(return_X_y=True)),
    "multinomial": Data(*load_iris(return_X_y=True)),
}
VARIANTS: dict[str, Mapping[str, Any]] = {
    "defaults": {},
    "float64": {"dtype": "float64"},
    "no intercept": {"fit_intercept": False, "standardize": False, "dtype": "float64"},
    "validation": {"validation_fraction": 0.2, "patience": 3},
    "descent": {"optimizer": "gradient_descent", "max_rounds": 20},
    "nesterov": {"optimizer": "momentum", "nesterov": True, "max_rounds": 20},
    "batches": {"optimizer": "adam", "batch_size": 4, "max_rounds": 20},
}
CASES = [(name, variant) for name in names() for variant in VARIANTS]
FULL_PASSES = [(name, variant) for name, variant in CASES if variant != "batches"]
every_algorithm = pytest.mark.parametrize(("name", "variant"), CASES, ids=str)
every_full_pass = pytest.mark.parametrize(("name", "variant"), FULL_PASSES, ids=str)


class World:
    """One algorithm in the middle of its training, with its shards."""

    def __init__(
        self, name: str, variant: str, n_shards: int = 6, rounds: int = 3, weighted: bool = False
    ) -> None:
        given = DATA[name]
        rng = np.random.default_rng(0)
        order = rng.permutation(len(given.X))  # iris comes sorted by class
        weight = rng.uniform(0.5, 2.0, len(order)) if weighted else None
        self.data = Data(given.X[order], given.y[order], weight)
        self.algorithm: Algorithm[Any] = build(name, VARIANTS[variant])
        self.schema = schema_of(self.data, self.algorithm.needs)
        self.shards = shards_of(self.data, self.schema, n_shards)
        self.state = self.algorithm.start(self.schema)
        for _ in range(rounds):
            self.state = self.algorithm.update(self.state, self.total(self.shards))

    @property
    def message(self) -> Tensors:
        return self.algorithm.broadcast(self.state)

    def total(self, shards: list[Shard]) -> Tensors:
        """The canonical sum of one round."""
        return total_of(self.algorithm, shards, self.message)


def assert_close(left: Tensors, right: Tensors, digits: float) -> None:
    assert left.keys() == right.keys()
    for tensor in left:
        size = max(1.0, float(np.abs(right[tensor]).max(initial=0.0)))
        np.testing.assert_allclose(
            left[tensor], right[tensor], rtol=digits, atol=digits * size, err_msg=tensor
        )


def part(rows: Rows, chosen: NDArray[np.intp] | slice) -> Rows:
    X = np.ascontiguousarray(rows.X[chosen])
    return Rows(X, rows.y[chosen], None if rows.weight is None else rows.weight[chosen])


def whole_of(shards: list[Shard]) -> Shard:
    def joined(parts: list[Rows]) -> Rows:
        weights = [p.weight for p in parts if p.weight is not None]
        X, y = np.concatenate([p.X for p in parts]), np.concatenate([p.y for p in parts])
        return Rows(X, y, np.concatenate(weights) if weights else None)

    return Shard(
        0,
        joined([s.train for s in shards]),
        joined([s.validation for s in shards]),
        joined([s.test for s in shards]),
    )


@every_full_pass
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
def test_the_sum_of_the_shards_is_the_whole(name: str, variant: str, weighted: bool) -> None:
    world = World(name, variant, weighted=weighted)
    digits = 1e-11 if world.algorithm.needs.dtype == "float64" else 2e-6
    whole = world.algorithm.map(whole_of(world.shards), world.message)
    assert_close(world.total(world.shards), whole, digits)


@every_full_pass
def test_shards_of_one_row(name: str, variant: str) -> None:
    world = World(name, variant)
    shard = world.shards[2]
    none = part(shard.train, slice(0, 0))
    rows = [Shard(2, part(shard.train, slice(i, i + 1)), none, none) for i in range(len(shard.train))]
    rows.append(Shard(2, none, shard.validation, none))
    assert_close(world.total(rows), world.algorithm.map(shard, world.message), 2e-6)


@every_algorithm
def test_a_shard_without_rows_adds_nothing(name: str, variant: str) -> None:
    world = World(name, variant)
    none = part(world.shards[0].train, slice(0, 0))
    empty = world.algorithm.map(Shard(9, none, none, none), world.message)
    some = world.algorithm.map(world.shards[0], world.message)
    assert all(not np.any(tensor) for tensor in empty.values())
    assert sha256(world.algorithm.merge(some, empty)) == sha256(some)


@every_full_pass
def test_the_order_of_rows_does_not_matter_but_for_rounding(name: str, variant: str) -> None:
    world = World(name, variant)
    shard = world.shards[-1]
    order = np.random.default_rng(1).permutation(len(shard.train))
    shuffled = Shard(shard.index, part(shard.train, order), shard.validation, shard.test)
    assert_close(
        world.algorithm.map(shuffled, world.message), world.algorithm.map(shard, world.message), 2e-6
    )


@every_algorithm
def test_the_order_of_shards_does_not_matter_but_for_rounding(name: str, variant: str) -> None:
    world = World(name, variant)
    assert_close(world.total(world.shards[::-1]), world.total(world.shards), 1e-11)


@every_algorithm
def test_merge_adds_is_commutative_to_the_bit_and_associative_up_to_rounding(name: str, variant: str) -> None:
    world = World(name, variant)
    a, b, c = (world.algorithm.map(shard, world.message) for shard in world.shards[:3])
    merge = world.algorithm.merge
    assert merge is sum_tensors  # large partials may be added chunk by chunk
    assert sha256(merge(a, b)) == sha256(merge(b, a))
    assert_close(merge(merge(a, b), c), merge(a, merge(b, c)), 1e-13)


@every_algorithm
def test_partials_are_float64_sums_and_their_shapes_are_those_of_the_message(name: str, variant: str) -> None:
    world = World(name, variant, rounds=0)
    message, partial = world.message, world.algorithm.map(world.shards[0], world.message)
    assert {tensor.dtype for tensor in partial.values()} == {np.dtype("float64")}
    assert {message[name].dtype for name in ("coefficients", "intercept")} == {np.dtype("float64")}
    assert partial["gradient"].shape == message["coefficients"].shape
    assert partial["intercept_gradient"].shape == message["intercept"].shape
    held = len(world.shards[0].train)
    assert partial["rows"] == min(held, VARIANTS[variant].get("batch_size", held))


@every_algorithm
def test_map_is_pure(name: str, variant: str) -> None:
    world = World(name, variant, weighted=True)
    shard, message = world.shards[3], world.message
    before = copy.deepcopy((shard, dict(message)))
    first, second = (sha256(world.algorithm.map(shard, message)) for _ in range(2))
    assert first == second
    assert sha256(message) == sha256(before[1])
    for kept, copied in ((shard.train, before[0].train), (shard.validation, before[0].validation)):
        np.testing.assert_array_equal(kept.X, copied.X)
        np.testing.assert_array_equal(kept.y, copied.y)


@every_algorithm
def test_float32_rows_give_nearly_the_sums_of_float64_rows(name: str, variant: str) -> None:
    world = World(name, variant)

    def cast(rows: Rows, dtype: str) -> Rows:
        return Rows(rows.X.astype(dtype), rows.y, rows.weight)

    def totals(dtype: str) -> Tensors:
        return world.total(
            [Shard(s.index, cast(s.train, dtype), cast(s.validation, dtype), s.test) for s in world.shards]
        )

    assert_close(totals("float32"), totals("float64"), 1e-5)


@every_algorithm
def test_the_gradient_is_the_slope_of_the_loss(name: str, variant: str) -> None:
    world = World(name, variant, weighted=True)
    shards = [
        Shard(s.index, Rows(s.train.X.astype(np.float64), s.train.y, s.train.weight), s.validation, s.test)
        for s in world.shards
    ]
    shape, h = world.message["coefficients"].shape, 1e-6
    scale = 1.0 / max(1.0, float(np.abs(shards[0].train.X).max()))

    def loss_at(shift: NDArray[np.float64]) -> float:
        moved = {**world.message, "coefficients": world.message["coefficients"] + shift}
        return float(total_of(world.algorithm, shards, moved)["loss"])

    total = world.total(shards)
    for index in list(np.ndindex(shape))[:6]:
        step = np.zeros(shape)
        step[index] = h * scale
        slope = (loss_at(step) - loss_at(-step)) / (2 * h * scale)
        size = float(np.abs(total["gradient"]).max())
        assert total["gradient"][index] == pytest.approx(slope, rel=1e-4, abs=1e-5 * size + 1e-3)


@every_algorithm
def test_the_state_is_a_frozen_value_and_update_leaves_the_old_one_alone(name: str, variant: str) -> None:
    world = World(name, variant)
    old, kept = world.state, copy.deepcopy(world.state)
    again = [world.algorithm.update(old, world.total(world.shards)) for _ in range(2)]
    assert is_dataclass(type(old))
    with pytest.raises((AttributeError, TypeError)):
        old.round = 99
    assert content(old) == content(kept)
    assert content(again[0]) == content(again[1]) != content(old)


@every_algorithm
def test_a_copied_state_goes_on_to_the_same_bits(name: str, variant: str) -> None:
    world = World(name, variant)
    resumed = copy.deepcopy(world.state)
    for _ in range(3):
        total = world.total(world.shards)
        resumed = world.algorithm.update(resumed, total)
        world.state = world.algorithm.update(world.state, total)
    assert content(resumed) == content(world.state)


@every_algorithm
def test_a_state_that_is_saved_and_restored_in_every_round_leads_to_the_same_bits(
    name: str, variant: str
) -> None:
    world, undisturbed = (World(name, variant, rounds=0) for _ in range(2))
    for round_ in range(25):
        saved = through_a_file(world.algorithm.save(world.state))
        world.state = build(name, VARIANTS[variant]).restore(world.schema, saved)
        assert content(world.state) == content(undisturbed.state), f"round {round_}"
        if world.algorithm.done(world.state):
            break
        for one in (world, undisturbed):
            one.state = one.algorithm.update(one.state, one.total(one.shards))
    assert world.algorithm.progress(world.state) == undisturbed.algorithm.progress(undisturbed.state)
    models = [one.algorithm.finish(one.state).parameters_sha256 for one in (world, undisturbed)]
    assert models[0] == models[1]


@every_algorithm
def test_what_is_no_saved_state_is_refused(name: str, variant: str) -> None:
    world = World(name, variant)
    with pytest.raises(ValueError, match="missing"):
        world.algorithm.restore(world.schema, Saved({}, {}))


def content(value: Any) -> Any:
    """A state as nested tuples and bytes, which compare."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if is_dataclass(value):
        return type(value).__name__, tuple(content(getattr(value, f.name)) for f in fields(value))
    return tuple(content(v) for v in value) if isinstance(value, tuple) else value


@every_algorithm
def test_it_starts_unfinished_and_ends_at_max_rounds(name: str, variant: str) -> None:
    given = {**VARIANTS[variant], "max_rounds": 4, "tolerance": 0.0, "patience": 0}
    world = World(name, variant, rounds=0)
    algorithm = build(name, given)
    state = algorithm.start(world.schema)
    for round_ in range(4):
        assert algorithm.done(state) is None
        assert algorithm.progress(state).iteration == round_
        state = algorithm.update(state, total_of(algorithm, world.shards, algorithm.broadcast(state)))
    assert algorithm.done(state) == "max_rounds = 4 reached"
    progress = algorithm.progress(state)
    assert (progress.iteration, progress.max_iterations) == (4, 4)
    assert progress.loss is not None
    assert np.isfinite(progress.loss)


@every_full_pass
def test_training_lowers_the_loss(name: str, variant: str) -> None:
    first = World(name, variant, rounds=1)
    later = World(name, variant, rounds=15)
    assert first.state.loss is not None
    assert later.state.loss < first.state.loss


@every_algorithm
@pytest.mark.parametrize(
    "holdings",
    [[[0, 1, 2, 3, 4, 5, 6]], [[0, 1, 2, 3], [4, 5, 6]], [[0, 2, 4, 6], [1, 3, 5]], [[i] for i in range(7)]],
    ids=["1 worker", "2 workers", "2 interleaved", "7 workers"],
)
def test_the_model_has_the_same_bits_however_shards_lie_on_workers(
    name: str, variant: str, holdings: list[list[int]]
) -> None:
    data, algorithm = World(name, variant, rounds=0).data, build(name, {**VARIANTS[variant], "max_rounds": 8})
    expected = train(algorithm, data, n_shards=7)
    assert (
        train(algorithm, data, n_shards=7, holdings=holdings).parameters_sha256 == expected.parameters_sha256
    )


@every_algorithm
@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_a_number_that_is_not_finite_fails_the_job_and_says_what_to_do(
    name: str, variant: str, bad: str
) -> None:
    world = World(name, variant)
    total = {**world.total(world.shards)}
    total[bad] = np.full_like(total[bad], np.nan)
    with pytest.raises(JobFailed, match=r"round 3 is not a finite number: .*(learning_rate|standardize)"):
        world.algorithm.update(world.state, total)


@every_algorithm
def test_the_model_scores_held_out_rows_as_assess_does(name: str, variant: str) -> None:
    world = World(name, variant, rounds=6)
    algorithm, solution = world.algorithm, world.algorithm.solution(world.state)
    total = fold(Range(0, 6), lambda i: algorithm.assess(world.shards[i].train, solution), sum_tensors)
    model: Model = algorithm.finish(world.state)
    held = schema_of(world.data, algorithm.needs)
    train_rows = row_parts(held.preparation.split, 0, len(world.data.X)) == 0
    expected = model.scores(world.data.X[train_rows], world.data.y[train_rows])
    scores = algorithm.scores(total)
    assert scores.keys() == expected.keys()
    for score, value in scores.items():
        assert value == pytest.approx(expected[score], rel=2e-3, abs=2e-3)
    none = part(world.shards[0].train, slice(0, 0))
    assert algorithm.scores(algorithm.assess(none, solution)) == {}


def test_patience_returns_the_best_point_and_stops() -> None:
    settings = {"validation_fraction": 0.3, "patience": 5, "l2": 0.0, "dtype": "float64", "tolerance": 0.0}
    data = World("logistic", "defaults", rounds=0).data
    algorithm = build("logistic", settings)
    state = train_state(algorithm, data)
    assert algorithm.done(state) == "no better validation loss in 5 rounds"
    assert state.best_validation_loss < state.validation_loss
    np.testing.assert_array_equal(
        algorithm.solution(state)["coefficients"], state.best_parameters[: data.X.shape[1]]
    )


def test_batches_of_one_epoch_are_the_shard_and_each_epoch_has_its_own_order() -> None:
    algorithm = build("logistic", {"optimizer": "adam", "batch_size": 10, "dtype": "float64"})
    world = World("logistic", "float64")
    shard = world.shards[4]
    steps = -(-len(shard.train) // 10)

    def at(round_: int) -> Tensors:
        return algorithm.map(shard, {**world.message, "round": np.asarray(float(round_))})

    epochs = [[at(epoch * steps + i) for i in range(steps)] for epoch in range(2)]
    whole = build("logistic", {"dtype": "float64"}).map(shard, world.message)
    for partials in epochs:
        total = fold(Range(0, steps), lambda i, p=partials: p[i], sum_tensors)  # type: ignore[misc]
        assert total["rows"] == len(shard.train)
        np.testing.assert_allclose(total["gradient"], whole["gradient"], rtol=1e-10, atol=1e-10)
    assert [float(p["loss"]) for p in epochs[0]] != [float(p["loss"]) for p in epochs[1]]

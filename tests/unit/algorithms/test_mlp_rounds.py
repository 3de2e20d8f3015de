"""Perceptrons round by round: epochs and batches, early stopping, local steps, schedules, stale answers."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from gradloom.algorithms import build
from gradloom.algorithms.epochs import batch_at, batch_bounds, steps_per_epoch
from gradloom.algorithms.mlp_state import MlpState
from tests.unit.algorithms.case import Case, World
from tests.unit.algorithms.cases.mlp import CANCER, DIGITS, IRIS
from tests.unit.algorithms.training import Data, schema_of, shards_of, shuffled, total_of, train, train_state


@pytest.mark.parametrize("sizes", [[10] * 64, [1, 2, 3, 500, 7], [400], [0, 5]], ids=str)
@pytest.mark.parametrize("batch_size", [1, 32, 100, 10_000])
def test_an_epoch_takes_every_row_once_in_batches_of_about_one_size(
    sizes: list[int], batch_size: int
) -> None:
    steps = steps_per_epoch(sum(sizes), batch_size)
    bounds = [[batch_bounds(n, k, t, steps) for t in range(steps)] for k, n in enumerate(sizes)]
    for n, of_shard in zip(sizes, bounds, strict=True):
        assert [lo for lo, _ in of_shard] == [0, *(hi for _, hi in of_shard[:-1])]
        assert of_shard[-1][1] == n
    taken = np.array([sum(hi - lo for lo, hi in step) for step in zip(*bounds, strict=True)])
    assert taken.sum() == sum(sizes)
    assert abs(taken - taken.mean()).max() <= 1 + 4 * np.log2(1 + len(sizes))


def test_batches_of_a_shard_are_new_in_every_epoch_and_keep_rows_together() -> None:
    data = shuffled(CANCER)
    shard = shards_of(data, schema_of(data, build("mlp_classifier").needs), 3)[2]
    epochs = [[batch_at(shard.train, 2, 9, epoch, t, 5) for t in range(5)] for epoch in range(2)]
    for batches in epochs:
        positions = np.concatenate([batch.positions for batch in batches])
        np.testing.assert_array_equal(np.sort(positions), shard.train.positions)
        for batch in batches:
            at = np.searchsorted(shard.train.positions, batch.positions)
            np.testing.assert_array_equal(batch.X, shard.train.X[at])
            np.testing.assert_array_equal(batch.y, shard.train.y[at])
    assert epochs[0][0].positions.tolist() != epochs[1][0].positions.tolist()


def test_it_ends_after_so_many_epochs_and_says_so() -> None:
    algorithm = build("mlp_classifier", {"batch_size": 50, "max_epochs": 3, "hidden_layer_sizes": "5"})
    state = train_state(algorithm, shuffled(IRIS))
    assert algorithm.done(state) == "max_epochs = 3 reached"
    progress = algorithm.progress(state)
    assert (progress.iteration, progress.max_iterations) == (9, 9)
    model = algorithm.finish(state)
    assert model.metadata["epochs"] == 3.0
    assert model.metadata["updates"] == 9


def run_out_of_patience(**more: Any) -> tuple[Any, list[MlpState]]:
    """Random labels: what it learns by heart is of no use on other rows."""
    rng = np.random.default_rng(1)
    data = Data(rng.standard_normal((300, 8)), rng.integers(0, 2, 300).astype(np.float64))
    settings = {"hidden_layer_sizes": "32", "learning_rate": 0.02, "batch_size": 64, "patience": 4, **more}
    algorithm = build("mlp_classifier", settings)
    schema = schema_of(data, algorithm.needs)
    shards, states = shards_of(data, schema, 3), [algorithm.start(schema)]
    while algorithm.done(states[-1]) is None:
        total = total_of(algorithm, shards, algorithm.broadcast(states[-1]))
        states.append(algorithm.update(states[-1], total))
    return algorithm, states


@pytest.mark.parametrize("local_steps", [1, 3])
def test_the_best_parameters_on_validation_rows_are_returned(local_steps: int) -> None:
    algorithm, states = run_out_of_patience(validation_fraction=0.3, local_steps=local_steps)
    end = states[-1]
    assert algorithm.done(end) == "no better validation loss in 4 epochs"
    losses = {
        after.validation_loss: before.optimizer.point
        for before, after in pairwise(states)
        if after.validated > before.validated
    }
    best = min(loss for loss in losses if loss is not None)
    assert end.validation_loss is not None
    assert best == end.best_loss < end.validation_loss
    np.testing.assert_array_equal(algorithm.solution(end)["parameters"], losses[best].astype(np.float32))


def test_the_last_epoch_is_validated_too() -> None:
    algorithm, states = run_out_of_patience(validation_fraction=0.3, max_epochs=2)
    end = states[-1]
    assert algorithm.done(end) == "max_epochs = 2 reached"
    assert end.validated == 2
    assert end.round == end.optimizer.updates + 1  # a round for the validation rows alone
    assert algorithm.progress(end).max_iterations == end.round


def test_without_validation_rows_the_loss_of_the_train_rows_counts() -> None:
    algorithm, states = run_out_of_patience(tolerance=10.0)
    assert algorithm.done(states[-1]) == "no better train loss in 4 epochs"
    assert algorithm.finish(states[-1]).metadata["epochs"] == 5.0  # the first one is better than none


@pytest.mark.parametrize("solver", ["adam", "adamw", "sgd"])
def test_of_one_shard_a_walk_is_as_many_synchronous_rounds(solver: str) -> None:
    data = shuffled(CANCER)
    settings = {
        "solver": solver, "dtype": "float64", "hidden_layer_sizes": "6", "batch_size": 64, "max_epochs": 4,
        "schedule": "cosine", "warmup_epochs": 0.5, "dropout": 0.2, "alpha": 0.0, "patience": 0,
    }  # fmt: skip
    walked, stepped = (
        train_state(build("mlp_classifier", {**settings, "local_steps": steps}), data, 1) for steps in (3, 1)
    )
    assert walked.optimizer.updates == stepped.optimizer.updates == 36
    assert (walked.round, stepped.round) == (12, 36)
    np.testing.assert_allclose(walked.optimizer.point, stepped.optimizer.point, rtol=1e-8, atol=1e-10)


def test_local_steps_learn_from_unequal_shards() -> None:
    data = shuffled(CANCER)
    settings = {
        "hidden_layer_sizes": "16",
        "batch_size": 64,
        "local_steps": 5,
        "max_epochs": 20,
        "learning_rate": 0.01,
    }
    model = train(build("mlp_classifier", settings), data, at_most=10_000)
    assert model.scores(data.X, data.y)["accuracy"] > 0.97


def test_the_learning_rate_follows_the_schedule_in_epochs() -> None:
    settings = {
        "batch_size": 50, "max_epochs": 4, "learning_rate": 0.1, "schedule": "cosine", "warmup_epochs": 1,
        "final_rate": 0.01, "hidden_layer_sizes": "4",
    }  # fmt: skip
    world = World(Case("mlp_classifier", "", IRIS, settings), rounds=0)
    rates = []
    while world.algorithm.done(world.state) is None:
        world.step()
        rates.append(world.algorithm.progress(world.state).learning_rate)
    assert rates[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert rates == [*sorted(rates[:4]), *sorted(rates[4:], reverse=True)]
    assert 0.01 < rates[-1] < 0.02


SOLVERS: Mapping[str, Mapping[str, Any]] = {
    "adam": {"solver": "adam"},
    "adamw": {"solver": "adamw", "weight_decay": 0.01},
    "sgd": {"solver": "sgd", "momentum": 0.0, "nesterov": False},
}


@pytest.mark.parametrize("solver", list(SOLVERS))
def test_an_old_gradient_makes_a_shorter_step_whatever_the_solver(solver: str) -> None:
    settings = {
        "batch_size": 32,
        "hidden_layer_sizes": "4",
        "dtype": "float64",
        "alpha": 0.0,
        **SOLVERS[solver],
    }
    world = World(Case("mlp_classifier", "", CANCER, settings))
    partial = world.algorithm.map(world.shards[3], world.message)
    damped = world.algorithm.damped(partial, 0.25)
    assert {name for name in partial if not np.array_equal(partial[name], damped[name])} == {
        "gradient",
        "fresh_weight",
    }
    start = world.state.optimizer.point
    full, short = (
        world.algorithm.update(world.state, one).optimizer.point - start for one in (partial, damped)
    )
    np.testing.assert_allclose(short, 0.25 * full, rtol=1e-9, atol=1e-15)


def test_with_delays_adam_learns_what_it_can_not_where_only_the_gradient_is_damped() -> None:
    data, late = shuffled(DIGITS), 7
    settings = {"hidden_layer_sizes": "32", "batch_size": 64, "learning_rate": 0.02, "max_epochs": 100}
    algorithm = build("mlp_classifier", {**settings, "patience": 0, "standardize": False})
    data = Data(data.X / 16.0, data.y)
    schema = schema_of(data, algorithm.needs)
    shards, states = shards_of(data, schema, 8)[3:], [algorithm.start(schema)]
    for i in range(500):
        old = states[max(0, len(states) - 1 - late)]
        partial = algorithm.map(shards[i % len(shards)], algorithm.broadcast(old))
        states.append(algorithm.update(states[-1], algorithm.damped(partial, 1 / (1 + late))))
    model = algorithm.finish(states[-1])
    assert model.scores(data.X, data.y)["accuracy"] > 0.9


def test_momentum_does_not_go_with_asynchronous_rounds() -> None:
    assert "set momentum=0" in build("mlp_classifier", {"solver": "sgd"}).stale_sums_harm
    assert not build("mlp_classifier", SOLVERS["sgd"]).stale_sums_harm
    assert not build("mlp_classifier").stale_sums_harm


def test_another_batch_size_counts_from_the_next_epoch_on_and_no_row_is_seen_twice() -> None:
    data = shuffled(CANCER)
    algorithms = [build("mlp_classifier", {"batch_size": size, "max_epochs": 3}) for size in (100, 40)]
    schema = schema_of(data, algorithms[0].needs)
    shards, state = shards_of(data, schema, 4), algorithms[0].start(schema)
    rows, after = [], []
    for round_ in range(100):
        algorithm = algorithms[int(round_ >= 2)]  # changed in the middle of the first epoch
        if algorithm.done(state):
            break
        total = total_of(algorithm, shards, algorithm.broadcast(state))
        state = algorithm.update(state, total)
        rows.append(float(total["rows"]))
        after.append(state.epochs)
    assert len(rows) == 6 + 15 + 15
    assert [sum(part) for part in (rows[:6], rows[6:21], rows[21:])] == [569.0] * 3
    assert after[5] == 1.0
    assert algorithms[1].progress(state).max_iterations == state.round == 36
    assert "batch_size" in algorithms[0].settings.steerable


def test_a_round_of_some_shards_is_a_step_and_one_of_no_rows_is_none() -> None:
    world = World(Case("mlp_classifier", "", CANCER, {"batch_size": 32, "hidden_layer_sizes": "4"}))
    some = world.total(world.shards[2:4])
    after = world.algorithm.update(world.state, some)
    assert after.optimizer.updates == world.state.optimizer.updates + 1
    nothing = {name: np.zeros_like(tensor) for name, tensor in some.items()}
    skipped = world.algorithm.update(world.state, nothing)
    assert (skipped.epochs, skipped.round) == (after.epochs, after.round)
    np.testing.assert_array_equal(skipped.optimizer.point, world.state.optimizer.point)
    assert world.algorithm.takes_part_sums
    assert not build("mlp_classifier", {"local_steps": 2}).takes_part_sums

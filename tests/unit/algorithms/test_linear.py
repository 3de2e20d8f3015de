"""What is true of linear models alone, beyond the contract of every algorithm."""

import numpy as np
import pytest
from numpy.typing import NDArray

from gradloom.algorithms import build
from gradloom.canonical import Range, fold
from gradloom.errors import JobFailed
from gradloom.tensors import Tensors, sum_tensors
from tests.unit.algorithms.case import Case, World, cast
from tests.unit.algorithms.cases.linear import ITERATIVE, RICH
from tests.unit.algorithms.training import Data, total_of, train_state

EVALUATED = [case for case in (*ITERATIVE, *RICH) if "local_steps" not in case.settings]
every_case = pytest.mark.parametrize("case", EVALUATED, ids=str)
every_full_pass = pytest.mark.parametrize("case", [case for case in EVALUATED if case.full_pass], ids=str)
LOGISTIC = {case.variant: case for case in ITERATIVE if case.algorithm == "logistic"}


@every_case
def test_the_shapes_of_a_partial_are_those_of_the_message(case: Case) -> None:
    world = World(case, rounds=0)
    message, partial = world.message, world.algorithm.map(world.shards[0], world.message)
    assert {message[name].dtype for name in ("coefficients", "intercept")} == {np.dtype("float64")}
    assert partial["gradient"].shape == message["coefficients"].shape
    assert partial["intercept_gradient"].shape == message["intercept"].shape
    if case.full_pass:
        assert partial["rows"] == len(world.shards[0].train)


@every_case
def test_the_gradient_is_the_slope_of_the_loss(case: Case) -> None:
    world = World(case, weighted=True)
    shards = [cast(s, "float64") for s in world.shards]
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


@pytest.mark.parametrize("case", [case for case in EVALUATED if case.rounds > 1], ids=str)
def test_it_starts_unfinished_and_ends_at_max_rounds(case: Case) -> None:
    given = {**case.settings, "max_rounds": 4, "tolerance": 0.0, "patience": 0}
    world = World(case, rounds=0)
    algorithm = build(case.algorithm, given)
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
def test_training_lowers_the_loss(case: Case) -> None:
    first, later = World(case, rounds=1), World(case, rounds=0)
    later.run(at_most=15)
    assert first.state.loss is not None
    assert later.state.loss < first.state.loss


@every_case
@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_a_number_that_is_not_finite_fails_the_job_and_says_what_to_do(case: Case, bad: str) -> None:
    world = World(case)
    total = {**world.total(world.shards)}
    total[bad] = np.full_like(total[bad], np.nan)
    with pytest.raises(
        JobFailed, match=rf"round {case.rounds} is not a finite number: .*(learning_rate|standardize)"
    ):
        world.algorithm.update(world.state, total)


def test_patience_returns_the_best_point_and_stops() -> None:
    settings = {"validation_fraction": 0.3, "patience": 5, "l2": 0.0, "dtype": "float64", "tolerance": 0.0}
    data = World(LOGISTIC["lbfgs"], rounds=0).data
    algorithm = build("logistic", settings)
    state = train_state(algorithm, data)
    assert algorithm.done(state) == "no better validation loss in 5 rounds"
    assert state.best_validation_loss < state.validation_loss
    np.testing.assert_array_equal(
        algorithm.solution(state)["coefficients"], state.best_parameters[: data.X.shape[1]]
    )


def test_batches_of_one_epoch_are_the_shard_and_each_epoch_has_its_own_order() -> None:
    algorithm = build("logistic", {"solver": "adam", "batch_size": 50, "dtype": "float64"})
    world = World(LOGISTIC["float64"])
    shard = world.shards[4]
    steps = -(-569 // 50)

    def at(round_: int) -> Tensors:
        asked = {"round": np.asarray(round_), "epoch_steps": np.asarray(steps)}
        return algorithm.map(shard, {**world.message, **asked})

    epochs = [[at(epoch * steps + i) for i in range(steps)] for epoch in range(2)]
    whole = build("logistic", {"dtype": "float64"}).map(shard, world.message)
    for partials in epochs:
        total = fold(Range(0, steps), lambda i, p=partials: p[i], sum_tensors)  # type: ignore[misc]
        assert total["rows"] == len(shard.train)
        np.testing.assert_allclose(total["gradient"], whole["gradient"], rtol=1e-10, atol=1e-10)
    assert [float(p["loss"]) for p in epochs[0]] != [float(p["loss"]) for p in epochs[1]]


def test_a_batch_of_rows_without_weight_is_passed_over() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 3))
    weight = np.zeros(40)
    weight[[0, 1, 2, 20]] = 1.0
    data = Data(X, (X[:, 0] > 0).astype(float), weight)
    state = train_state(build("logistic", {"solver": "adam", "batch_size": 2, "max_rounds": 60}), data)
    assert state.round == 60
    assert np.isfinite(state.optimizer.point).all()

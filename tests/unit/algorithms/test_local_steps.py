"""Local SGD: shards that step by themselves between two averages."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from gradloom.algorithms import build
from gradloom.algorithms.epochs import batch_at
from gradloom.errors import InvalidInput
from gradloom.specs import DataSpec, JobSpec, with_local_steps
from tests.unit.algorithms.training import Data, schema_of, shards_of, total_of, train, train_state

X, y = load_breast_cancer(return_X_y=True)
ORDER = np.random.default_rng(5).permutation(len(y))
DATA = Data(np.asarray(X[ORDER], np.float64), np.asarray(y[ORDER], np.float64))
STEPPERS = {
    "gradient_descent": {"solver": "gradient_descent", "learning_rate": "0.1"},
    "momentum": {"solver": "momentum", "learning_rate": "0.05"},
    "adam": {"solver": "adam", "learning_rate": "0.02"},
}
every_stepper = pytest.mark.parametrize("stepper", list(STEPPERS))


def settings(stepper: str, **more: str) -> dict[str, str]:
    return {**STEPPERS[stepper], "dtype": "float64", "batch_size": "32", "tolerance": "0", **more}


@every_stepper
def test_of_one_shard_a_walk_is_as_many_synchronous_rounds(stepper: str) -> None:
    walked = train_state(build("logistic", settings(stepper, max_rounds="5", local_steps="4")), DATA, 1)
    stepped = train_state(build("logistic", settings(stepper, max_rounds="20")), DATA, 1)
    np.testing.assert_allclose(walked.optimizer.point, stepped.optimizer.point, rtol=1e-9, atol=1e-12)
    assert walked.optimizer.updates == stepped.optimizer.updates == 20


@every_stepper
def test_it_learns_from_unequal_shards(stepper: str) -> None:
    model = train(build("logistic", settings(stepper, max_rounds="20", local_steps="8")), DATA, 5)
    right = np.mean(np.asarray(model.predict(DATA.X), np.float64) == DATA.y)
    assert right > 0.97


def test_a_shard_weighs_as_much_as_the_rows_that_it_stepped_on() -> None:
    algorithm = build("logistic", settings("gradient_descent", local_steps="3"))
    schema = schema_of(DATA, algorithm.needs)
    shards = shards_of(DATA, schema, 4)
    state = algorithm.start(schema)
    message = algorithm.broadcast(state)
    partials = [algorithm.map(shard, message) for shard in shards]
    total = total_of(algorithm, shards, message)
    weights = np.array([float(partial["weight"]) for partial in partials])
    ends = np.array([partial["point"] / partial["weight"] for partial in partials])
    after = algorithm.update(state, total)
    np.testing.assert_allclose(after.optimizer.point, np.average(ends, axis=0, weights=weights), rtol=1e-12)
    assert weights.tolist() == [
        sum(len(batch_at(shard.train, shard.index, 0, 0, step, 18)) for step in range(3)) for shard in shards
    ]
    assert weights.sum() == pytest.approx(3 * 569 / 18, abs=4)


def test_lbfgs_takes_no_steps_by_itself() -> None:
    with pytest.raises(InvalidInput, match="local_steps"):
        build("logistic", {"local_steps": "4", "solver": "lbfgs"})
    assert build("logistic", {"local_steps": "4"}).takes_part_sums is False


def test_local_synchrony_is_a_setting() -> None:
    spec = JobSpec("logistic", DataSpec(("a.csv",)), STEPPERS["adam"], synchrony="local:8")
    assert with_local_steps(spec).settings["local_steps"] == "8"
    assert with_local_steps(with_local_steps(spec)) == with_local_steps(spec)
    other = JobSpec("logistic", DataSpec(("a.csv",)), {"local_steps": "4"}, synchrony="local:8")
    with pytest.raises(InvalidInput, match="contradict"):
        with_local_steps(other)

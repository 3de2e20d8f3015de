"""One job's steps: profile, train, assess, end; driven by the smallest algorithm there is."""

from pathlib import Path

import numpy as np
import pytest

from builders.averaging import Averaging, manifest_of, write_rows
from builders.shards import read_shard
from gradloom.algorithms.algorithm import Progress
from gradloom.data.planning import build_manifest
from gradloom.data.preparation import Split, prepare
from gradloom.data.profile import merge_profiles, profile_shard
from gradloom.errors import DataError, InvalidInput
from gradloom.steps import Step
from gradloom.tensors import Tensors, sum_tensors
from gradloom_coordinator.training import Training

Y = [1.0, 2.0, 3.0, 6.0]


def training_on(folder: Path, y: list[float], split: Split | None = None, rounds: int = 3) -> Training:
    manifest = manifest_of(write_rows(folder, y), 1)
    return Training(Averaging(rounds), manifest, split or Split())


def one_round(training: Training) -> Progress | None:
    """What one worker with all shards would answer."""
    raw = read_shard(training.manifest, 0)
    message = training.message()
    total: Tensors
    if training.step is Step.PROFILE:
        total = profile_shard(raw, training.split)
    else:
        assert training.schema is not None
        shard = prepare(raw, training.schema.preparation)
        in_training = training.step is Step.TRAIN
        algorithm = training.algorithm
        total = algorithm.map(shard, message) if in_training else algorithm.assess(shard.test, message)
    return training.advance(total)


def test_profile_then_train_then_the_end_where_no_row_is_held_out(tmp_path: Path) -> None:
    training = training_on(tmp_path, Y)
    assert (training.step, training.message(), training.merge) == (Step.PROFILE, {}, merge_profiles)
    assert one_round(training) is None
    assert training.schema is not None
    assert (training.schema.train_rows, training.schema.features) == (4, ("x",))
    assert (training.step, training.merge) == (Step.TRAIN, sum_tensors)
    progress = [one_round(training) for _ in range(3)]
    assert [p.iteration for p in progress if p] == [1, 2, 3]
    assert [p.loss for p in progress if p] == [
        12.5,
        (1 / 4 + 1 / 4 + 9 / 4 + 81 / 4) / 4,
        pytest.approx(4.0625),
    ]
    assert (training.finished, training.ended_because) == (True, "3 rounds are done")
    assert training.scores == {}
    assert training.model is not None
    assert float(training.model.intercept) == 3.0 * (1 - 1 / 8)


def test_held_out_rows_are_assessed_with_the_solution(tmp_path: Path) -> None:
    training = training_on(tmp_path, [float(i % 7) for i in range(200)], Split(seed=3, test_fraction=0.5))
    for _ in range(4):
        one_round(training)
    assert training.schema is not None
    assert training.schema.test_rows > 50
    assert (training.step, training.finished) == (Step.ASSESS, False)
    assert training.merge is sum_tensors
    assert training.message().keys() == {"mean"}
    assert one_round(training) is None
    assert training.finished
    shard = prepare(read_shard(training.manifest, 0), training.schema.preparation)
    assert training.model is not None
    np.testing.assert_allclose(
        training.scores["mse"], ((shard.test.y - float(training.model.intercept)) ** 2).mean()
    )


def test_an_algorithm_that_needs_no_round_ends_after_the_profile(tmp_path: Path) -> None:
    training = training_on(tmp_path, Y, rounds=0)
    one_round(training)
    assert (training.finished, training.ended_because) == (True, "0 rounds are done")
    assert training.model is not None


def test_data_that_can_not_be_learnt_from_is_refused_after_the_profile(tmp_path: Path) -> None:
    training = training_on(tmp_path, [1.0, float("nan"), 2.0])
    with pytest.raises(DataError, match="column 'y': row 1 has no value"):
        one_round(training)


def test_an_algorithm_may_refuse_the_data(tmp_path: Path) -> None:
    path = write_rows(tmp_path, Y)
    path.write_text(path.read_text().replace("x,y", "x,unwanted"))
    manifest = build_manifest((str(path),), target="unwanted", n_shards=1)
    with pytest.raises(InvalidInput, match="target: 'unwanted' is what it says"):
        one_round(Training(Averaging(), manifest, Split()))

"""What a task computes: each step's partial over its shards, in canonical order, with nothing that is not finite."""

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from builders.averaging import Averaging, manifest_of, write_rows
from builders.shards import read_shard
from gradloom.algorithms import build
from gradloom.algorithms.algorithm import Algorithm
from gradloom.canonical import Range, fold
from gradloom.data.preparation import Preparation, Split, prepare
from gradloom.data.profile import merge_profiles, profile_shard
from gradloom.data.shard import Shard
from gradloom.steps import Step
from gradloom.tensors import Tensors, sha256, sum_tensors
from gradloom_worker.shards import ShardStore
from gradloom_worker.work import JobWork, NonFinite

N_SHARDS = 5
SPLIT = Split(seed=1, test_fraction=0.25)
MEAN: Tensors = {"mean": np.array([0.5])}
QUERY: Tensors = {"queries": np.array([[0.5]]), "neighbors": np.array(3), "center": np.zeros(1)}


@dataclass(frozen=True)
class Answering(Averaging):
    """Answers what it is told to."""

    answer: tuple[float, ...] = (0.0,)
    dtype: str = "float64"

    def map(self, shard: Shard, message: Tensors) -> Tensors:
        return {"sums": np.array(self.answer, dtype=self.dtype)}


@pytest.fixture
def work(tmp_path: Path) -> JobWork:
    """Averaging over 5 shards of real rows in a file."""
    y = np.random.default_rng(0).normal(size=200) * 1e3
    manifest = manifest_of(write_rows(tmp_path, y.tolist()), N_SHARDS)
    return JobWork(
        step=Step.TRAIN,
        algorithm=Averaging(),
        n_shards=N_SHARDS,
        source_key="data",
        preparation_key="how",
        manifest=manifest,
        split=SPLIT,
        preparation=Preparation(SPLIT, "float64", None, (), (), ()),
        plans={plan.index: plan for plan in manifest.shards},
    )


@pytest.fixture
def store() -> ShardStore:
    return ShardStore(1 << 20)


def answering(work: JobWork, *answer: float, dtype: str = "float64") -> JobWork:
    algorithm: Algorithm[object] = Answering(answer=answer, dtype=dtype)  # type: ignore[assignment]
    return replace(work, algorithm=algorithm)


def querying(work: JobWork) -> JobWork:
    """The same rows, asked who is near."""
    return replace(work, step=Step.QUERY, algorithm=build("neighbors", {"serve": "cluster"}))


def shard_of(work: JobWork, index: int) -> Shard:
    return prepare(read_shard(work.manifest, index), work.preparation)


@pytest.mark.parametrize("node", [Range(0, 5), Range(0, 3), Range(3, 5), Range(4, 5)])
def test_training_sums_what_the_algorithm_maps(work: JobWork, store: ShardStore, node: Range) -> None:
    computed = work.compute(node, MEAN, store)
    expected = fold(node, lambda i: work.algorithm.map(shard_of(work, i), MEAN), sum_tensors)
    assert sha256(computed.partial) == sha256(expected)
    assert computed.rows == sum(len(shard_of(work, i).train) for i in range(*node))


def test_a_profile_looks_at_every_raw_row(work: JobWork, store: ShardStore) -> None:
    computed = replace(work, step=Step.PROFILE).compute(Range(0, 5), {}, store)
    expected = fold(Range(0, 5), lambda i: profile_shard(read_shard(work.manifest, i), SPLIT), merge_profiles)
    assert sha256(computed.partial) == sha256(expected)
    assert computed.rows == computed.partial["rows"].sum() == 200


@pytest.mark.parametrize("step", list(Step))
def test_a_range_is_loaded_once_every_shard_of_it_is_there_in_the_form_of_the_step(
    work: JobWork, store: ShardStore, step: Step
) -> None:
    message: Tensors = {"mean": np.array(0.5)} if step is Step.ASSESS else MEAN
    here = replace(work, step=step)
    if step is Step.QUERY:
        here, message = querying(work), QUERY
    here.compute(Range(1, 3), message, store)
    loaded = [
        node for node in (Range(1, 2), Range(1, 3), Range(0, 3), Range(2, 4)) if here.is_loaded(node, store)
    ]
    assert loaded == [Range(1, 2), Range(1, 3)]
    other = Step.TRAIN if step is Step.PROFILE else Step.PROFILE
    assert not replace(work, step=other).is_loaded(Range(1, 2), store)


def test_a_query_is_answered_by_the_train_rows(work: JobWork, store: ShardStore) -> None:
    computed = querying(work).compute(Range(0, 5), QUERY, store)
    train = [shard_of(work, i).train for i in range(5)]
    X, ids = np.concatenate([rows.X for rows in train]), np.concatenate([rows.positions for rows in train])
    nearest = np.argsort(np.abs(X[:, 0] - 0.5), kind="stable")[:3]
    assert computed.partial["ids"].tolist() == [ids[nearest].tolist()]
    assert computed.rows == len(X) < 200


def test_assessing_looks_at_the_held_out_rows_alone(work: JobWork, store: ShardStore) -> None:
    solution: Tensors = {"mean": np.array(0.5)}
    computed = replace(work, step=Step.ASSESS).compute(Range(0, 5), solution, store)
    held_out = np.concatenate([shard_of(work, i).test.y for i in range(5)])
    assert computed.rows == len(held_out) > 20
    np.testing.assert_allclose(computed.partial["squares"], ((held_out - 0.5) ** 2).sum())


def test_the_time_to_load_is_told_apart_from_the_time_to_compute(work: JobWork, store: ShardStore) -> None:
    seconds = itertools.count()
    computed = work.compute(Range(0, 2 + 1), MEAN, store, clock=lambda: float(next(seconds)))
    assert computed.load_s == 3.0
    assert computed.compute_s == 4.0


@pytest.mark.parametrize("bad", [(np.nan,), (np.inf,), (-np.inf, 1.0), (np.inf, -np.inf), (1.0, np.nan, 2.0)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_partial_that_is_not_finite_is_refused(
    work: JobWork, store: ShardStore, bad: tuple[float, ...], dtype: str
) -> None:
    with pytest.raises(NonFinite, match="the partial of shards 4 holds NaN or Inf in 'sums'"):
        answering(work, *bad, dtype=dtype).compute(Range(4, 5), MEAN, store)


def test_huge_numbers_are_finite_even_where_their_sum_is_not(work: JobWork, store: ShardStore) -> None:
    computed = answering(work, 1.7e308, 1.7e308).compute(Range(4, 5), MEAN, store)
    assert computed.partial["sums"].tolist() == [1.7e308, 1.7e308]


def test_a_profile_is_let_through_for_it_is_what_says_what_is_wrong(
    tmp_path: Path, work: JobWork, store: ShardStore
) -> None:
    path = tmp_path / "huge.csv"
    path.write_text("x,y\n1e200,1\n-1e200,nan\n1e200,inf\n", encoding="utf-8")
    manifest = manifest_of(path, 1)
    profiling = replace(
        work,
        step=Step.PROFILE,
        manifest=manifest,
        plans={0: manifest.shards[0]},
        source_key="huge",
        split=Split(),
    )
    profile = profiling.compute(Range(0, 1), {}, store).partial
    assert profile["bad_cells"][:2, 1].tolist() == [1, 1], "a missing and an infinite target"
    assert np.isinf(profile["m2"]).all(), "the squares overflow"

"""The contract of every algorithm: partials over rows, whatever the shards, and a pure loop around them.

The cases of each algorithm are in ``cases``; what is true of one family alone is tested beside it.
"""

import copy
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders.files import through_a_file
from gradloom.algorithms import names
from gradloom.canonical import Range, fold
from gradloom.data.preparation import row_parts
from gradloom.data.shard import Shard
from gradloom.models import model_from_bytes
from gradloom.saved import Saved
from gradloom.tensors import sha256, sum_tensors
from tests.unit.algorithms.case import Case, World, assert_close, cast, part, whole_of
from tests.unit.algorithms.training import schema_of, train

FILES = sorted((Path(__file__).parent / "cases").glob("*.py"))
CASES: list[Case] = [
    case for file in FILES for case in import_module(f"tests.unit.algorithms.cases.{file.stem}").CASES
]

HOLDINGS = ([[0, 1, 2, 3], [4, 5, 6]], [[0, 2, 4, 6], [1, 3, 5]], [[i] for i in range(7)])
"""Of 7 shards: on two workers, on two that take turns, on seven."""


def of(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=str)


every_case = of(CASES)
every_sum = of([case for case in CASES if case.sums])
every_full_pass = of([case for case in CASES if case.full_pass and case.sums])


def test_every_algorithm_has_a_case() -> None:
    assert {case.algorithm for case in CASES} == set(names())


@every_full_pass
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
def test_the_sum_of_the_shards_is_the_whole(case: Case, weighted: bool) -> None:
    world = World(case, weighted=weighted)
    digits = 1e-11 if world.algorithm.needs.dtype == "float64" else 2e-6
    whole = world.algorithm.map(whole_of(world.shards), world.message)
    assert_close(world.total(world.shards), whole, digits)


@every_full_pass
def test_shards_of_one_row(case: Case) -> None:
    world = World(case)
    shard = world.shards[2]
    none = part(shard.train, slice(0, 0))
    rows = [Shard(2, part(shard.train, slice(i, i + 1)), none, none) for i in range(len(shard.train))]
    rows.append(Shard(2, none, shard.validation, none))
    assert_close(world.total(rows), world.algorithm.map(shard, world.message), 2e-6)


@every_case
def test_a_shard_without_rows_adds_nothing(case: Case) -> None:
    world = World(case)
    none = part(world.shards[0].train, slice(0, 0))
    empty = world.algorithm.map(Shard(9, none, none, none), world.message)
    some = world.algorithm.map(world.shards[0], world.message)
    if case.sums:
        assert all(not np.any(tensor) for tensor in empty.values())
    assert sha256(world.algorithm.merge(some, empty)) == sha256(some)
    assert sha256(world.algorithm.merge(empty, some)) == sha256(some)


@every_full_pass
def test_the_order_of_rows_does_not_matter_but_for_rounding(case: Case) -> None:
    world = World(case)
    shard = world.shards[-1]
    order = np.random.default_rng(1).permutation(len(shard.train))
    shuffled = Shard(shard.index, part(shard.train, order), shard.validation, shard.test)
    assert_close(
        world.algorithm.map(shuffled, world.message), world.algorithm.map(shard, world.message), 2e-6
    )


@every_sum
def test_the_order_of_shards_does_not_matter_but_for_rounding(case: Case) -> None:
    world = World(case)
    assert_close(world.total(world.shards[::-1]), world.total(world.shards), 1e-11)


@every_sum
def test_sums_are_float64_and_commutative_to_the_bit(case: Case) -> None:
    world = World(case)
    a, b = (world.algorithm.map(shard, world.message) for shard in world.shards[:2])
    assert {tensor.dtype for tensor in a.values()} == {np.dtype("float64")}
    assert world.algorithm.merge is sum_tensors  # large partials may be added chunk by chunk
    assert sha256(world.algorithm.merge(a, b)) == sha256(world.algorithm.merge(b, a))


@every_case
def test_merge_is_associative_up_to_rounding(case: Case) -> None:
    world = World(case)
    a, b, c = (world.algorithm.map(shard, world.message) for shard in world.shards[:3])
    merge = world.algorithm.merge
    assert_close(merge(merge(a, b), c), merge(a, merge(b, c)), 1e-13)


@every_case
def test_what_is_sent_can_be_sent(case: Case) -> None:
    world = World(case)
    needs = world.algorithm.needs
    message, partial = world.message, world.algorithm.map(world.shards[0], world.message)
    allowed = {np.dtype(name) for name in ("float32", "float64", "int64", "uint8")}
    for tensors in (message, partial, world.algorithm.solution(world.state)):
        assert {tensor.dtype for tensor in tensors.values()} <= allowed
    assert set(needs.gradients) <= set(partial)
    assert set(needs.parameters) <= set(message)


@every_case
def test_map_is_pure(case: Case) -> None:
    world = World(case, weighted=case.weighted)
    shard, message = world.shards[3], world.message
    before = copy.deepcopy((shard, dict(message)))
    first, second = (sha256(world.algorithm.map(shard, message)) for _ in range(2))
    assert first == second
    assert sha256(message) == sha256(before[1])
    for kept, copied in ((shard.train, before[0].train), (shard.validation, before[0].validation)):
        np.testing.assert_array_equal(kept.X, copied.X)
        np.testing.assert_array_equal(kept.y, copied.y)


@of([case for case in CASES if case.sums and case.float32_digits])
def test_float32_rows_give_nearly_the_sums_of_float64_rows(case: Case) -> None:
    world = World(case)
    totals = [world.total([cast(s, dtype) for s in world.shards]) for dtype in ("float32", "float64")]
    assert_close(*totals, case.float32_digits)


@every_case
def test_the_state_is_a_frozen_value_and_update_leaves_the_old_one_alone(case: Case) -> None:
    world = World(case)
    old, kept = world.state, copy.deepcopy(world.state)
    again = [world.algorithm.update(old, world.total(world.shards)) for _ in range(2)]
    assert is_dataclass(type(old))
    with pytest.raises((AttributeError, TypeError)):
        setattr(old, fields(old)[0].name, 99)
    assert content(old) == content(kept)
    assert content(again[0]) == content(again[1]) != content(old)


@every_case
def test_a_state_that_is_saved_and_restored_in_every_round_leads_to_the_same_bits(case: Case) -> None:
    world, undisturbed = (World(case, rounds=0) for _ in range(2))
    for round_ in range(25):
        saved = through_a_file(world.algorithm.save(world.state))
        world.state = case.build().restore(world.schema, saved)
        assert content(world.state) == content(undisturbed.state), f"round {round_}"
        if world.algorithm.done(world.state):
            break
        for one in (world, undisturbed):
            one.step()
    assert world.algorithm.progress(world.state) == undisturbed.algorithm.progress(undisturbed.state)
    models = [one.algorithm.finish(one.state).parameters_sha256 for one in (world, undisturbed)]
    assert models[0] == models[1]


@every_case
def test_what_is_no_saved_state_is_refused(case: Case) -> None:
    world = World(case)
    with pytest.raises(ValueError, match="missing"):
        world.algorithm.restore(world.schema, Saved({}, {}))


@every_case
def test_progress_counts_the_rounds_from_none(case: Case) -> None:
    world = World(case, rounds=0)
    assert world.algorithm.done(world.state) is None
    for round_ in range(case.rounds):
        progress = world.algorithm.progress(world.state)
        assert progress.iteration == round_ <= progress.max_iterations
        world.step()
    loss = world.algorithm.progress(world.state).loss
    assert loss is None or np.isfinite(loss)


@every_case
def test_the_model_has_the_same_bits_however_shards_lie_on_workers(case: Case) -> None:
    data, algorithm = World(case, rounds=0).data, case.build()
    expected = train(algorithm, data, n_shards=7, at_most=12)
    for holdings in HOLDINGS:
        found = train(algorithm, data, n_shards=7, holdings=holdings, at_most=12)
        assert found.parameters_sha256 == expected.parameters_sha256, holdings


@every_case
def test_the_model_scores_rows_as_assess_does(case: Case) -> None:
    world = World(case)
    algorithm, solution = world.algorithm, world.algorithm.solution(world.state)
    total = fold(Range(0, 6), lambda i: algorithm.assess(world.shards[i].train, solution), sum_tensors)
    held = schema_of(world.data, algorithm.needs)
    train_rows = row_parts(held.preparation.split, 0, len(world.data.X)) == 0
    model = algorithm.finish(world.state)
    expected = model.scores(world.data.X[train_rows], world.data.y[train_rows])
    scores = algorithm.scores(total)
    assert scores.keys() == expected.keys()
    for score, value in scores.items():
        assert value == pytest.approx(expected[score], rel=case.assess_digits, abs=case.assess_digits)
    none = part(world.shards[0].train, slice(0, 0))
    assert algorithm.scores(algorithm.assess(none, solution)) == {}


@every_case
def test_the_model_comes_back_from_its_file_to_the_bit(case: Case) -> None:
    world = World(case)
    model = world.algorithm.finish(world.state)
    back = model_from_bytes(model.to_bytes())
    assert type(back) is type(model)
    assert back.to_bytes() == model.to_bytes()
    np.testing.assert_array_equal(back.predict(world.data.X), model.predict(world.data.X))


def content(value: Any) -> Any:
    """A state as nested tuples and bytes, which compare."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if is_dataclass(value):
        return type(value).__name__, tuple(content(getattr(value, f.name)) for f in fields(value))
    return tuple(content(v) for v in value) if isinstance(value, tuple) else value

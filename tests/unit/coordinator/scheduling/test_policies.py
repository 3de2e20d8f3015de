"""One contract for every placement policy, and what each one promises beyond it."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradloom.errors import InvalidInput
from gradloom_coordinator.scheduling.policies import (
    DEFAULT_POLICY,
    POLICIES,
    Candidate,
    Placement,
    Policy,
    policy_named,
)
from gradloom_coordinator.scheduling.policies.balanced import balanced
from gradloom_coordinator.scheduling.policies.local import local
from gradloom_coordinator.scheduling.policies.placement import assumed_speeds
from gradloom_coordinator.scheduling.policies.random import random
from gradloom_coordinator.scheduling.policies.round_robin import round_robin

every_policy = pytest.mark.parametrize("policy", list(POLICIES.values()), ids=list(POLICIES))
speeds = st.just(0.0) | st.floats(1e-3, 1e9)
job_rows = st.lists(st.integers(0, 10**6), min_size=1, max_size=60)


def workers(*rows_per_second: float) -> list[Candidate]:
    return [Candidate(f"w{i}", speed) for i, speed in enumerate(rows_per_second)]


def again(placement: Placement, candidates: list[Candidate]) -> list[Candidate]:
    """The same workers in a later round: they hold what was placed on them."""
    had = {each.worker: placement.shards.get(each.worker, ()) for each in candidates}
    return [
        Candidate(each.worker, each.rows_per_second, had[each.worker], frozenset(had[each.worker]))
        for each in candidates
    ]


def moved(before: Placement, after: Placement) -> set[int]:
    owner = {i: name for name, part in before.shards.items() for i in part}
    return {i for name, part in after.shards.items() for i in part if owner[i] != name}


@st.composite
def clusters(draw: st.DrawFn) -> tuple[list[int], list[Candidate]]:
    """Rows of some shards, and workers of which some had and hold some of them."""
    rows = draw(job_rows)
    names = [f"w{i}" for i in range(draw(st.integers(1, 12)))]
    owners = draw(st.lists(st.sampled_from([*names, ""]), min_size=len(rows), max_size=len(rows)))
    shards = st.frozensets(st.integers(0, len(rows) - 1))
    return rows, [
        Candidate(name, draw(speeds), tuple(i for i, o in enumerate(owners) if o == name), draw(shards))
        for name in names
    ]


# ---- the contract


@every_policy
@given(cluster=clusters(), seed=st.integers(0, 2**32))
def test_every_shard_is_placed_exactly_once_and_always_the_same_way(
    policy: Policy, cluster: tuple[list[int], list[Candidate]], seed: int
) -> None:
    rows, candidates = cluster
    placement = policy(rows, candidates, seed)
    placed = [i for part in placement.shards.values() for i in part]
    assert sorted(placed) == list(range(len(rows)))
    assert set(placement.shards) <= {each.worker for each in candidates}
    assert all(part == tuple(sorted(part)) and part for part in placement.shards.values())
    assert placement.reason
    once_more = policy(tuple(rows), tuple(candidates), seed)
    assert once_more == placement
    assert list(once_more.shards) == list(placement.shards)


@every_policy
def test_one_worker_gets_everything(policy: Policy) -> None:
    assert policy([10] * 5, workers(3.0), 7).shards == {"w0": (0, 1, 2, 3, 4)}


@every_policy
def test_shards_of_no_rows_are_placed_too(policy: Policy) -> None:
    placed = policy([0] * 4, workers(1.0, 2.0), 0).shards.values()
    assert sorted(i for part in placed for i in part) == [0, 1, 2, 3]


@every_policy
def test_the_reason_says_how_many_shards_and_workers(policy: Policy) -> None:
    reason = policy([10] * 4, workers(0.0, 0.0), 0).reason
    assert "4 shards" in reason
    assert "2 workers" in reason


@pytest.mark.parametrize("policy", [balanced, local, round_robin])
def test_of_more_workers_than_shards_each_gets_at_most_one(policy: Policy) -> None:
    placement = policy([10] * 3, workers(*[0.0] * 8), 0)
    assert sorted(placement.shards.values()) == [(0,), (1,), (2,)]


def test_every_pair_of_policies_differs() -> None:
    candidates = [Candidate("w0", 1.0, (), frozenset(range(8))), Candidate("w1", 1.0)]
    plans = [policy([1] * 8, candidates, 2).shards for policy in POLICIES.values()]
    assert all(one != other for one, other in itertools.combinations(plans, 2))


def test_policies_have_names_and_a_wrong_one_is_refused_with_a_hint() -> None:
    assert policy_named("") == DEFAULT_POLICY == "balanced"
    assert all(policy_named(name) == name for name in POLICIES)
    with pytest.raises(InvalidInput, match=r"'balancd' is not known; allowed: .* Did you mean 'balanced'\?"):
        policy_named("balancd")


# ---- balanced: the first placement


@given(rows=job_rows, speed=st.lists(speeds, min_size=1, max_size=12))
def test_balanced_keeps_neighbours_together_in_the_order_of_the_workers(
    rows: list[int], speed: list[float]
) -> None:
    placement = balanced(rows, workers(*speed))
    assert [i for part in placement.shards.values() for i in part] == list(range(len(rows)))
    names = [int(name[1:]) for name in placement.shards]
    assert names == sorted(names)


@given(
    n=st.integers(1, 200),
    rows=st.integers(1, 1000),
    speed=st.lists(st.floats(10.0, 100.0), min_size=1, max_size=8),
)
def test_balanced_gives_each_the_rows_that_its_speed_deserves(n: int, rows: int, speed: list[float]) -> None:
    placement = balanced([rows] * n, workers(*speed))
    for worker in workers(*speed):
        deserved = n * worker.rows_per_second / sum(speed)
        assert abs(len(placement.shards.get(worker.worker, ())) - deserved) <= 1 + 1e-6, "off by one shard"


def test_balanced_starves_nobody_over_one_bad_measurement() -> None:
    placement = balanced([1] * 110, workers(1e9, 1e-9))
    assert [len(placement.shards[name]) for name in ("w0", "w1")] == [100, 10]


def test_balanced_weighs_shards_by_their_rows() -> None:
    placement = balanced([300, 100, 100, 100], workers(0.0, 0.0))
    assert placement.shards == {"w0": (0,), "w1": (1, 2, 3)}


def test_balanced_says_whether_speeds_mattered() -> None:
    even, uneven = balanced([10] * 4, workers(0, 0)), balanced([10] * 4, workers(3, 1))
    assert even.reason == "4 shards over 2 workers in equal shares"
    assert uneven.reason == "4 shards over 2 workers by measured rows per second"
    assert uneven.shards == {"w0": (0, 1, 2), "w1": (3,)}


def test_an_unmeasured_worker_counts_as_the_mean_of_the_measured() -> None:
    assert assumed_speeds(workers(2.0, 0.0, 4.0)) == [2.0, 3.0, 4.0]
    assert assumed_speeds(workers(0.0, 0.0)) == [1.0, 1.0]


# ---- balanced: what it had a worker keeps


def test_balanced_moves_nothing_while_nothing_changes() -> None:
    first = balanced([10] * 24, workers(1, 2, 3))
    assert balanced([10] * 24, again(first, workers(1, 2, 3))).shards == first.shards


def test_of_a_lost_worker_the_shards_move_and_no_others() -> None:
    candidates = workers(1, 1, 1, 1)
    first = balanced([10] * 24, candidates)
    left = [each for each in again(first, candidates) if each.worker != "w1"]
    second = balanced([10] * 24, left)
    assert moved(first, second) == set(first.shards["w1"])
    assert [len(part) for part in second.shards.values()] == [8, 8, 8]


def test_a_newcomer_gets_its_share_and_nothing_else_moves() -> None:
    first = balanced([10] * 24, workers(1, 1, 1))
    second = balanced([10] * 24, [*again(first, workers(1, 1, 1)), Candidate("new", 1)])
    assert len(second.shards["new"]) == 6
    assert moved(first, second) == set(second.shards["new"])


def test_a_slow_worker_keeps_a_part_of_what_it_had() -> None:
    first = balanced([10] * 20, workers(1, 1))
    second = balanced([10] * 20, again(first, workers(1, 4)))
    assert [len(second.shards[name]) for name in ("w0", "w1")] == [4, 16]
    assert moved(first, second) <= set(first.shards["w0"])


def test_what_moves_goes_to_those_that_hold_it() -> None:
    candidates = [
        Candidate("w0", 1, (0, 1, 2, 3), frozenset({0, 1, 2, 3})),
        Candidate("w1", 1, (4, 5), frozenset({4, 5})),
        Candidate("w2", 1, (), frozenset({6, 7})),
    ]
    placement = balanced([10] * 8, candidates)
    assert set(placement.shards["w0"]) < {0, 1, 2, 3}, "one that it has too many of"
    assert set(placement.shards["w2"]) >= {6, 7}


@given(cluster=clusters())
def test_balanced_never_gives_much_more_than_the_speeds_deserve(
    cluster: tuple[list[int], list[Candidate]],
) -> None:
    rows, candidates = cluster
    placement = balanced(rows, candidates)
    speed = assumed_speeds(candidates)
    for worker, own in zip(candidates, speed, strict=True):
        has = sum(rows[i] for i in placement.shards.get(worker.worker, ()))
        assert has <= sum(rows) * own / sum(speed) + 1.5 * max(rows) + 1e-6


# ---- the others


def test_round_robin_deals_like_cards_whatever_the_speeds() -> None:
    placement = round_robin([1] * 5, workers(1.0, 1e6))
    assert placement.shards == {"w0": (0, 2, 4), "w1": (1, 3)}
    assert placement.reason == "5 shards dealt in turn to 2 workers"


def test_random_draws_lots_that_the_seed_decides() -> None:
    lots = [random([1] * 1000, workers(*[1.0] * 4), seed) for seed in (1, 2)]
    assert lots[0].shards != lots[1].shards
    assert all(200 < len(part) < 300 for lot in lots for part in lot.shards.values()), "even, more or less"


def test_local_loads_nothing_twice_however_slow_the_holder() -> None:
    candidates = [
        Candidate("slow", 1, (0, 1), frozenset({0, 1, 2})),
        Candidate("swift", 1000, (), frozenset({2, 3})),
        Candidate("new", 1000),
    ]
    placement = local([10] * 6, candidates)
    assert placement.shards["slow"] == (0, 1)
    assert set(placement.shards["swift"]) >= {2, 3}, "of two that hold it the one with less to do"
    assert 4 in placement.shards["swift"] + placement.shards["new"]
    assert placement.reason == "6 shards to the 3 workers that have them cached"


def test_local_begins_as_balanced_does() -> None:
    assert local([10] * 9, workers(1, 2)).shards == balanced([10] * 9, workers(1, 2)).shards

"""One contract for every placement policy, and what each one promises beyond it."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradloom.errors import InvalidInput
from gradloom_coordinator.policies import DEFAULT_POLICY, POLICIES, Policy, WorkerSpeed, policy_named
from gradloom_coordinator.policies.balanced import balanced
from gradloom_coordinator.policies.placement import assumed_speeds
from gradloom_coordinator.policies.round_robin import round_robin

every_policy = pytest.mark.parametrize("policy", list(POLICIES.values()), ids=list(POLICIES))
speeds = st.just(0.0) | st.floats(1e-3, 1e9)
job_rows = st.lists(st.integers(0, 10**6), min_size=1, max_size=60)


def workers(*rows_per_second: float) -> list[WorkerSpeed]:
    return [WorkerSpeed(f"w{i}", speed) for i, speed in enumerate(rows_per_second)]


@every_policy
@given(rows=job_rows, speed=st.lists(speeds, min_size=1, max_size=12), data=st.data())
def test_every_shard_is_placed_exactly_once_and_always_the_same_way(
    policy: Policy, rows: list[int], speed: list[float], data: st.DataObject
) -> None:
    shards = sorted(data.draw(st.sets(st.integers(0, len(rows) - 1), min_size=1)))
    placement = policy(shards, rows, workers(*speed))
    placed = [i for part in placement.shards.values() for i in part]
    assert sorted(placed) == shards
    assert set(placement.shards) <= {worker.worker for worker in workers(*speed)}
    assert all(part == tuple(sorted(part)) and part for part in placement.shards.values())
    assert placement.reason
    again = policy(shards, dict(enumerate(rows)), workers(*speed))
    assert again == placement
    assert list(again.shards) == list(placement.shards)


@every_policy
def test_one_worker_gets_everything(policy: Policy) -> None:
    assert policy(range(5), [10] * 5, workers(3.0)).shards == {"w0": (0, 1, 2, 3, 4)}


@every_policy
def test_of_more_workers_than_shards_each_gets_at_most_one(policy: Policy) -> None:
    placement = policy(range(3), [10] * 3, workers(*[0.0] * 8))
    assert sorted(placement.shards.values()) == [(0,), (1,), (2,)]


@every_policy
def test_shards_of_no_rows_are_placed_too(policy: Policy) -> None:
    placed = policy(range(4), [0] * 4, workers(1.0, 2.0)).shards.values()
    assert sorted(i for part in placed for i in part) == [0, 1, 2, 3]


@given(rows=job_rows, speed=st.lists(speeds, min_size=1, max_size=12))
def test_balanced_keeps_neighbours_together_in_the_order_of_the_workers(
    rows: list[int], speed: list[float]
) -> None:
    placement = balanced(range(len(rows)), rows, workers(*speed))
    assert [i for part in placement.shards.values() for i in part] == list(range(len(rows)))
    names = [int(name[1:]) for name in placement.shards]
    assert names == sorted(names)


@given(
    n=st.integers(1, 200),
    rows=st.integers(1, 1000),
    speed=st.lists(st.floats(10.0, 100.0), min_size=1, max_size=8),
)
def test_balanced_gives_each_the_rows_that_its_speed_deserves(n: int, rows: int, speed: list[float]) -> None:
    placement = balanced(range(n), [rows] * n, workers(*speed))
    for worker in workers(*speed):
        deserved = n * worker.rows_per_second / sum(speed)
        assert abs(len(placement.shards.get(worker.worker, ())) - deserved) <= 1 + 1e-6, "off by one shard"


def test_balanced_starves_nobody_over_one_bad_measurement() -> None:
    placement = balanced(range(110), [1] * 110, workers(1e9, 1e-9))
    assert [len(placement.shards[name]) for name in ("w0", "w1")] == [100, 10]


def test_balanced_weighs_shards_by_their_rows() -> None:
    placement = balanced(range(4), [300, 100, 100, 100], workers(0.0, 0.0))
    assert placement.shards == {"w0": (0,), "w1": (1, 2, 3)}


def test_balanced_says_whether_speeds_mattered() -> None:
    rows = [10] * 4
    even, uneven = balanced(range(4), rows, workers(0, 0)), balanced(range(4), rows, workers(3, 1))
    assert even.reason == "4 shards over 2 workers in equal shares"
    assert uneven.reason == "4 shards over 2 workers by measured rows per second"
    assert uneven.shards == {"w0": (0, 1, 2), "w1": (3,)}


def test_round_robin_deals_like_cards_whatever_the_speeds() -> None:
    placement = round_robin([2, 5, 6, 9], [1] * 10, workers(1.0, 1e6))
    assert placement.shards == {"w0": (2, 6), "w1": (5, 9)}
    assert placement.reason == "4 shards dealt in turn to 2 workers"


def test_an_unmeasured_worker_counts_as_the_mean_of_the_measured() -> None:
    assert assumed_speeds(workers(2.0, 0.0, 4.0)) == [2.0, 3.0, 4.0]
    assert assumed_speeds(workers(0.0, 0.0)) == [1.0, 1.0]


def test_policies_have_names_and_a_wrong_one_is_refused_with_a_hint() -> None:
    assert policy_named("") == DEFAULT_POLICY == "balanced"
    assert all(policy_named(name) == name for name in POLICIES)
    with pytest.raises(InvalidInput, match=r"'balancd' is not known; allowed: .* Did you mean 'balanced'\?"):
        policy_named("balancd")


def test_every_pair_of_policies_differs() -> None:
    plans = [policy(range(8), [1] * 8, workers(1, 1)).shards for policy in POLICIES.values()]
    assert all(one != other for one, other in itertools.combinations(plans, 2))

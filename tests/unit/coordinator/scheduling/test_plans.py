"""Shares are cut into chunks that are worth their handling, and move only when that pays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradloom.canonical import Range, path_to
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.plans import UNKNOWN_CHUNKS, cut, pays_to_move, ring
from gradloom_coordinator.scheduling.policies import Placement

LIMITS = Limits(
    max_chunks=16,
    chunk_min_s=0.02,
    max_send_share=1 / 16,
    replace_gain=1.25,
    replace_min_gain_s=0.05,
    replace_every_rounds=10,
)


def ranges(
    shards: range, n_shards: int, seconds_per_row: float, send_s: float = 0.0, rows: int = 100
) -> list[Range]:
    """The chunks of a share of equal shards."""
    before = [rows * i for i in range(n_shards + 1)]
    return [order.range for order in cut(shards, before, seconds_per_row, send_s, LIMITS)]


@given(
    rows=st.lists(st.integers(0, 1000), min_size=1, max_size=100),
    pace=st.just(0.0) | st.floats(1e-9, 1.0),
    send_s=st.floats(0.0, 10.0),
    data=st.data(),
)
def test_chunks_are_nodes_of_the_tree_that_cover_the_share_once(
    rows: list[int], pace: float, send_s: float, data: st.DataObject
) -> None:
    share = sorted(data.draw(st.sets(st.integers(0, len(rows) - 1), min_size=1)))
    before = [sum(rows[:i]) for i in range(len(rows) + 1)]
    orders = cut(share, before, pace, send_s, LIMITS)
    assert [i for order in orders for i in range(*order.range)] == share
    assert all(order.range in path_to(order.range, len(rows)) for order in orders)
    assert all(order.attempt == 1 for order in orders)


def test_a_share_of_many_small_shards_is_cut_into_eight_to_sixteen_chunks() -> None:
    for shards in (64, 100, 128, 200, 1000):
        chunks = ranges(range(shards), shards, seconds_per_row=0.01)
        assert 8 <= len(chunks) <= 2 * 16, shards
    assert len(ranges(range(64), 64, seconds_per_row=0.01)) == 16


def test_no_chunk_is_cut_so_small_that_it_takes_less_than_20_ms() -> None:
    """Of 64 shards of 1 ms each, 16 make a chunk: 8 would take 8 ms."""
    chunks = ranges(range(64), 64, seconds_per_row=1e-5)
    assert [chunk.size for chunk in chunks] == [16] * 4


def test_a_share_that_takes_no_time_is_one_chunk() -> None:
    assert ranges(range(64), 64, seconds_per_row=1e-9) == [Range(0, 64)]


def test_big_partials_make_big_chunks() -> None:
    """A shard takes 10 ms; sending a partial takes 10 ms too, and shall be a sixteenth of a chunk."""
    assert {c.size for c in ranges(range(64), 64, 1e-4)} == {4}
    assert {c.size for c in ranges(range(64), 64, 1e-4, send_s=0.01)} == {16}
    assert {c.size for c in ranges(range(64), 64, 1e-4, send_s=1.0)} == {64}


def test_a_shard_is_never_parted_however_long_it_takes() -> None:
    assert [c.size for c in ranges(range(4), 4, seconds_per_row=60.0)] == [1] * 4


def test_while_nobody_knows_how_long_a_row_takes_a_share_is_cut_in_four() -> None:
    assert len(ranges(range(64), 64, seconds_per_row=0.0)) == UNKNOWN_CHUNKS == 4


def test_a_share_that_is_no_node_is_cut_along_the_tree() -> None:
    assert ranges(range(3, 8), 8, seconds_per_row=1e-9) == [Range(3, 4), Range(4, 8)]


def test_shards_of_no_rows_are_in_chunks_too() -> None:
    assert ranges(range(8), 8, seconds_per_row=0.01, rows=0) == [Range(0, 8)]


def test_each_helps_the_one_before_it() -> None:
    assert ring(["a", "b", "c"]) == {"a": "c", "b": "a", "c": "b"}
    assert ring(["a"]) == {}


# ---- moving

ROWS = [100] * 8
EVEN = Placement({"slow": (0, 1, 2, 3), "swift": (4, 5, 6, 7)}, "")
BY_SPEED = Placement({"slow": (0, 1), "swift": (2, 3, 4, 5, 6, 7)}, "")


@pytest.mark.parametrize(
    ("speeds", "load_s_per_row", "pays", "says"),
    [
        ((100.0, 300.0), 0.0, True, "rounds of 2 s instead of 4 s, loading takes 0 s"),
        ((100.0, 300.0), 0.09, True, "rounds of 2 s instead of 4 s, loading takes 18 s"),
        ((100.0, 300.0), 0.11, False, "loading would cost more than it gains: rounds of 2 s instead of 4 s"),
        ((100.0, 110.0), 0.0, False, "too little to gain"),
        ((1e5, 3e5), 0.0, False, "too little to gain: rounds of 0.002 s instead of 0.004 s"),
    ],
)
def test_moving_pays_when_ten_rounds_gain_more_than_loading_costs(
    speeds: tuple[float, float], load_s_per_row: float, pays: bool, says: str
) -> None:
    by_name = dict(zip(("slow", "swift"), speeds, strict=True))
    move = pays_to_move(LIMITS, ROWS, EVEN, BY_SPEED, by_name, load_s_per_row)
    assert move.pays is pays
    assert says in move.reason


def test_staying_never_pays() -> None:
    assert not pays_to_move(LIMITS, ROWS, EVEN, EVEN, {"slow": 1.0, "swift": 9.0}, 0.0).pays

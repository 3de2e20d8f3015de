"""The canonical sum: one tree, one order of additions, every shard once, whatever arrives when."""

import random
from itertools import pairwise
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradloom.canonical import CanonicalSum, Range, cover, fold, path_to, runs

Vector = np.ndarray[tuple[int], np.dtype[np.float32]]
n_shards = st.integers(1, 70)


def concatenate(left: str, right: str) -> str:
    return f"({left} {right})"


def every_node(n: int) -> list[Range]:
    found, todo = [], [Range(0, n)]
    while todo:
        node = todo.pop()
        found.append(node)
        todo += node.children() if node.size > 1 else ()
    return found


@st.composite
def shards_of_a_job(draw: st.DrawFn) -> tuple[int, set[int]]:
    n = draw(n_shards)
    return n, draw(st.sets(st.integers(0, n - 1)))


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[int, list[Range]]:
    """A job's shards dealt to workers in any way, as nodes that arrive in any order."""
    n = draw(n_shards)
    owners = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    nodes = [node for w in set(owners) for node in cover((i for i in range(n) if owners[i] == w), n)]
    return n, draw(st.permutations(nodes))


def test_five_shards_make_one_fixed_tree() -> None:
    assert fold(Range(0, 5), str, concatenate) == "(((0 1) 2) (3 4))"


def test_a_range_reads_as_people_write_it() -> None:
    assert [str(Range(4, 5)), str(Range(4, 8))] == ["4", "4-7"]


def test_the_path_leads_from_the_root_through_ever_smaller_nodes() -> None:
    assert list(path_to(Range(2, 3), 5)) == [Range(0, 5), Range(0, 3), Range(2, 3)]
    assert list(path_to(Range(0, 1), 1)) == [Range(0, 1)]


@pytest.mark.parametrize(
    "foreign", [Range(1, 3), Range(0, 4), Range(3, 6), Range(-1, 0), Range(5, 6), Range(2, 2), Range(4, 1)]
)
def test_a_range_that_is_no_node_has_no_path(foreign: Range) -> None:
    with pytest.raises(ValueError, match="is not a node of the tree over 5 shards"):
        list(path_to(foreign, 5))


@given(n_shards)
def test_every_node_has_a_path_that_ends_with_it(n: int) -> None:
    nodes = every_node(n)
    assert len(nodes) == 2 * n - 1
    for node in nodes:
        path = list(path_to(node, n))
        assert (path[0], path[-1]) == (Range(0, n), node)
        assert all(lower in upper.children() for upper, lower in pairwise(path))


@given(shards_of_a_job())
def test_a_cover_holds_exactly_its_shards_in_the_fewest_nodes(job: tuple[int, set[int]]) -> None:
    n, shards = job
    nodes = cover(shards, n)
    assert [i for node in nodes for i in range(*node)] == sorted(shards)
    for node in nodes:  # were any parent within the shards too, it would do with one node less
        *_, parent, _ = (None, *path_to(node, n))
        assert parent is None or not set(range(*parent)) <= shards


def test_runs_are_the_stretches_of_neighbours() -> None:
    assert runs([7, 3, 2, 2, 4, 9]) == [Range(2, 5), Range(7, 8), Range(9, 10)]


@given(arrivals(), st.integers(0, 2**32 - 1))
def test_any_order_of_arrival_gives_the_bits_of_the_fold(job: tuple[int, list[Range]], seed: int) -> None:
    n, nodes = job
    leaves = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32) * np.float32(1e3)
    collected: CanonicalSum[Vector] = CanonicalSum(n, add)
    for node in nodes:
        assert not collected.complete
        assert collected.add(node, fold(node, leaves.__getitem__, add))
    assert collected.total().tobytes() == fold(Range(0, n), leaves.__getitem__, add).tobytes()


@given(arrivals(), st.randoms(use_true_random=False))
def test_every_shard_is_counted_once_whatever_is_sent_again(
    job: tuple[int, list[Range]], rng: random.Random
) -> None:
    n, nodes = job
    nodes = nodes + rng.choices(every_node(n), k=n)
    rng.shuffle(nodes)
    collected: CanonicalSum[int] = CanonicalSum(n, add)
    counted = [0] * n
    for node in [*nodes, *(Range(i, i + 1) for i in range(n))]:
        missing = not any(counted[slice(*node)])
        assert collected.add(node, node.size) is missing
        for i in range(*node) if missing else ():
            counted[i] += 1
    assert counted == [1] * n
    assert collected.total() == n


def test_duplicates_ancestors_and_parts_are_refused() -> None:
    collected: CanonicalSum[str] = CanonicalSum(4, concatenate)
    assert collected.add(Range(0, 2), "01")
    assert not collected.add(Range(0, 2), "again")
    assert not collected.add(Range(0, 4), "more than is missing")
    assert not collected.add(Range(1, 2), "a part of it")
    assert collected.add(Range(2, 4), "23")
    assert not collected.add(Range(3, 4), "too late")
    assert collected.total() == "(01 23)"


def test_a_node_may_take_the_place_of_its_parts_but_not_of_what_holds_it() -> None:
    collected: CanonicalSum[str] = CanonicalSum(8, concatenate)
    collected.add(Range(0, 2), "01")
    collected.add(Range(3, 4), "3")
    assert collected.replace(Range(0, 4), "0123")
    assert not collected.replace(Range(0, 4), "again")
    assert not collected.replace(Range(2, 4), "a part of it")
    assert collected.replace(Range(4, 8), "4567")
    assert collected.total() == "(0123 4567)"


@given(n_shards, st.data())
def test_replacing_in_any_order_ends_with_every_shard_once(n: int, data: st.DataObject) -> None:
    collected: CanonicalSum[int] = CanonicalSum(n, add)
    for node in data.draw(st.lists(st.sampled_from(every_node(n)), max_size=12)):
        collected.replace(node, node.size)
    for i in range(n):
        collected.add(Range(i, i + 1), 1)
    assert collected.total() == n


def test_a_range_that_is_no_node_is_refused_loudly() -> None:
    collected: CanonicalSum[int] = CanonicalSum(5, add)
    with pytest.raises(ValueError, match="not a node"):
        collected.add(Range(1, 3), 0)
    assert collected.add(Range(0, 5), 1), "the refused one has left no trace"


def test_an_incomplete_total_is_our_own_bug() -> None:
    collected: CanonicalSum[int] = CanonicalSum(3, add)
    collected.add(Range(2, 3), 1)
    assert not collected.complete
    with pytest.raises(AssertionError, match="1 nodes are still apart"):
        collected.total()

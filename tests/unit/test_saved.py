"""Frozen values taken apart and put together again: every kind of field, every odd number."""

from dataclasses import dataclass, field
from math import copysign, inf, nan, nextafter

import numpy as np
import pytest

from builders.files import through_a_file
from gradloom.saved import Saved, restore_value, save_value


@dataclass(frozen=True)
class Leaf:
    number: float
    word: str | None = None


@dataclass(frozen=True, eq=False)
class Tree:
    rows: np.ndarray
    leaves: tuple[Leaf, ...] = ()
    best: Leaf | None = None
    numbers: tuple[float, ...] = ()
    count: int = 0
    flag: bool = False
    spare: np.ndarray | None = None
    known: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Holder:
    parts: tuple[float, ...]


def round_trip(tree: Tree) -> Tree:
    return restore_value(Tree, through_a_file(save_value(tree, "known")), known=tree.known)


@pytest.mark.parametrize(
    "number", [0.1, -0.0, inf, -inf, nan, nextafter(1.0, 2.0), 5e-324, 1.7976931348623157e308]
)
def test_a_float_comes_back_to_the_bit(number: float) -> None:
    back = restore_value(Leaf, through_a_file(save_value(Leaf(number)))).number
    assert np.float64(back).tobytes() == np.float64(number).tobytes()
    assert copysign(1.0, back) == copysign(1.0, number)


def test_nested_values_tuples_and_arrays_come_back() -> None:
    tree = Tree(
        rows=np.arange(6.0).reshape(2, 3),
        leaves=(Leaf(1.5, "a"), Leaf(-2.0)),
        best=Leaf(inf, ""),
        numbers=(0.1, 0.2),
        count=7,
        flag=True,
        spare=np.zeros(0, dtype=np.int64),
        known=["not", "saved"],
    )
    back = round_trip(tree)
    np.testing.assert_array_equal(back.rows, tree.rows)
    assert back.spare is not None
    assert (back.spare.dtype, back.spare.shape) == (np.dtype(np.int64), (0,))
    assert (back.leaves, back.best, back.numbers) == (tree.leaves, tree.best, tree.numbers)
    assert (back.count, back.flag, back.known) == (7, True, tree.known)


def test_what_is_absent_stays_absent() -> None:
    back = round_trip(Tree(np.zeros(1)))
    assert (back.leaves, back.best, back.spare, back.numbers) == ((), None, None, ())


def test_more_than_ten_items_keep_their_order() -> None:
    leaves = tuple(Leaf(float(i)) for i in range(25))
    assert round_trip(Tree(np.zeros(1), leaves)).leaves == leaves


@pytest.mark.parametrize(
    ("saved", "why"),
    [
        (Saved({}, {}), "'number' is missing"),
        (Saved({}, {"number": "0x1p+0", "word": 3}), "'word' is 3, where str is needed"),
        (Saved({}, {"number": "not a number", "word": None}), "invalid hexadecimal"),
    ],
)
def test_what_makes_no_such_value_is_refused(saved: Saved, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        restore_value(Leaf, saved)


@pytest.mark.parametrize("n", [10**12, -1, "99999999999"])
def test_a_tuple_that_claims_more_than_there_is_asks_for_no_memory(n: object) -> None:
    with pytest.raises(ValueError, match=r"has -?\d+ items, and there are 0 parts"):
        restore_value(Holder, Saved({}, {"parts": n}))  # type: ignore[dict-item]


def test_a_number_that_no_float_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="which is no float64"):
        restore_value(Holder, Saved({}, {"parts": 1, "parts.0": "0x1p99999"}))

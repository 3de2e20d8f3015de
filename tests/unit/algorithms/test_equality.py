"""Every row of the table in docs/algorithms.md, from unequal shards: as near to its reference as it claims."""

from importlib import import_module
from pathlib import Path

import pytest

from benchmarks.equality_case import EqualityCase, measure

FILES = sorted((Path(__file__).parents[3] / "benchmarks" / "equality_cases").glob("*.py"))
CASES: list[EqualityCase] = [
    case for file in FILES for case in import_module(f"benchmarks.equality_cases.{file.stem}").CASES
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_equals_its_reference(case: EqualityCase) -> None:
    measured = measure(case)
    assert measured.difference <= case.limit
    assert measured.other_zeros == 0

"""How near every algorithm comes to the implementation that people would otherwise use: writes docs/algorithms.md.

    python benchmarks/equality.py [--only TEXT] [--print]

Each file of benchmarks/equality_cases lists the cases of one family as ``CASES``; a new one is picked up by itself.
Each
case trains from five unequal shards in memory, as the tests do, and is compared with its reference on the same data.
The largest absolute difference of the numbers that are compared is shown beside what is allowed, and the rounds that it
took. The tests hold every case to its limit.
"""

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from benchmarks.equality_case import EqualityCase, Measured, measure  # noqa: E402 - from the checkout

PAGE = ROOT / "docs" / "algorithms.md"
HEAD = """# Every algorithm against its reference

Written by `python benchmarks/equality.py`; the tests hold each row to its limit
(`tests/unit/algorithms/test_equality.py`). Ours trains from five unequal shards. The difference is the largest absolute
one of the numbers that are compared: coefficients and intercept on standardised columns, unless the reference says
otherwise. "0 alike" means that exactly the same numbers are zero.

| algorithm | solver | data | reference | difference | allowed | rounds |
|---|---|---|---|---|---|---|
"""


def all_cases(only: str) -> Iterator[EqualityCase]:
    for path in sorted((Path(__file__).parent / "equality_cases").glob("*.py")):
        cases: Sequence[EqualityCase] = import_module(f"benchmarks.equality_cases.{path.stem}").CASES
        yield from (case for case in cases if only in str(case))


def row(case: EqualityCase, found: Measured) -> str:
    """One line of the table."""
    solver = case.solver if case.solver == found.solver else f"{case.solver} ({found.solver})"
    reference = f"{case.reference}, {case.note}" if case.note else case.reference
    zeros = "" if not case.same_zeros else ", 0 alike" if not found.other_zeros else ", other zeros"
    cells = (
        case.algorithm,
        solver,
        case.data_name,
        reference,
        f"{found.difference:.1e}{zeros}",
        f"{case.limit:.0e}",
        "" if found.rounds is None else str(found.rounds),
    )
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Measure, print, and write the page. The exit status is 1 if a case is beyond its limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="cases whose name holds this text; writes nothing")
    parser.add_argument("--print", action="store_true", help="print the table, write nothing")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    lines, bad = [], 0
    print(HEAD, end="")
    for case in all_cases(arguments.only):
        found = measure(case)
        lines.append(row(case, found))
        print(lines[-1], flush=True)
        bad += found.difference > case.limit or found.other_zeros > 0
    if not (arguments.only or arguments.print):
        PAGE.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())

"""How close the logistic gradient comes to the limit: the time to read X once from memory.

Four ways to go over the same rows, one after the other in every run, on one BLAS thread, so that a busy
neighbour slows all of them alike:

    read      a dot product of X with itself, the fastest read of a large array that numpy offers here; it is
              only as fast as memory delivers
    sum       np.sum(X), the read that people usually have in mind
    ours      gradloom.objectives.LOGISTIC.sums: loss, gradient and intercept gradient in one pass
    loss      LOGISTIC.loss, as for validation rows
    two-pass  what one writes first: z = X @ w + b, then (sigmoid(z) - y) @ X, then the loss from z

Ratios are medians over runs of the ratio within a run. Run: python benchmarks/gradient.py [--json]
"""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from gradloom.data.preparation import aligned_empty
from gradloom.objectives import LOGISTIC

Run = Callable[[], object]
HEADER = (
    "    d    dtype      rows  read ms   sum ms  ours ms  loss ms  two-pass"
    "  Mrows/s ours/read   of sum  speed-up"
)


def two_passes(
    X: NDArray[Any], y: NDArray[Any], w: NDArray[Any], b: float
) -> tuple[float, NDArray[Any], float]:
    z = X @ w + b
    residual = 1.0 / (1.0 + np.exp(-z)) - y
    loss = float((np.logaddexp(0.0, z) - y * z).sum())
    return loss, residual.astype(X.dtype) @ X, float(residual.sum())


def ways(n: int, d: int, dtype: str) -> dict[str, Run]:
    rng = np.random.default_rng(0)
    X = aligned_empty((n, d), np.dtype(dtype))
    X[...] = rng.standard_normal((n, d), dtype=np.float32)
    y = rng.integers(0, 2, n)
    w = rng.standard_normal(d) / d**0.5
    narrow, flat, b = w.astype(dtype), X.reshape(-1), np.asarray(0.1)
    return {
        "read": lambda: flat.dot(flat),
        "sum": lambda: flat.sum(),
        "ours": lambda: LOGISTIC.sums(X, y, None, w, b),
        "loss": lambda: LOGISTIC.loss(X, y, None, w, b),
        "two-pass": lambda: two_passes(X, y, narrow, np.dtype(dtype).type(0.1)),
    }


def timed(run: Run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(n: int, d: int, dtype: str, runs: int) -> dict[str, Any]:
    functions = ways(n, d, dtype)
    for run in functions.values():
        run()
    seconds = [{name: timed(run) for name, run in functions.items()} for _ in range(runs)]
    middle = {name: median(one[name] for one in seconds) for name in functions}
    return {
        "rows": n,
        "columns": d,
        "dtype": dtype,
        "milliseconds": {name: round(value * 1e3, 2) for name, value in middle.items()},
        "million_rows_per_second": round(n / middle["ours"] / 1e6, 2),
        "read_gigabytes_per_second": round(n * d * np.dtype(dtype).itemsize / middle["read"] / 1e9, 1),
        "share_of_read": round(median(one["read"] / one["ours"] for one in seconds), 3),
        "share_of_sum": round(median(one["sum"] / one["ours"] for one in seconds), 3),
        "times_two_pass": round(median(one["two-pass"] / one["ours"] for one in seconds), 2),
    }


def print_row(result: dict[str, Any]) -> None:
    ms = result["milliseconds"]
    print(
        f"{result['columns']:>5} {result['dtype']:>8} {result['rows']:>9,}"
        f" {ms['read']:>8.1f} {ms['sum']:>8.1f} {ms['ours']:>8.1f} {ms['loss']:>8.1f} {ms['two-pass']:>9.1f}"
        f" {result['million_rows_per_second']:>8.1f} {result['share_of_read']:>9.0%} {result['share_of_sum']:>8.0%}"
        f" {result['times_two_pass']:>9.2f}x",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Logistic gradient against the time to read X once.")
    parser.add_argument("--columns", type=int, nargs="+", default=[20, 100, 784])
    parser.add_argument("--megabytes", type=int, default=400, help="size of X; keep it far above the caches")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print one JSON list instead of the table")
    options = parser.parse_args()
    if not options.json:
        print(HEADER)
    results = []
    with threadpool_limits(limits=1):
        for d in options.columns:
            for dtype in ("float32", "float64"):
                rows = options.megabytes * 1_000_000 // (d * np.dtype(dtype).itemsize)
                results.append(measure(rows, d, dtype, options.runs))
                if not options.json:
                    print_row(results[-1])
    if options.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()

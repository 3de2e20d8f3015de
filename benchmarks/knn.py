"""Nearest neighbours on one thread: exact and approximate search of one shard against scikit-learn's brute force.

All three look for the same neighbours of the same queries in the same rows, in the same process, one after the other;
each is timed ``--repeat`` times and its best counts. The approximate search says how many of the neighbours it found.

    OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 python benchmarks/knn.py [--queries 1000] [--repeat 3] [--json]
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from gradloom.nearest.distances import Metric
from gradloom.nearest.inverted import inverted, probe
from gradloom.nearest.rough import Rough, center_sum, prepared
from gradloom.nearest.search import nearest

Rows = np.ndarray[Any, np.dtype[np.float32]]
SIZES = [
    # rows, columns, neighbours, queries at once (0 = --queries), metric
    (100_000, 128, 10, 0, "euclidean"),
    (100_000, 32, 10, 0, "euclidean"),
    (60_000, 784, 5, 0, "euclidean"),
    (100_000, 32, 10, 1, "euclidean"),
    (100_000, 32, 10, 0, "cosine"),
    (20_000, 32, 10, 0, "manhattan"),
]


def best(times: int, work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the fastest of several runs, and what the last one returned."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def clustered(n: int, d: int, rng: np.random.Generator) -> Rows:
    """Rows around 1,000 points, as embeddings of images or texts lie."""
    points = 3 * rng.normal(size=(1000, d))
    return (points[rng.integers(0, 1000, n)] + rng.normal(size=(n, d))).astype(np.float32)


def measure(n: int, d: int, k: int, n_queries: int, metric: Metric, repeat: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    both = clustered(n + n_queries, d, rng)
    X, Q = both[:n], both[n:].astype(np.float64)
    start = time.perf_counter()
    rough = prepared(X, metric, center_sum(X, metric) / n)
    ready_s = time.perf_counter() - start
    ours_s, ours = best(repeat, lambda: nearest(X, metric, rough, Q, k))
    theirs = NearestNeighbors(n_neighbors=k, algorithm="brute", metric=metric).fit(X)
    theirs_s, places = best(repeat, lambda: theirs.kneighbors(both[n:], return_distance=False))
    found = {
        "rows": n,
        "columns": d,
        "k": k,
        "queries": n_queries,
        "metric": metric,
        "ready_s": ready_s,
        "exact_per_s": n_queries / ours_s,
        "sklearn_per_s": n_queries / theirs_s,
        "same_ids": float((places == ours.rows).mean()),
    }
    if isinstance(rough, Rough) and n_queries > 1:
        start = time.perf_counter()
        lists = inverted(rough, 0, 0)
        found["ivf_build_s"] = time.perf_counter() - start
        ivf_s, near = best(repeat, lambda: probe(X, metric, rough, lists, Q, k, 8))
        hits = [len(set(a) & set(b)) / k for a, b in zip(near.rows, ours.rows, strict=True)]
        found |= {"ivf_per_s": n_queries / ivf_s, "ivf_recall": float(np.mean(hits))}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with threadpool_limits(1):
        rows = [
            measure(n, d, k, at_once or options.queries, metric, options.repeat)  # type: ignore[arg-type]
            for n, d, k, at_once, metric in SIZES
        ]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print(
        "      rows  columns   k  queries     metric   exact/s  sklearn/s  same ids     ivf/s  recall  build s"
    )
    for row in rows:
        ivf = (
            f"{row['ivf_per_s']:9,.0f}  {row['ivf_recall']:6.3f}  {row['ivf_build_s']:7.2f}"
            if "ivf_per_s" in row
            else "        -       -        -"
        )
        print(
            f"{row['rows']:10,} {row['columns']:8} {row['k']:3} {row['queries']:8,} {row['metric']:>10} "
            f"{row['exact_per_s']:9,.0f}  {row['sklearn_per_s']:9,.0f}  {row['same_ids']:8.4f} {ivf}"
        )


if __name__ == "__main__":
    main()

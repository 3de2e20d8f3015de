"""Lloyd's iteration: a worker's pass over one shard against an iteration of scikit-learn, one thread each.

CPU time, both in every repeat, so that a busy neighbour slows both alike; the ratio is the median over repeats. What an
iteration of scikit-learn costs is a fit of several iterations less one of a single one.

    python benchmarks/kmeans.py
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
import warnings
from collections.abc import Callable
from statistics import median

import numpy as np
from sklearn.cluster import KMeans as Twin
from sklearn.exceptions import ConvergenceWarning

from gradloom.algorithms.kmeans_passes import step_sums
from gradloom.data.preparation import aligned_empty
from gradloom.data.shard import Rows

ITERATIONS = 10
REPEATS = 5
SHAPES = [  # rows, columns, clusters, dtype
    (200_000, 50, 100, "float32"),
    (100_000, 784, 50, "float32"),
    (60_000, 784, 10, "float32"),
    (60_000, 784, 10, "float64"),
    (200_000, 16, 16, "float32"),
    (200_000, 16, 16, "float64"),
]


def main() -> None:
    """One line a shape."""
    print(
        f"{'rows':>8} {'columns':>8} {'clusters':>8} {'dtype':>8} {'ours ms':>9} {'sklearn ms':>11} {'ratio':>6}"
    )
    for n, d, k, dtype in SHAPES:
        X = aligned_empty((n, d), np.dtype(dtype))
        X[...] = np.random.default_rng(0).standard_normal((n, d))
        centers = X[:k].astype(np.float64)
        rows = Rows(X, np.zeros(n), None, np.arange(n))
        fits = {m: twin(centers.astype(dtype), m) for m in (1, ITERATIONS + 1)}
        ours, theirs = [], []
        for _ in range(REPEATS):
            ours.append(cpu_ms(lambda rows=rows, c=centers: step_sums(rows, c[np.newaxis])))
            few, many = (cpu_ms(lambda fit=fit, X=X: fit.fit(X)) for fit in fits.values())
            theirs.append((many - few) / ITERATIONS)
        ratio = median(a / b for a, b in zip(ours, theirs, strict=True))
        print(f"{n:>8} {d:>8} {k:>8} {dtype:>8} {median(ours):>9.1f} {median(theirs):>11.1f} {ratio:>6.2f}")


def cpu_ms(run: Callable[[], object]) -> float:
    """Milliseconds of this process's CPU time."""
    start = time.process_time()
    run()
    return (time.process_time() - start) * 1e3


def twin(centers: np.ndarray, iterations: int) -> Twin:
    """scikit-learn's K-means from the same centers."""
    return Twin(len(centers), init=centers, n_init=1, tol=0.0, max_iter=iterations)


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        main()

"""Multi-layer perceptrons: how fast the passes are on one thread, and Fashion-MNIST on a cluster of real processes.

    python benchmarks/mlp.py kernel [--batches 32,128,1024] [--json]
    python benchmarks/mlp.py fashion --data FOLDER [--workers 1,4] [--shards 4] [--epochs 5] [--set NAME=VALUE] [--json]

``kernel`` holds loss and gradient of one batch (784-256-128-10, relu, softmax) against the matrix products alone that
it can't do without, and against a step of scikit-learn's MLPClassifier, in the same run on one BLAS thread.

``fashion`` trains 784-128-10 with Adam at 1e-3 in batches of 128 on the 60,000 images of Fashion-MNIST, scores the
official 10,000 test images, and does the same with scikit-learn. FOLDER holds the four original .gz files, as
Debian's package dataset-fashion-mnist installs them.
"""

import argparse
import gzip
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from gradloom import LocalCluster
from gradloom.data.shard import Rows
from gradloom.jobs import JobView, RoundCompleted
from gradloom.networks import Architecture, Layout, Passes

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
SIZES = (784, 256, 128, 10)
LIMIT_S = 1800.0
SETTINGS: dict[str, object] = {
    "hidden_layer_sizes": "128",
    "learning_rate": 1e-3,
    "batch_size": 128,
    "standardize": False,
    "patience": 0,
}


@dataclass(frozen=True)
class Images:
    """Pixels in [0, 1] and labels."""

    X: NDArray[np.float32]  # (n, 784)
    y: NDArray[np.int64]  # (n,)


# --- one batch on one thread ---------------------------------------------------------------------------------------


def median_s(run: Callable[[], object], seconds: float = 1.0) -> float:
    run()
    taken: list[float] = []
    while sum(taken) < seconds or len(taken) < 5:
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def products(X: NDArray[np.float32]) -> Callable[[], object]:
    """The matrix products of a pass, and nothing else."""
    rng = np.random.default_rng(0)
    a = [X, *(rng.random((len(X), size), dtype=np.float32) for size in SIZES[1:])]
    w = [rng.random((above, below), dtype=np.float32) for above, below in pairwise(SIZES)]

    def run() -> None:
        for i, weights in enumerate(w):
            np.matmul(a[i], weights, out=a[i + 1])
        for i in range(len(w) - 1, -1, -1):
            a[i].T @ a[i + 1]
            if i:
                a[i + 1] @ w[i].T

    return run


def kernel_row(batch: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    X, y = rng.random((batch, SIZES[0]), dtype=np.float32), rng.integers(0, SIZES[-1], batch)
    rows = Rows(X, y, None, np.arange(batch))
    layout = Layout(SIZES)
    passes = Passes(Architecture(layout, "relu", "softmax"), X.dtype, batch)
    parameters = layout.initial(0, 2.0).astype(np.float32)
    theirs = MLPClassifier(SIZES[1:-1], batch_size=batch)
    theirs.partial_fit(X, y, classes=np.arange(SIZES[-1]))
    seconds = {
        "products": median_s(products(X)),
        "ours": median_s(lambda: passes.sums(rows, parameters)),
        "sklearn": median_s(lambda: theirs.partial_fit(X, y)),
    }
    return {
        "batch": batch,
        **{f"{name}_per_s": round(batch / taken) for name, taken in seconds.items()},
        "share_of_products": seconds["products"] / seconds["ours"],
        "times_sklearn": seconds["sklearn"] / seconds["ours"],
    }


def kernel(options: argparse.Namespace) -> list[dict[str, Any]]:
    with threadpool_limits(limits=1):
        return [kernel_row(int(batch)) for batch in options.batches.split(",")]


# --- Fashion-MNIST on a cluster ------------------------------------------------------------------------------------


def images(folder: Path, part: str) -> Images:
    """The original files: 16 or 8 bytes of header, then one byte a pixel or label."""
    with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)
    with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return Images(pixels.astype(np.float32) / np.float32(255), labels.astype(np.int64))


def given_settings(options: argparse.Namespace) -> dict[str, object]:
    chosen = dict(pair.split("=", 1) for pair in options.set)
    return {**SETTINGS, "max_epochs": options.epochs, **chosen}


def trained(path: Path, workers: int, options: argparse.Namespace, test: Images) -> dict[str, Any]:
    with LocalCluster(workers=workers) as cluster, cluster.client() as client:
        start = time.perf_counter()
        job = client.submit(
            "mlp_classifier",
            data=str(path),
            shards=options.shards,
            seed=options.seed,
            synchrony=options.synchrony,
            settings=given_settings(options),
        )
        view = job.wait(LIMIT_S)
        seconds = time.perf_counter() - start
        assert view.state == "completed", view.reason
        rounds = [event.what.seconds for event in job.watch() if isinstance(event.what, RoundCompleted)]
        model = job.model()
    return report(view, seconds, rounds, model.scores(test.X, test.y), workers)


def report(
    view: JobView, seconds: float, rounds: list[float], scores: dict[str, float], workers: int
) -> dict[str, Any]:
    return {
        "who": f"{workers} worker(s)",
        "accuracy": scores["accuracy"],
        "log_loss": scores["log_loss"],
        "seconds": seconds,
        "rounds": view.rounds,
        "round_ms": 1e3 * statistics.median(rounds),
        "parameters_sha256": view.parameters_sha256[:12],
    }


def sklearn_row(train: Images, test: Images, options: argparse.Namespace) -> dict[str, Any]:
    start = time.perf_counter()
    theirs = MLPClassifier(
        (128,), batch_size=128, max_iter=options.epochs, random_state=options.seed, n_iter_no_change=10**6
    )
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it wants more epochs
        theirs.fit(train.X, train.y)
    seconds = time.perf_counter() - start
    return {"who": "scikit-learn", "accuracy": theirs.score(test.X, test.y), "seconds": seconds}


def fashion(options: argparse.Namespace) -> list[dict[str, Any]]:
    train, test = images(options.data, "train"), images(options.data, "t10k")
    rows = [] if options.no_sklearn else [sklearn_row(train, test, options)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fashion.npz"
        np.savez(path, X=train.X, y=train.y)
        rows += [trained(path, int(workers), options, test) for workers in options.workers.split(",")]
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        cells = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
        print("   ".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["kernel", "fashion"], nargs="?", default="kernel")
    parser.add_argument("--batches", default="32,128,1024")
    parser.add_argument("--data", type=Path, default=DEBIAN)
    parser.add_argument("--workers", default="1,4")
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--synchrony", default="")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--no-sklearn", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = kernel(options) if options.what == "kernel" else fashion(options)
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        show(rows)


if __name__ == "__main__":
    main()

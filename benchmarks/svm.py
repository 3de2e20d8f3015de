"""Kernel SVM: the cascade with feedback and the landmarks against libsvm, on images of Fashion-MNIST.

    python benchmarks/svm.py --data FOLDER [--rows 10000] [--C 10] [--workers 1,4] [--shards 16] [--json]
    python benchmarks/svm.py solver [--json]

The first trains on the first ``--rows`` train images (RBF, gamma="scale", pixels in [0, 1]) on a cluster of real
processes, exact and with 1000 landmarks, and with scikit-learn's SVC, and scores the official 10,000 test images.
FOLDER holds the four original .gz files, as Debian's package dataset-fashion-mnist installs them. ``apart`` is the
largest difference of a decision of a pair of classes from libsvm's on 2,000 test images. ``feedback`` counts the
rounds after the local ones.

``solver`` holds one SMO, kernel matrix included, against libsvm on one thread: made up data of two classes.
"""

import argparse
import gzip
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import make_classification
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

from gradloom import LocalCluster
from gradloom.kernels import Kernel
from gradloom.models import KernelMachine
from gradloom.optimizers.smo import DualProblem, solve

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
LIMIT_S = 1800.0
COMPARED = 2000
Images = tuple[NDArray[np.float64], NDArray[np.int64]]


def images(folder: Path, part: str) -> Images:
    """Pixels in [0, 1] and labels; 16 and 8 bytes of header, then one byte each."""
    with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)
    with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return pixels / 255.0, labels.astype(np.int64)


def libsvm(train: Images, test: Images, C: float) -> tuple[dict[str, Any], NDArray[Any]]:
    start = time.perf_counter()
    machine = SVC(C=C, cache_size=1000, decision_function_shape="ovo").fit(*train)
    seconds = time.perf_counter() - start
    row = {
        "who": "libsvm",
        "accuracy": machine.score(*test),
        "seconds": seconds,
        "support_vectors": len(machine.support_),
    }
    return row, machine.decision_function(test[0][:COMPARED])


def trained(
    path: Path, workers: int, options: argparse.Namespace, test: Images, expected: NDArray[Any], method: str
) -> dict[str, Any]:
    settings = {"C": options.C, "standardize": False, "method": method}
    with LocalCluster(workers=workers) as cluster, cluster.client() as client:
        start = time.perf_counter()
        job = client.submit("kernel_svm", data=str(path), shards=options.shards, settings=settings)
        view = job.wait(LIMIT_S)
        seconds = time.perf_counter() - start
        assert view.state == "completed", view.reason
        model = job.model()
    assert isinstance(model, KernelMachine)
    return {
        "who": f"{method}, {workers} worker(s)",
        "accuracy": model.scores(*test)["accuracy"],
        "apart": float(np.abs(model.pair_decisions(test[0][:COMPARED]) - expected).max()),
        "seconds": seconds,
        "feedback": view.rounds - 2,
        "rows_sent": model.metadata["rows_sent"],
        "support_vectors": len(model.support_vectors),
        "parameters_sha256": view.parameters_sha256[:12],
    }


def fashion(options: argparse.Namespace) -> list[dict[str, Any]]:
    X, y = images(options.data, "train")
    train, test = (X[: options.rows], y[: options.rows]), images(options.data, "t10k")
    row, expected = libsvm(train, test, options.C)
    rows = [row]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fashion.npz"
        np.savez(path, X=train[0].astype(np.float32), y=train[1])
        rows += [
            trained(path, int(workers), options, test, expected, method)
            for method in options.methods.split(",")
            for workers in options.workers.split(",")
        ]
    return rows


def solver_row(n: int, dtype: str) -> dict[str, Any]:
    X, y = make_classification(n, 100, n_informative=30, random_state=0)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    kernel, side = Kernel("rbf", 0.01), np.where(y > 0, 1.0, -1.0)
    start = time.perf_counter()
    found = solve(DualProblem(kernel.gram(X.astype(dtype)), side, np.full(n, 10.0)), 1e-3)
    ours = time.perf_counter() - start
    start = time.perf_counter()
    theirs = SVC(C=10.0, gamma=0.01, cache_size=2000).fit(X, y)
    return {
        "rows": n,
        "dtype": dtype,
        "seconds": ours,
        "libsvm_seconds": time.perf_counter() - start,
        "steps": found.steps,
        "libsvm_steps": int(theirs.n_iter_[0]),
        "us_per_step": 1e6 * ours / found.steps,
    }


def solver() -> list[dict[str, Any]]:
    with threadpool_limits(limits=1):
        return [solver_row(n, dtype) for n in (1000, 4000, 8000) for dtype in ("float32", "float64")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["fashion", "solver"], nargs="?", default="fashion")
    parser.add_argument("--data", type=Path, default=DEBIAN)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--C", type=float, default=10.0)
    parser.add_argument("--workers", default="1,4")
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--methods", default="exact,nystroem")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = solver() if options.what == "solver" else fashion(options)
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        cells = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
        print("   ".join(cells), flush=True)


if __name__ == "__main__":
    main()

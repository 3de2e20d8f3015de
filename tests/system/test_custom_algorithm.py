"""An algorithm from a package of its own: it trains where it is installed, and its absence is said where it is not."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gradloom import Client, LocalCluster
from gradloom.errors import InvalidInput
from gradloom.jobs import JobState, Note

pytestmark = pytest.mark.system

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_algorithm"
LIMIT_S = 60.0


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the example package is installed into, as pip does it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder, EXAMPLE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def data(tmp_path: Path) -> str:
    y = np.random.default_rng(3).uniform(-1.0, 5.0, 3000)
    np.save(tmp_path / "rows.npy", np.column_stack([np.arange(3000.0), y]))
    return str(tmp_path / "rows.npy")


@pytest.fixture
def with_plugin(installed: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Processes that are started from now on find the package."""
    monkeypatch.setenv("PYTHONPATH", str(installed))
    return monkeypatch


def test_an_algorithm_of_another_package_trains_like_any_other(
    with_plugin: pytest.MonkeyPatch, data: str
) -> None:
    y = np.load(data)[:, 1]
    with LocalCluster(workers=2) as cluster, cluster.client() as client:
        assert "midrange" in {one.name for one in client.algorithms()}
        job = client.submit("midrange", data=data, target="1", settings={"shrink": 0.5}, shards=4)
        model = job.result(LIMIT_S)
        assert model.predict([[7.0]]) == 0.25 * (y.min() + y.max())
        with pytest.raises(InvalidInput, match="shrink: '2' is not allowed"):
            client.submit("midrange", data=data, target="1", settings={"shrink": "2"})


def test_a_job_waits_for_a_worker_that_has_its_algorithm_and_says_so(
    with_plugin: pytest.MonkeyPatch, data: str
) -> None:
    with LocalCluster(workers=1) as cluster, cluster.client() as client:
        with_plugin.delenv("PYTHONPATH")
        bare = worker_of(cluster, "bare")
        try:
            cluster.workers[0].terminate()
            wait_for_workers(client, "bare")
            job = client.submit("midrange", data=data, target="1", shards=4)
            words = next(
                event.what.text
                for event in job.watch(timeout_s=LIMIT_S)
                if isinstance(event.what, Note) and "midrange" in event.what.text
            )
            assert words == (
                "waiting: there is no worker that takes work; "
                "1 worker(s) have no algorithm 'midrange' installed"
            )
            other = client.submit("linear", data=data, target="1")
            assert other.wait(LIMIT_S).state is JobState.COMPLETED
        finally:
            bare.kill()
            bare.wait()


def test_a_package_that_is_broken_is_named_and_harms_nobody(tmp_path: Path, data: str) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gradloom.algorithms]\nforest = no_such_module:add\n")
    code = (
        "from gradloom.algorithms import build, names\n"
        "assert 'linear' in names() and 'forest' not in names()\n"
        "try:\n    build('forest')\nexcept Exception as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.stdout == (
        "algorithm: 'forest' is not known: no_such_module:add of broken could not be loaded: "
        "ModuleNotFoundError: No module named 'no_such_module'\n"
    ), done.stderr


def worker_of(cluster: LocalCluster, name: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "gradloom_worker", "--coordinator", cluster.address, "--name", name]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for_workers(client: Client, *names: str) -> None:
    """Until exactly these are there."""
    for _ in range(10_000):
        if {view.worker for view in client.workers()} == set(names):
            return
    raise AssertionError(f"the workers are {[view.worker for view in client.workers()]}, not {names}")

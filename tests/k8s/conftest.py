"""What every test of the manifests looks at: all overlays, every component on the base, and a machine for pods."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from builders.manifests import WHY_NOT, Objects, components, rendered, with_components
from builders.pods import Machine, machine
from gradloom import LocalCluster
from k8s.training import ended, submit

OVERLAYS = ("base", "overlays/local", "overlays/production", "overlays/standby")
TOGETHER = {
    "all of it, with the horizontal autoscaler": (
        "tls",
        "networkpolicy",
        "monitoring",
        "postgres",
        "autoscaling/hpa",
    ),
    "all of it, with KEDA": ("tls", "networkpolicy", "monitoring", "postgres", "autoscaling/keda"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if WHY_NOT:
        for item in items:
            if "k8s" in item.path.parts:
                item.add_marker(pytest.mark.skip(reason=WHY_NOT))


@pytest.fixture(scope="session", params=[*OVERLAYS, *components(), *TOGETHER])
def objects(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Objects]:
    """Everything that can be applied, one after the other."""
    name = request.param
    if name in OVERLAYS:
        yield rendered(name)
    else:
        yield with_components("base", TOGETHER.get(name, (name,)), tmp_path_factory.mktemp("kustomize"))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that is the volume ``data``."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(7)
    X = rng.standard_normal((40_000, 30))
    y = (X @ rng.standard_normal(30) + rng.standard_normal(len(X)) > 0).astype(float)
    np.save(folder / "rows.npy", np.column_stack([X, y]))
    return folder


@pytest.fixture(scope="session")
def reference(data: Path) -> str:
    with LocalCluster(workers=1) as cluster, cluster.client() as client:
        return ended(submit(client, data)).parameters_sha256


@pytest.fixture
def here(tmp_path: Path, data: Path) -> Iterator[Machine]:
    (tmp_path / "state").mkdir()
    with machine(tmp_path, state=tmp_path / "state", data=data) as running:
        yield running


@pytest.fixture(scope="session")
def local() -> Objects:
    return rendered("overlays/local")

"""The wheel as users get it: what is in it, and whether it works in an empty virtualenv away from the checkout."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

CHECKOUT = Path(__file__).parents[2]
LIMIT_S = 500.0
PACKAGES = ("gradloom", "gradloom_coordinator", "gradloom_worker", "gradloom_dashboard")
EXTRAS = ("scikit-learn", "threadpoolctl", "prometheus-client", "grpcio-reflection", "grpcio-health-checking")


def run(*command: object, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command that can't see the checkout."""
    hidden = ("PYTHONPATH", "VIRTUAL_ENV", "GRADLOOM_CLUSTER")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=LIMIT_S
    )


def output(*command: object, cwd: Path) -> str:
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    output(sys.executable, "-m", "build", "--wheel", "--outdir", folder, CHECKOUT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_four_packages_and_what_type_checkers_need(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.partition("/")[0] for name in names}
    (info,) = top - set(PACKAGES)
    assert info.startswith("gradloom-")
    assert info.endswith(".dist-info")
    assert set(PACKAGES) < top
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(names)
    stubs = {
        path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "gradloom" / "v1").glob("*_pb2*.py*")
    }
    assert len(stubs) > 10
    assert stubs <= set(names)
    assert f"{info}/licenses/LICENSE" in names
    assert {f"gradloom_dashboard/{name}" for name in ("style.css", "rows.js", "curve.js")} <= set(names)


PREDICT = """
import sys
from pathlib import Path
import gradloom, gradloom_worker
from gradloom import load_model
assert all(Path(sys.prefix) in Path(p.__file__).parents for p in (gradloom, gradloom_worker))
print(*load_model("model.safetensors").predict([[12, 6], [0, 0]]), sep=", ")
"""


def pip(folder: Path, *words: object) -> None:
    """The pip of the tests, working on the virtualenv in a folder: making one of its own there takes its time."""
    python = folder / "env" / "bin" / "python"
    output(sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", *words, cwd=folder)


def installed(wheel: Path, folder: Path) -> Path:
    """The ``bin`` of a new virtualenv that holds the wheel with all its extras, and nothing else."""
    output(sys.executable, "-m", "venv", "--without-pip", "env", cwd=folder)
    pip(folder, "install", "--quiet", "--no-compile", f"{wheel}[all]")
    return folder / "env" / "bin"


def a_table(folder: Path) -> Path:
    """Rows that a line parts: late exactly when distance + delay > 10."""
    rows = [f"{i % 13},{i % 7},{'late' if i % 13 + i % 7 > 10 else 'on time'}" for i in range(200)]
    path = folder / "table.csv"
    path.write_text("\n".join(["distance,delay,outcome", *rows]) + "\n")
    return path


# One test, because the virtualenv takes half a minute: every part works in what the one before has left.
def test_installed_in_an_empty_virtualenv_it_works_away_from_the_checkout(
    wheel: Path, tmp_path: Path
) -> None:
    scripts, table = installed(wheel, tmp_path), a_table(tmp_path)
    away = tmp_path / "away"
    away.mkdir()

    assert output(scripts / "gradloom", "--version", cwd=away).startswith("gradloom 0.")
    assert "--metrics-port" in output(scripts / "gradloom-coordinator", "--help", cwd=away)
    assert "--cache-bytes" in output(scripts / "gradloom-worker", "--help", cwd=away)

    train = [
        scripts / "gradloom",
        "train",
        "logistic",
        "--data",
        table,
        "--target",
        "outcome",
        "--workers",
        1,
    ]
    said = json.loads(output(*train, "--out", "model.safetensors", "--json", cwd=away))
    assert (said["state"], said["rows"], said["model"]) == ("completed", 200, "model.safetensors")
    assert [path.name for path in away.iterdir()] == ["model.safetensors"]

    pip(tmp_path, "uninstall", "--quiet", "--yes", *EXTRAS)
    assert output(scripts / "python", "-c", PREDICT, cwd=away) == "late, on time\n"
    refused = run(*train, cwd=away)
    assert refused.returncode == 3
    assert refused.stderr.splitlines()[-1] == (
        "error: a local cluster needs grpc_health, grpc_reflection, prometheus_client, threadpoolctl,"
        " which is not installed; run: pip install 'gradloom[all]'"
    )

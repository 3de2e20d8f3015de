"""What a container lets us use, read from the files of its control group."""

import os
import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from gradloom import machine


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path


def test_without_a_control_group_it_is_the_machine(cgroup: Path) -> None:
    assert machine.cpu_cores() == 8.0
    assert machine.memory_bytes() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, 8.0),
        ({"cpu.max": "6400000 100000\n"}, 8.0),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8.0),
    ],
)
def test_a_quota_of_either_version_counts(cgroup: Path, files: dict[str, str], cores: float) -> None:
    for name, text in files.items():
        (cgroup / name).parent.mkdir(exist_ok=True)
        (cgroup / name).write_text(text)
    assert machine.cpu_cores() == cores


@pytest.mark.parametrize(
    ("name", "text", "limited"),
    [
        ("memory.max", "1048576\n", True),
        ("memory.max", "max\n", False),
        ("memory/memory.limit_in_bytes", "1048576\n", True),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", False),
    ],
)
def test_a_memory_limit_of_either_version_counts(cgroup: Path, name: str, text: str, limited: bool) -> None:
    (cgroup / name).parent.mkdir(exist_ok=True)
    (cgroup / name).write_text(text)
    assert (machine.memory_bytes() == 1048576) is limited


def test_what_this_process_runs_on_can_be_told() -> None:
    runtime = machine.runtime()
    assert runtime.numpy == np.__version__
    assert runtime.python.startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert runtime.blas
    assert runtime.blas_threads >= 1
    assert runtime.open_files == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert machine.installed("no-such-package") == ""

"""What this machine, or the container we are in, lets us use."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gradloom.jobs import WorkerRuntime

_CGROUP = Path("/sys/fs/cgroup")


def cpu_cores() -> float:
    """CPU cores we may use: the cgroup's quota where there is one, else what we may be scheduled on."""
    available = float(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quota = _cgroup_v2_quota() or _cgroup_v1_quota()
    return min(available, quota) if quota else available


def memory_bytes() -> int:
    """Memory we may use: the cgroup's limit where there is one, else the machine's."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [_number(_CGROUP / "memory.max"), _number(_CGROUP / "memory/memory.limit_in_bytes")]
    return min([physical, *(int(limit) for limit in limits if limit)])


def _cgroup_v2_quota() -> float | None:
    words = _words(_CGROUP / "cpu.max")
    return float(words[0]) / float(words[1]) if len(words) == 2 and words[0] != "max" else None


def _cgroup_v1_quota() -> float | None:
    quota = _number(_CGROUP / "cpu/cpu.cfs_quota_us")
    period = _number(_CGROUP / "cpu/cpu.cfs_period_us")
    return quota / period if quota and period and quota > 0 else None


def _number(path: Path) -> float | None:
    words = _words(path)
    try:
        return float(words[0]) if words else None
    except ValueError:
        return None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def runtime() -> WorkerRuntime:
    """What this process runs on."""
    blas, threads = blas_library()
    return WorkerRuntime(
        python=platform.python_version(),
        numpy=installed("numpy"),
        grpc=installed("grpcio"),
        protobuf=installed("protobuf"),
        blas=blas,
        blas_threads=threads,
        open_files=open_files_limit(),
    )


def installed(distribution: str) -> str:
    """The version of a package that is installed; empty if it is not."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def blas_library() -> tuple[str, int]:
    """What numpy multiplies matrices with, and in how many threads; empty and 0 if that can't be found out."""
    import numpy as np  # noqa: F401 - its library is there once it is imported

    try:
        from threadpoolctl import threadpool_info
    except ModuleNotFoundError:
        return "", 0
    found = [one for one in threadpool_info() if one["user_api"] == "blas"]
    numpys = [one for one in found if "numpy" in one["filepath"]] or found
    if not numpys:
        return "", 0
    words = (numpys[0].get(key) or "" for key in ("internal_api", "version", "architecture"))
    return " ".join(filter(None, words)), int(numpys[0]["num_threads"])


def open_files_limit() -> int:
    """How many files and connections this process may have open; 0 = nobody says."""
    try:
        import resource
    except ModuleNotFoundError:
        return 0
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(0, soft)

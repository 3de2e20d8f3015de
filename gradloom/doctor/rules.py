"""Facts -> findings. Pure: every limit that decides stands here."""

import re
from collections.abc import Iterator

from gradloom.doctor.cluster import FEWEST_FILES, LEAST_MEMORY_BYTES, cluster
from gradloom.doctor.facts import (
    Facts,
    Finding,
    Level,
    MachineFact,
    PackageFact,
    PortFact,
    PortState,
    StorageFact,
)
from gradloom.doctor.trust import trust
from gradloom.words import bytes_text, counted, memory_text

OLDEST_PYTHON = (3, 11)
COMFORTABLE_FILES = 1024
LEAST_FREE_BYTES, COMFORTABLE_FREE_BYTES = 100 * 2**20, 2 * 2**30
SLOW_BYTES_PER_S = 5e6
COMFORTABLE_MEMORY_BYTES = 2**30


def findings(facts: Facts) -> list[Finding]:
    """Everything that was looked at, in the order in which people read it."""
    found = [*_versions(facts), *_machine(facts.machine)]
    found += [_port(fact) for fact in facts.ports]
    found += trust(facts)
    for storage in facts.storage:
        found += _storage(storage)
    if facts.store is not None:
        found.append(_store(facts.store))
    if facts.cluster is not None:
        found += cluster(facts, facts.cluster)
    found += [Finding(Level.WARN, "doctor", note) for note in facts.notes]
    return found


def worst(found: list[Finding]) -> Level:
    """The worst of all; ok if there is none."""
    order = list(Level)
    return max((one.level for one in found), key=order.index, default=Level.OK)


# ---- versions


def _versions(facts: Facts) -> Iterator[Finding]:
    python = tuple(int(part) for part in re.findall(r"\d+", facts.machine.python)[:2])
    oldest = ".".join(map(str, OLDEST_PYTHON))
    if python < OLDEST_PYTHON:
        what = f"Python {facts.machine.python} is older than {oldest}"
        yield Finding(Level.BAD, "versions", what, f"use Python {oldest} or newer")
    else:
        yield Finding(
            Level.OK,
            "versions",
            f"gradloom {facts.version} on Python {facts.machine.python}, {facts.machine.system}",
        )
    for package in facts.packages:
        if (wrong := _package(package)) is not None:
            yield wrong
    good = [
        f"{one.name} {one.installed}" for one in facts.packages if one.installed and _package(one) is None
    ]
    yield Finding(Level.OK, "versions", ", ".join(good) or "no package was looked at")


def _package(package: PackageFact) -> Finding | None:
    where = f"[{package.extra}]" if package.extra else ""
    mend = f"pip install --upgrade 'gradloom{where}'"
    if not package.installed:
        if package.extra:
            return None  # what is not wished for is not missing
        return Finding(Level.BAD, "versions", f"{package.name} is not installed", mend)
    if _numbers(package.installed) < _numbers(package.floor):
        what = f"{package.name} {package.installed} is older than {package.floor}"
        return Finding(Level.BAD, "versions", what, mend)
    return None


def _numbers(version: str) -> tuple[int, ...]:
    """Of ``1.85.1rc1``: (1, 85, 1)."""
    parts = version.split(".")
    found = [int(match.group()) for part in parts if (match := re.match(r"\d+", part))]
    return tuple(found + [0] * (4 - len(found)))


# ---- this machine


def _machine(machine: MachineFact) -> Iterator[Finding]:
    quota = (
        ""
        if machine.cores >= machine.machine_cores
        else f" of {machine.machine_cores}: a limit of the container"
    )
    yield Finding(Level.OK, "machine", f"{machine.cores:g} CPU cores{quota}")
    if machine.cores < 1:
        yield Finding(
            Level.WARN,
            "machine",
            f"less than one core ({machine.cores:g}) may be used",
            "give the container a CPU limit of 1 or more, or none",
        )
    yield _memory(machine)
    yield _open_files(machine.runtime.open_files)
    yield from _blas(machine)


def _memory(machine: MachineFact) -> Finding:
    available = machine.memory_bytes if machine.available_bytes is None else machine.available_bytes
    what = f"{memory_text(available)} of {memory_text(machine.memory_bytes)} memory can be had"
    mend = "end what else runs here, or give the container more (--memory, resources.limits.memory)"
    if available < LEAST_MEMORY_BYTES:
        return Finding(Level.BAD, "memory", what, mend)
    if available < COMFORTABLE_MEMORY_BYTES:
        return Finding(
            Level.WARN, "memory", what, f"{mend}; or a smaller cache: gradloom-worker --cache-bytes"
        )
    return Finding(Level.OK, "memory", what)


def _open_files(limit: int) -> Finding:
    what = f"{limit:,} files and connections may be open"
    mend = "raise it: ulimit -n 4096, LimitNOFILE= of systemd, ulimits of compose"
    if not limit:
        return Finding(Level.OK, "open files", "no limit is known")
    if limit < FEWEST_FILES:
        return Finding(Level.BAD, "open files", what, mend)
    if limit < COMFORTABLE_FILES:
        return Finding(Level.WARN, "open files", f"{what}; a worker takes about two at the coordinator", mend)
    return Finding(Level.OK, "open files", what)


def _blas(machine: MachineFact) -> Iterator[Finding]:
    blas, threads = machine.runtime.blas, machine.runtime.blas_threads
    if not blas:
        yield Finding(
            Level.WARN,
            "BLAS",
            "it can't be found out what numpy multiplies matrices with",
            "pip install threadpoolctl; take numpy's own wheels from PyPI",
        )
        return
    chosen = f", OPENBLAS_CORETYPE={machine.coretype}" if machine.coretype else ""
    yield Finding(Level.OK, "BLAS", f"{blas}, {counted(threads, 'thread')} here (a worker takes one){chosen}")


# ---- ports and storage


def _port(port: PortFact) -> Finding:
    name = f"port {port.port} ({port.service})"
    match port.state:
        case PortState.FREE:
            return Finding(Level.OK, "ports", f"{name} is free")
        case PortState.OURS:
            return Finding(Level.OK, "ports", f"{name}: gradloom answers there")
        case PortState.FORBIDDEN:
            what, mend = f"{name} may not be listened on", f"choose another: {port.option}"
        case PortState.TAKEN:
            what = f"{name} is taken by something else"
            mend = (
                f"choose another ({port.option}), or end what listens there: ss -ltnp 'sport = :{port.port}'"
            )
    return Finding(Level.BAD if port.needed else Level.WARN, "ports", what, mend)


def _storage(storage: StorageFact) -> Iterator[Finding]:
    name = f"{storage.option} {storage.uri}"
    if storage.problem:
        mend = f"make the folder and let this user write to it, or name another ({storage.option})"
        yield Finding(Level.BAD, "storage", f"{name} can't be written to: {storage.problem}", mend)
        return
    free = "" if storage.free_bytes is None else f", {memory_text(storage.free_bytes)} free"
    yield Finding(Level.OK, "storage", f"{name} can be written to, {bytes_text(storage.bytes_per_s)}/s{free}")
    if storage.free_bytes is not None and storage.free_bytes < COMFORTABLE_FREE_BYTES:
        level = Level.BAD if storage.free_bytes < LEAST_FREE_BYTES else Level.WARN
        what = f"{name} has only {memory_text(storage.free_bytes)} free"
        yield Finding(level, "storage", what, "make room; a full disk pauses the jobs")
    if storage.bytes_per_s < SLOW_BYTES_PER_S:
        what = f"{name} writes {bytes_text(storage.bytes_per_s)}/s; checkpoints of large models take long"
        yield Finding(
            Level.WARN, "storage", what, "use a faster disk, or rarer checkpoints: --checkpoint-every"
        )


def _store(store: StorageFact) -> Finding:
    if store.problem:
        mend = "start the database, and check its host, user and password"
        return Finding(Level.BAD, "storage", f"{store.option} {store.uri}: {store.problem}", mend)
    return Finding(Level.OK, "storage", f"{store.option} {store.uri} answers")

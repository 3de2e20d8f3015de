"""The images install from locks: what pyproject.toml says, and nothing about the machine that wrote them."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {
    "coordinator": ("coordinator", "postgres", "s3"),
    "worker": ("worker", "s3"),
    "dashboard": ("dashboard",),
}

NOT_IN_DASHBOARD = set(
    re.search(r"^NOT_IN_DASHBOARD = (.*(?:\\\n.*)*)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]  # type: ignore[index]
    .replace("\\", " ")
    .split()
)


@dataclass(frozen=True, slots=True)
class Pin:
    version: Version
    hashes: int


def direct(role: str) -> list[Requirement]:
    texts = list(PROJECT["dependencies"])
    for extra in EXTRAS[role]:
        texts += PROJECT["optional-dependencies"][extra]
    left_out = NOT_IN_DASHBOARD if role == "dashboard" else set()
    return [one for one in map(Requirement, texts) if canonicalize_name(one.name) not in left_out]


def pins(role: str) -> dict[str, Pin]:
    text = (ROOT / role / "requirements.lock").read_text()
    lines = [line.split(" #")[0] for line in text.replace("\\\n", " ").splitlines()]
    found = {}
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.fullmatch(r"([A-Za-z0-9._\[\],-]+)==(\S+)((?:\s+--hash=sha256:[0-9a-f]{64})+)\s*", line)
        assert match, f"{role}: {line[:80]!r} is no pinned and hashed requirement"
        name = canonicalize_name(match[1].split("[")[0])
        found[name] = Pin(Version(match[2]), match[3].count("--hash="))
    return found


@pytest.mark.parametrize("role", EXTRAS)
def test_a_lock_pins_every_direct_dependency_within_its_range(role: str) -> None:
    locked = pins(role)
    for requirement in direct(role):
        name = canonicalize_name(requirement.name)
        assert name in locked, f"{role}/requirements.lock lacks {name}: make lock"
        assert locked[name].version in requirement.specifier, f"{name} {locked[name].version}: make lock"


@pytest.mark.parametrize("role", EXTRAS)
def test_a_lock_says_nothing_about_the_machine_that_wrote_it(role: str) -> None:
    text = (ROOT / role / "requirements.lock").read_text()
    for trace in (
        "file:",
        "http:",
        "https:",
        "--index",
        "--extra-index",
        "--find-links",
        "--trusted",
        "via gradloom (/",
    ):
        assert trace not in text


@pytest.mark.parametrize("package", ["numpy", "grpcio", "protobuf", "pyarrow", "cryptography"])
def test_what_decides_bits_and_bytes_is_the_same_in_every_image(package: str) -> None:
    roles = [role for role in EXTRAS if role != "dashboard" or package not in NOT_IN_DASHBOARD]
    assert len(roles) >= 2
    assert len({pins(role)[package].version for role in roles}) == 1


def test_what_the_control_room_never_imports_is_not_in_its_lock() -> None:
    assert "pyarrow" in NOT_IN_DASHBOARD
    assert not NOT_IN_DASHBOARD & pins("dashboard").keys()


def test_the_worker_has_no_web_server_and_no_database() -> None:
    assert not {"nicegui", "fastapi", "sqlalchemy", "psycopg"} & pins("worker").keys()

"""Both versions of Compose read docker-compose.yml with each set of overrides."""

import shutil
import subprocess

import pytest

from builders.containers import LIMIT_S, ROOT

pytestmark = pytest.mark.containers

SETS = ("", "postgres", "tls", "tls postgres")
FIRST, SECOND = ("docker-compose",), ("docker", "compose")


def said(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def version(words: tuple[str, ...]) -> str:
    """Empty = it is not installed."""
    if not shutil.which(words[0]):
        return ""
    done = said(*words, "version", "--short")
    return done.stdout.strip().removeprefix("v") if done.returncode == 0 else ""


@pytest.mark.parametrize("overrides", SETS)
@pytest.mark.parametrize(("words", "wanted"), [(FIRST, "1."), (SECOND, "2.")], ids=["1", "2"])
def test_compose_reads_it(words: tuple[str, ...], wanted: str, overrides: str) -> None:
    if not (found := version(words)).startswith(wanted):
        pytest.skip(f"{' '.join(words)} is {found or 'not installed'}, and not {wanted}x")
    files = ["docker-compose.yml", *(f"docker-compose.{name}.yml" for name in overrides.split())]
    options = [word for file in files for word in ("--file", file)]
    done = said(*words, *options, "config", "--services")
    assert done.returncode == 0, done.stderr
    extra = {"postgres": {"postgres"}, "tls": {"certs"}}
    expected = {"coordinator", "worker", "dashboard", "prometheus", "grafana"}.union(
        *(extra[name] for name in overrides.split())
    )
    assert set(done.stdout.split()) == expected

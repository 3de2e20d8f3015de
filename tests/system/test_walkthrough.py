"""docs/security.md, "Try roles on your laptop": its commands, as they stand, say what the page says that they do."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from builders.namespaces import NotPermitted, far_away

pytestmark = pytest.mark.system

LIMIT_S = 200.0
PAGE = Path(__file__).parents[2] / "docs" / "security.md"
SECTION = PAGE.read_text().partition("## Try roles on your laptop\n")[2].partition("\n## ")[0]
VARIES = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\b[0-9a-f]{12}\b")
"""Moments, and ids of tokens."""


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", SECTION, re.DOTALL)


def lines(text: str) -> list[str]:
    return [VARIES.sub("...", " ".join(line.split())) for line in text.splitlines()]


def said_by(script: str, network: str, folder: Path) -> str:
    """What a shell says that is alone on its network, so that all ports are free, as on a laptop."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GRADLOOM_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    process = subprocess.Popen(
        ["ip", "netns", "exec", network, "bash", "-c", script],
        cwd=folder,
        env={**kept, "PATH": path, "OPENBLAS_NUM_THREADS": "1", "NO_PROXY": "localhost"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            return process.communicate(timeout=LIMIT_S)[0]
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_the_walk_through_the_roles_goes_as_it_is_written(tmp_path: Path) -> None:
    try:
        with far_away() as alone:
            said = said_by("\n".join(blocks("sh")), alone.name, tmp_path)
    except NotPermitted as error:
        pytest.skip(str(error))
    found = lines(said)
    promised = [line for block in blocks("text") for line in lines(block)]
    assert len(promised) > 10
    for line in promised:
        assert line in found, f"{line}\n--- is not in:\n{said}"
        del found[: found.index(line) + 1]

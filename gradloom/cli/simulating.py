"""``gradloom simulate``: the policy laboratory in a process of its own, because the library imports no service."""

import os
import subprocess
import sys
from collections.abc import Sequence

MODULE = "gradloom_coordinator.laboratory"


def simulate(arguments: Sequence[str]) -> int:
    """Hand the command's words on, and return its exit status; it speaks for itself."""
    command = [sys.executable, "-m", MODULE, *arguments]
    # without it `-m` looks for modules in the current folder first, where people keep files called queue.py
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 - our own module

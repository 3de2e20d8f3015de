"""``gradloom dashboard``: the control room in a process of its own, because the library imports no service."""

import os
import subprocess
import sys
from collections.abc import Sequence

MODULE = "gradloom_dashboard"


def serve(arguments: Sequence[str]) -> int:
    """Run it until it ends, and return its exit status; it speaks for itself and goes when this process goes."""
    command = [sys.executable, "-m", MODULE, *arguments]
    # without it `-m` looks for modules in the current folder first, where people keep files called queue.py
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    # the pipe closes however this process ends, and then the child leaves
    with subprocess.Popen([*command, "--exit-with-stdin"], stdin=subprocess.PIPE, env=environment) as child:  # noqa: S603
        try:
            return child.wait()
        except KeyboardInterrupt:
            child.communicate()
            raise

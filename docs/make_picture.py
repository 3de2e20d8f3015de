"""Draws docs/demo.svg: what a terminal shows after the main job has run. Needs tmux; run from the repository root.

make demo && .venv/bin/python docs/make_picture.py
"""

import io
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMAND = "gradloom train logistic --data demo/flights.parquet --target late --test-fraction 0.2 --workers 4"
WIDTH, HEIGHT = 100, 24
LIMIT_S = 120


def screen_after(command: str) -> str:
    """The terminal with its colours, once the command has ended."""
    path = Path(sys.executable).parent
    session = ["tmux", "-L", "picture", "-f", "/dev/null"]
    line = f"PATH={path}:$PATH; clear; {command}; tmux -L picture wait-for -S done; read _"
    size = ["-x", str(WIDTH), "-y", str(HEIGHT)]
    subprocess.run([*session, "new-session", "-d", *size, "bash", "-c", line], check=True)
    try:
        subprocess.run([*session, "wait-for", "done"], check=True, timeout=LIMIT_S)
        capture = subprocess.run(
            [*session, "capture-pane", "-e", "-p"], check=True, capture_output=True, text=True
        )
    finally:
        subprocess.run([*session, "kill-server"], check=False)
    return capture.stdout.rstrip()


def main() -> None:
    """Run the command and write the picture."""
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text(f"$ {COMMAND}", style="bold"), highlight=False)
    console.print(Text.from_ansi(screen_after(COMMAND)), highlight=False)
    svg = console.export_svg(title="gradloom")
    # the reader's own monospace font does as well as one from somebody's server
    Path("docs/demo.svg").write_text(re.sub(r"@font-face\s*{.*?}", "", svg, flags=re.DOTALL))


if __name__ == "__main__":
    main()

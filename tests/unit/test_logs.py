"""What the services write while they run."""

import json
import logging
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from gradloom.errors import InvalidInput
from gradloom.logs import JsonFormatter, LogFormat, configure

TROUBLE = """
import logging, sys, warnings
from gradloom import logs
logs.configure("info", logs.LogFormat("{log_format}"))
log = logging.getLogger("here")
log.debug("not heard")
log.info("two\\nlines of caf\\u00e9")
warnings.warn("worn out", stacklevel=1)
try:
    raise ValueError("spilt")
except ValueError:
    log.exception("it went wrong")
if "{end}" == "refuse":
    logs.refuse("port: 1 is in use")
    sys.exit(2)
raise RuntimeError("nobody catches this")
"""


def said(log_format: str, end: str) -> list[str]:
    """The lines of a process that logs."""
    script = TROUBLE.format(log_format=log_format, end=end)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env={"LC_ALL": "C"}
    )
    assert done.returncode == (2 if end == "refuse" else 1)
    assert not done.stdout
    return done.stderr.splitlines()


@pytest.mark.parametrize(
    ("end", "last"),
    [("refuse", "port: 1 is in use"), ("raise", "uncaught RuntimeError: nobody catches this")],
)
def test_every_line_is_one_json_object(end: str, last: str) -> None:
    info, warning, error, final = [json.loads(line) for line in said("json", end)]
    assert (info["level"], info["logger"], info["message"]) == ("INFO", "here", "two\nlines of café")
    assert datetime.fromisoformat(info["time"]).tzinfo is not None
    assert (warning["logger"], warning["level"]) == ("py.warnings", "WARNING")
    assert "UserWarning: worn out" in warning["message"]
    assert error["exception"].endswith("ValueError: spilt")
    assert (final["level"], final["message"]) == ("CRITICAL", last)
    assert ("exception" in final) == (end == "raise")


def test_text_ends_with_a_sentence_for_people() -> None:
    lines = said("text", "refuse")
    assert lines[0].endswith(" INFO here two")
    assert lines[-1] == "error: port: 1 is in use"


def test_a_record_has_its_own_time() -> None:
    record = logging.makeLogRecord(
        {"name": "n", "levelname": "INFO", "msg": "%d rows", "args": (3,), "created": 0.5}
    )
    expected = {"time": "1970-01-01T00:00:00.500+00:00", "level": "INFO", "logger": "n", "message": "3 rows"}
    assert json.loads(JsonFormatter().format(record)) == expected
    assert datetime.fromisoformat(expected["time"]) == datetime(1970, 1, 1, 0, 0, 0, 500_000, UTC)


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(InvalidInput, match="log_level: 'LOUD' is not known; allowed: DEBUG, INFO"):
        configure("LOUD", LogFormat.TEXT)

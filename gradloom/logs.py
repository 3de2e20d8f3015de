"""What a service says while it runs: one line of text, or one JSON object, for each thing that happened.

In JSON a line has ``time`` (UTC, ISO 8601), ``level``, ``logger``, ``message`` and, where something was raised,
``exception``. The last words of a process that refuses to start are a line of the same kind.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from enum import StrEnum
from types import TracebackType

from gradloom.errors import InvalidInput
from gradloom.visible import indented

TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

log = logging.getLogger("gradloom")


class LogFormat(StrEnum):
    """How lines look."""

    TEXT = "text"
    JSON = "json"


class TextFormatter(logging.Formatter):
    """A record as a line of text. Names that others chose can't fake another line, or steer who reads it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line without a traceback."""
        record.message = indented(record.message)
        return super().formatMessage(record)


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON, in ASCII: whatever reads it needs no encoding."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        values = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            values["exception"] = self.formatException(record.exc_info)
        return json.dumps(values)


def configure(level: str, log_format: LogFormat) -> None:
    """Have this process log to stderr. Raises InvalidInput for a level that is none."""
    if level.upper() not in LEVELS:
        raise InvalidInput("log_level", f"{level!r} is not known; allowed: {', '.join(LEVELS)}")
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format is LogFormat.JSON else TextFormatter(TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    if log_format is LogFormat.JSON:
        logging.captureWarnings(capture=True)
        sys.excepthook = _log_uncaught


def refuse(sentence: str) -> None:
    """Say why this process ends before it has begun: what stands last in its log."""
    if _speaks_json():
        log.critical("%s", sentence)
    else:
        sys.stderr.write(f"error: {indented(sentence)}\n")


def _speaks_json() -> bool:
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("uncaught %s: %s", kind.__name__, error, exc_info=(kind, error, trace))

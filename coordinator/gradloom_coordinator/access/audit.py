"""Who has changed what: one line of JSON for every call that changes something, or was to and was refused for its role.

A file and not a table: it is written when the database is away, can't be changed through the program, and is what
collectors of logs read. A line is in the hands of the system before the call is answered, so that neither SIGTERM nor a
crash of the process loses one; a crash of the machine may lose the last ones. Bounded: the oldest file goes.
"""

import errno
import json
import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from gradloom.callers import MAX_AUDIT, AuditEntry
from gradloom.errors import GradloomError, InvalidInput
from gradloom.visible import one_line
from gradloom_coordinator.access.callers import Caller

log = logging.getLogger(__name__)

FILE_BYTES = 16 * 1024 * 1024
FILES = 5
"""With the one that is written."""
MAX_LETTERS = 300
"""Of one value."""
MAX_FIELDS = 60
DEFAULT_LAST = 100
OK = "ok"

_USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")
_QUERY = re.compile(r"\?.*$")
_SECRET = re.compile(r"secret|passw|token|credential|api_?key|access_?key", re.IGNORECASE)
_SUBJECTS = ("job_id", "worker", "upload_id")
_HIDDEN = "***"


class AuditLog:
    """``audit.jsonl`` in a folder, and the full ones before it: ``audit.1.jsonl`` is the newest of those."""

    def __init__(
        self, folder: Path, *, file_bytes: int = FILE_BYTES, clock: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._file_bytes = file_bytes
        self._clock = clock
        self._handle: int | None = None
        self._size = 0
        self._failing = False

    def write(
        self,
        caller: Caller,
        method: str,
        request: object = None,
        response: object = None,
        error: BaseException | None = None,
    ) -> None:
        """Keep one call, and the ``error`` if it came to nothing. A disk that is full stops nobody."""
        fields = fields_of(method, request)
        named = [fields.pop(name, "") for name in _SUBJECTS]
        job = getattr(response, "job", None)
        named += [getattr(job, "job_id", ""), getattr(response, "upload_id", "")]
        result, detail = (OK, "") if error is None else (type(error).__name__, _short(_words(error)))
        entry = AuditEntry(
            at=self._clock(),
            who=_short(caller.name),
            role=caller.role,
            how=caller.identity.how,
            peer=caller.peer,
            method=method,
            subject=_short(next((name for name in named if name), "")),
            fields=fields,
            result=result,
            detail=detail,
        )
        try:
            self._append((json.dumps(asdict(entry)) + "\n").encode())
            self._failing = False
        except OSError as problem:
            if not self._failing:
                log.error("the audit log can't be written: %s", problem)  # noqa: TRY400 - the sentence says it
            self._failing = True
            self.close()

    def last(self, count: int) -> list[AuditEntry]:
        """The newest entries, the newest last; 0 = DEFAULT_LAST. Reads files. Raises InvalidInput."""
        if not 0 <= count <= MAX_AUDIT:
            raise InvalidInput("last", f"{count} is not allowed; it must lie in [1, {MAX_AUDIT}]")
        found: deque[AuditEntry] = deque(maxlen=count or DEFAULT_LAST)
        for number in reversed(range(FILES)):
            found.extend(_entries(self._path(number)))
        return list(found)

    def close(self) -> None:
        """Close the file. Closing twice does nothing."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _path(self, number: int) -> Path:
        return self._folder / ("audit.jsonl" if number == 0 else f"audit.{number}.jsonl")

    def _append(self, line: bytes) -> None:
        if self._handle is not None and self._size + len(line) > self._file_bytes:
            self._turn_over()
        if self._handle is None:
            self._open()
        assert self._handle is not None
        written = os.write(self._handle, line)
        self._size += written
        if written < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._handle = os.open(self._path(0), flags, 0o600)
        self._size = os.fstat(self._handle).st_size
        if self._size and os.pread(self._handle, 1, self._size - 1) != b"\n":  # a line that was cut short
            self._size += os.write(self._handle, b"\n")

    def _turn_over(self) -> None:
        self.close()
        for number in reversed(range(FILES - 1)):
            if self._path(number).exists():
                self._path(number).replace(self._path(number + 1))


def fields_of(method: str, request: object) -> dict[str, str]:
    """What a call asked for, by field; of a change only what it changes. No secrets, nothing long."""
    if not hasattr(request, "DESCRIPTOR"):
        return {}
    try:
        flat = dict(_flattened("", _values(method, request)))
    except Exception as error:  # noqa: BLE001 - what can't be shown must not keep a call from being written down
        log.warning("what %s asked for can't be shown: %s", method, _short(str(error)))
        flat = {name: str(getattr(request, name)) for name in _SUBJECTS if hasattr(request, name)}
        flat["request"] = f"can't be shown ({type(error).__name__})"
    return {_short(name): _harmless(name, flat[name]) for name in list(flat)[:MAX_FIELDS]}


def _values(method: str, request: Any) -> Mapping[str, Any]:
    if method != "UpdateJob":
        values = MessageToDict(request, preserving_proto_field_name=True)
        values.pop("client_token", None)
        return values
    shown = type(request)()
    shown.CopyFrom(request)
    shown.ClearField("update_mask")  # protobuf refuses to show paths with capital letters, such as settings.C
    values = MessageToDict(shown, preserving_proto_field_name=True)
    spec = values.get("spec", {})
    return {
        "job_id": values.get("job_id", ""),
        **{path: _at(spec, path) for path in request.update_mask.paths},
    }


def _at(spec: Mapping[str, Any], path: str) -> Any:
    """What a mask's path names: a field, or one setting of the algorithm."""
    here: Any = spec
    for part in path.split("."):
        here = here.get(part, "") if isinstance(here, Mapping) else ""
    return here


def _flattened(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flattened(f"{prefix}.{name}" if prefix else str(name), inner)
    elif isinstance(value, list):
        yield prefix, ", ".join(str(one) for one in value)
    else:
        yield prefix, str(value)


def _harmless(name: str, text: str) -> str:
    """Without passwords: those of URIs, and values whose names say that they are some."""
    if _SECRET.search(name.rpartition(".")[2]):
        return _HIDDEN
    parts = [
        _QUERY.sub(f"?{_HIDDEN}", _USER_INFO.sub(f"{_HIDDEN}@", part)) if "://" in part else part
        for part in text.split(", ")
    ]
    return _short(", ".join(parts))


def _words(error: BaseException) -> str:
    return error.message if isinstance(error, GradloomError) else type(error).__name__


def _short(text: str) -> str:
    """Cut, and in one line that steers no terminal."""
    cut = text if len(text) <= MAX_LETTERS else text[: MAX_LETTERS - 4] + " ..."
    return one_line(cut)


def _entries(path: Path) -> Iterator[AuditEntry]:
    """What a file holds, but for a line that is cut short."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    yield AuditEntry(**json.loads(line))
                except (ValueError, TypeError):
                    continue
    except FileNotFoundError:
        return

"""Which data a service may read for other people: everything, or what lies below some roots. Decided by names alone.

Two looks at each file, and both refuse. ``check`` looks at the text that somebody typed, before anything is opened or
even imported for it: an unknown scheme, a chain of file systems (``zip://x::file:///etc``), ``..``, another host.
``check_real`` looks at where a local file turned out to be once its symbolic links were followed: ``opening`` asks it
about the file that it has opened already, so that nothing can be exchanged in between.

What remains: hard links, bind mounts and what a server does behind a URL lie with whoever may write there.
"""

import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from gradloom.data.upload_names import is_upload
from gradloom.errors import DataNotAllowed, InvalidInput

LOCAL = "file"
NOTHING = "none"
"""The word for no root at all: then only what clients have sent may be read."""
_LOCAL_NAMES = frozenset({"file", "local"})
OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl"})
"""Where an upload's own name is enough: one endpoint, no links, no other machine to be reached."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_DECODED = 3


@dataclass(frozen=True, slots=True)
class Root:
    """A folder, or the prefix of an object store, below which all may be read."""

    scheme: str
    """``file`` for local paths."""
    path: str
    """Absolute where it is local; else host or bucket and what follows it; empty = everything of the scheme."""

    def __str__(self) -> str:
        return self.path if self.scheme == LOCAL else f"{self.scheme}://{self.path}"

    def holds(self, scheme: str, path: str) -> bool:
        """Whether a normal path of a scheme is the root or lies below it."""
        return scheme == self.scheme and (not self.path or _is_below(path, self.path))


@dataclass(frozen=True, slots=True)
class DataAllowed:
    """What may be read. Without ``roots`` (None) that is everything."""

    roots: tuple[Root, ...] | None = None
    uploads: bool = field(default=False)
    """Whether files with the names of uploads may be read wherever they are: nobody else chooses such names."""

    @property
    def everything(self) -> bool:
        """Whether nothing is refused."""
        return self.roots is None

    def check(self, uri: str) -> None:
        """Refuse by the text of a file, glob or folder. Raises DataNotAllowed."""
        if self.roots is None:
            return
        if why := self._refusal(uri, self.roots):
            raise DataNotAllowed(uri, f"{why}; allowed: {self} (--data-allow)")

    def check_real(self, uri: str, real_path: str, real_roots: Iterable[str]) -> None:
        """Refuse a local file by where it is, links followed; so are ``real_roots``. Raises DataNotAllowed."""
        if self.roots is None or any(_is_below(real_path, root) for root in real_roots):
            return
        if not (self.uploads and is_upload(real_path)):
            raise DataNotAllowed(
                uri, f"leads out of what this process may read; allowed: {self} (--data-allow)"
            )

    @property
    def local_paths(self) -> tuple[str, ...]:
        """The roots on this machine."""
        return tuple(root.path for root in self.roots or () if root.scheme == LOCAL)

    def _refusal(self, uri: str, roots: Sequence[Root]) -> str:
        if _CONTROL.search(uri):
            return "holds a control character"
        if "::" in uri:
            return "is a chain of file systems (::), which may not be read"
        scheme, path = split_uri(uri)
        if any(".." in _segments(text) for text in _decoded(path)):
            return "holds .. , which may lead anywhere"
        if scheme != LOCAL:
            path = path.lstrip("/")
        elif why := _not_local(uri, path):
            return why
        else:
            path = _normal(path)
        is_known_upload = self.uploads and is_upload(path) and scheme in OBJECT_STORES | {LOCAL}
        if is_known_upload or any(root.holds(scheme, path) for root in roots):
            return ""
        return "is not below what this process may read"

    def __str__(self) -> str:
        if self.roots is None:
            return "everything"
        names = [str(root) for root in self.roots]
        return ", ".join([*names, *(["files that clients have sent"] if self.uploads or not names else [])])


EVERYTHING = DataAllowed()


def split_uri(uri: str) -> tuple[str, str]:
    """Scheme and path, as fsspec tells them apart; ``file`` for whatever is local."""
    scheme, separator, path = uri.partition("://")
    if separator and len(scheme) > 1:
        return (LOCAL if scheme in _LOCAL_NAMES else scheme), path
    if uri.startswith("data:"):
        return "data", uri.removeprefix("data:")
    for name in _LOCAL_NAMES:
        if uri.startswith(f"{name}:"):
            return LOCAL, uri[len(name) + 1 :]
    return LOCAL, uri


def parse_roots(texts: Iterable[str], field_name: str = "data_allow") -> tuple[Root, ...]:
    """The roots that a person names, each ``/folder`` or ``scheme://bucket/prefix``. Raises InvalidInput."""
    return tuple(_root(text.strip(), field_name) for text in texts if text.strip())


def given_roots(text: str) -> tuple[str, ...] | None:
    """What ``/data,s3://bucket/prefix`` names, not yet looked at; ``none`` names nothing; None for an empty text."""
    if not text.strip():
        return None
    return () if text.strip() == NOTHING else tuple(text.split(","))


def allowed(given: Sequence[str] | None, *, loopback: bool, upload_folder: str = "") -> DataAllowed:
    """What a service may read: what it was told; else everything, but beyond loopback uploads alone.

    ``upload_folder`` is where uploads are, if it is known; else they are known by their names. Raises InvalidInput.
    """
    if given is None and loopback:
        return EVERYTHING
    uploads = parse_roots([upload_folder], "upload_uri") if upload_folder else ()
    return DataAllowed((*parse_roots(given or ()), *uploads), uploads=not uploads)


def _root(text: str, field_name: str) -> Root:
    scheme, path = split_uri(text)
    if "::" in text or any(".." in _segments(part) for part in _decoded(path)):
        raise InvalidInput(field_name, f"{text!r} is not allowed; a root holds neither .. nor ::")
    if scheme != LOCAL:
        return Root(scheme, path.strip("/"))
    if why := _not_local(text, path):
        raise InvalidInput(field_name, f"{text!r} {why}; name folders from / on, or scheme://bucket/prefix")
    return Root(LOCAL, _normal(path))


def _not_local(uri: str, path: str) -> str:
    """Why a local path is no absolute one on this machine; empty if it is. fsspec reads a host as a folder."""
    if path.startswith("/"):
        return ""
    return "is no absolute path" if path == uri else "names a host, or no absolute path"


def _segments(path: str) -> list[str]:
    return path.replace("\\", "/").split("/")


def _decoded(path: str) -> list[str]:
    """The path, and what it becomes where somebody decodes percent signs, once or more often."""
    texts = [path]
    for _ in range(_MAX_DECODED):
        texts.append(unquote(texts[-1]))
    return texts


def _normal(path: str) -> str:
    return "/" + posixpath.normpath(path).lstrip("/")


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")

"""Tokens: 32 random bytes that stand for a name and a role. Kept as hashes, in one small JSON document.

::

    {"version": 1, "tokens": [{"name": "ann", "role": "operator", "sha256": "5e88...",
                               "created": "2026-01-31T09:00:00Z", "expires": "2026-05-01T09:00:00Z"}]}

``expires`` null = never. No file is touched here (``gradloom.token_file`` does) and no clock is read. The text of a
token is in no value of ours but on its way to the person who asked for it, and in no message of any error.
"""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from gradloom.errors import AlreadyExists, InvalidInput, NotFound
from gradloom.roles import Role, role_named

PREFIX = "gradloom_"
"""So that programs which look for secrets in repositories know one when they see it."""
TOKEN_BYTES = 32
VERSION = 1
MAX_TOKENS = 10_000
MAX_FILE_BYTES = 4 * 1024 * 1024
ID_LETTERS = 12
MAX_DAYS = 36_500.0

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TOKEN = re.compile(r"[\x21-\x7e]{16,512}")


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token; not the token. Times in seconds since the epoch; ``expires`` None = never."""

    name: str
    role: Role
    sha256: str
    created: float
    expires: float | None = None

    @property
    def id(self) -> str:
        """Tells several tokens of one name apart; nothing can be done with it."""
        return self.sha256[:ID_LETTERS]

    def expired(self, now: float) -> bool:
        """Whether it has ended."""
        return self.expires is not None and now >= self.expires


class TokenBook:
    """The tokens of a cluster, as one value."""

    def __init__(self, tokens: Iterable[Token] = ()) -> None:
        self.tokens = tuple(tokens)
        self._by_id = {token.id: token for token in self.tokens}

    def find(self, text: str) -> Token | None:
        """What a token stands for, be it expired or not; None = it is not known.

        Found by the beginning of its hash, then compared in constant time: how long it takes says nothing of the rest.
        """
        digest = sha256_of(text)
        token = self._by_id.get(digest[:ID_LETTERS])
        if token is None or not hmac.compare_digest(token.sha256, digest):
            return None
        return token

    def holds(self, token: Token) -> bool:
        """Whether a token that was found once still stands for the same."""
        return self._by_id.get(token.id) == token

    def with_one(self, token: Token) -> "TokenBook":
        """One token more. Raises AlreadyExists if its name has another role here, InvalidInput for one too many."""
        for other in self.tokens:
            if other.name == token.name and other.role is not token.role:
                raise AlreadyExists(
                    f"{token.name!r} has the role {other.role} here (token {other.id}); revoke that first, or take "
                    "another name"
                )
        if len(self.tokens) >= MAX_TOKENS:
            raise InvalidInput("name", f"there are {MAX_TOKENS} tokens already; revoke some")
        return TokenBook((*self.tokens, token))

    def without(self, name_or_id: str) -> "TokenBook":
        """Without all tokens of a name, or the one with this id. Raises NotFound."""
        kept = [token for token in self.tokens if name_or_id not in (token.name, token.id)]
        if len(kept) == len(self.tokens):
            known = ", ".join(sorted({token.name for token in self.tokens})) or "none"
            raise NotFound(f"there is no token of {name_or_id!r}; known names: {known}")
        return TokenBook(kept)


def new_token(name: str, role: Role, now: float, days: float | None) -> tuple[str, Token]:
    """A fresh token: its text, which is nowhere else, and what is kept of it. Raises InvalidInput."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            "name", f"{name!r} is not allowed; it takes 1 to 100 letters, digits, and . _ @ - after the first"
        )
    if days is not None and not 0 < days <= MAX_DAYS:
        raise InvalidInput(
            "days", f"{days:g} is not allowed; it must be more than 0 and at most {MAX_DAYS:g}"
        )
    text = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    expires = None if days is None else round(now + days * 86_400)
    return text, Token(name, role, sha256_of(text), float(round(now)), expires)


def sha256_of(text: str) -> str:
    """How a token is kept."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def checked(text: str, field: str = "token") -> str:
    """A token as somebody handed it over, without the white space around it; empty = none. Raises InvalidInput."""
    text = text.strip()
    if text and not _TOKEN.fullmatch(text):
        raise InvalidInput(
            field,
            "that is no token: it takes 16 to 512 visible ASCII letters; make one with: gradloom token create",
        )
    return text


def to_json(book: TokenBook) -> str:
    """The document."""
    tokens = [
        {
            "name": token.name,
            "role": token.role.value,
            "sha256": token.sha256,
            "created": text_of(token.created),
            "expires": None if token.expires is None else text_of(token.expires),
        }
        for token in book.tokens
    ]
    return json.dumps({"version": VERSION, "tokens": tokens}, indent=1) + "\n"


def from_json(text: str, field: str) -> TokenBook:
    """Read the document; ``field`` names it. Raises InvalidInput, also for two tokens that are the same."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(field, f"it is not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise InvalidInput(field, f"it is no file of tokens of version {VERSION}")
    entries = document.get("tokens")
    if not isinstance(entries, list) or len(entries) > MAX_TOKENS:
        raise InvalidInput(field, f"its 'tokens' must be a list of at most {MAX_TOKENS}")
    tokens = [_token(entry, f"{field}: token {i}") for i, entry in enumerate(entries)]
    if len({token.id for token in tokens}) != len(tokens):
        raise InvalidInput(field, "two of its tokens are the same")
    return TokenBook(tokens)


def _token(entry: object, field: str) -> Token:
    if not isinstance(entry, dict):
        raise InvalidInput(field, "it is not an object")
    name, digest = entry.get("name"), entry.get("sha256")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidInput(field, "its 'name' is missing or not allowed")
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise InvalidInput(field, "its 'sha256' must be 64 hexadecimal digits")
    created = _time(entry, "created", field)
    if created is None:
        raise InvalidInput(field, "its 'created' is missing")
    return Token(
        name, role_named(str(entry.get("role", ""))), digest, created, _time(entry, "expires", field)
    )


def _time(entry: Mapping[str, object], key: str, field: str) -> float | None:
    text = entry.get(key)
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        raise InvalidInput(field, f"its {key!r} is no time such as 2026-01-31T09:00:00Z") from None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def text_of(at: float) -> str:
    """A time as people read it, UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""Settings of the services. Only the ``__main__`` modules fill them from arguments and the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from gradloom import tokens
from gradloom.errors import InvalidInput
from gradloom.keys import NO_KEYS, Keyring, parse_keys
from gradloom.tls import TlsFiles, tls_files

DEFAULT_PORT = 50051
DRAIN_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class CoordinatorSettings:
    """How one coordinator runs."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    """0 = any free port."""
    metrics_port: int | None = None
    """Port of /metrics; 0 = any free port, None = no metrics."""
    metrics_host: str = ""
    """Where the metrics are served; empty = at ``host``."""
    data_dir: Path = Path("gradloom-data")
    max_workers: int = 1024
    max_queued_jobs: int = 1000
    max_ended_jobs: int = 200
    """Records that are kept; the oldest go first. Their model files stay, if the coordinator is ``durable``."""
    heartbeat_interval_s: float = 1.0
    suspect_after_s: float = 3.0
    lost_after_s: float = 5.0
    task_timeout_s: float = 600.0
    planning_timeout_s: float = 600.0
    store_url: str = field(default="", repr=False)
    """Where jobs are kept: ``sqlite:///FILE`` or ``postgresql://USER@HOST/DATABASE``; empty = a file in data_dir."""
    checkpoint_uri: str = ""
    """Folder of the checkpoints, as fsspec understands it; empty = one in data_dir."""
    checkpoint_every_s: float = 10.0
    checkpoint_every_rounds: int = 0
    """Whichever comes first; 0 = by time alone."""
    durable: bool = True
    """Whether jobs outlive the coordinator: without a database and checkpoints they end with it."""
    upload_uri: str = ""
    """Folder of the data sets that clients send, which all workers can read; empty = one in data_dir."""
    upload_limit_bytes: int = 16 * 1024**3
    """All uploads that are kept take no more together."""
    partials_limit_bytes: int = 2 * 1024**3
    """Memory for big partials on their way in and for those that wait for their siblings: others stay with their
    workers meanwhile. One may always come, so that rounds end."""
    upload_keep_s: float = 3600.0
    """An upload that no job has used for so long goes."""
    keys: Keyring = NO_KEYS
    """For checkpoints and models: the first one encrypts them, all of them are tried to read; none = plain files."""
    data_allow: tuple[str, ...] | None = None
    """Folders and prefixes below which jobs may read, and uploads; None = everything, beyond loopback uploads alone."""
    lease: bool = False
    """Whether it shares its PostgreSQL database with others, of which one leads."""
    lease_ttl_s: float = 6.0
    """How long one that fell silent is waited for before another one leads."""
    advertise: str = ""
    """Where others reach this coordinator, ``host:port``, for people to read; empty = by host and port."""
    health_host: str = "127.0.0.1"
    health_port: int | None = None
    """Plaintext port for probes; 0 = any free port, None = none."""
    tls: TlsFiles | None = None
    """Mutual TLS; None = plain text, which only this machine may speak."""
    insecure: bool = False
    """Whether plain text may leave this machine."""
    tokens_file: Path | None = None
    """The tokens of those who may call (``gradloom token``); None = no token is asked for."""
    calls_per_s: float = 2000.0
    """Of one caller, on average; as many as in two seconds at once. 0 = no limit."""
    max_streams_per_caller: int = 256
    max_streams: int = 4096
    """Streams of people that are open at once; those of workers go by ``max_workers``."""
    max_connections: int = 4096


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How one worker runs."""

    coordinator: str = f"127.0.0.1:{DEFAULT_PORT}"
    name: str = "worker"
    """Wished name; the coordinator makes it unique."""
    node: str = ""
    """The machine that it shares with other workers; empty = this host's name."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What jobs may ask for."""
    metrics_port: int | None = None
    cache_bytes: int = 1024**3
    """Memory for shards; the longest unused ones go first."""
    give_up_after_s: float = 300.0
    """Leave when the coordinator could not be reached for so long."""
    resume_for_s: float = 10.0
    """A session that broke off may be resumed for so long."""
    drain_timeout_s: float = DRAIN_TIMEOUT_S
    """A worker that is told to leave finishes what it computes for so long."""
    allow_chaos: bool = False
    """Whether operators may have it do harm to itself."""
    data_allow: tuple[str, ...] | None = None
    """As the coordinator's; whatever that one says, this worker reads nothing else."""
    health_host: str = "127.0.0.1"
    health_port: int | None = None
    """Plaintext port for probes; 0 = any free port, None = none."""
    tls: TlsFiles | None = None
    """Mutual TLS; None = plain text, which only this machine may speak."""
    insecure: bool = False
    """Whether plain text may leave this machine."""
    token: str = field(default="", repr=False)
    """Shown to the coordinator."""
    token_file: Path | None = None
    """Holds the token, if ``token`` is empty; read again for every session."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a client shows and trusts; nothing of it = plain text, to this machine alone."""

    tls: TlsFiles | None = None
    token: str = field(default="", repr=False)
    """Shown with every call; empty = none."""
    insecure: bool = False
    """Whether plain text may leave this machine."""


ACCESS_VARIABLES = (
    "GRADLOOM_TLS_CA",
    "GRADLOOM_TLS_CERT",
    "GRADLOOM_TLS_KEY",
    "GRADLOOM_INSECURE",
    "GRADLOOM_TOKEN",
    "GRADLOOM_TOKEN_FILE",
)
"""What a client is told in the environment; it belongs to the cluster that is meant, and to no other."""
MAX_TOKEN_FILE = 4096
KEY_VARIABLES = ("GRADLOOM_ENCRYPTION_KEY", "GRADLOOM_ENCRYPTION_KEY_FILE")
"""What a coordinator, and whoever reads or writes model files, is told of the keys for what lies on disk."""
MAX_KEY_FILE = 64 * 1024
STORE_PASSWORD_VARIABLE = "GRADLOOM_STORE_PASSWORD_FILE"  # noqa: S105 - its name
"""A file with the database's password, so that it stands neither in the URL nor in the environment."""
MAX_PASSWORD_FILE = 4096
TRUE_WORDS = frozenset({"1", "true", "t", "yes", "y", "on"})
FALSE_WORDS = frozenset({"", "0", "false", "f", "no", "n", "off"})


def access_from_environment(environment: Mapping[str, str] | None = None) -> Access:
    """What the environment says of a client; this process's own if none is given. Raises InvalidInput."""
    told = os.environ if environment is None else environment
    ca, cert, key, insecure, token, token_file = (told.get(name, "") for name in ACCESS_VARIABLES)
    word = insecure.strip().lower()
    if word not in TRUE_WORDS | FALSE_WORDS:
        raise InvalidInput("GRADLOOM_INSECURE", f"{insecure!r} is not allowed; it must be 1 or 0")
    shown = tokens.checked(token, "GRADLOOM_TOKEN") or read_token(token_file)
    return Access(tls_files(ca, cert, key), shown, word in TRUE_WORDS)


def access_given(
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    token_file: Path | None,
    *,
    insecure: bool,
) -> Access:
    """What a command line says of a client, with the token that the environment may hold. Raises InvalidInput."""
    token = token_from_environment() or read_token(token_file or "")
    return Access(tls_files(tls_ca, tls_cert, tls_key), token, insecure)


def token_from_environment() -> str:
    """The token itself, which no command line may show; empty = none."""
    return tokens.checked(os.environ.get("GRADLOOM_TOKEN", ""), "GRADLOOM_TOKEN")


def keys_from_environment(environment: Mapping[str, str] | None = None) -> Keyring:
    """The keys for what lies on disk; none if the environment names none. Raises InvalidInput."""
    told = os.environ if environment is None else environment
    text, path = (told.get(name, "").strip() for name in KEY_VARIABLES)
    if text and path:
        raise InvalidInput(KEY_VARIABLES[0], f"{KEY_VARIABLES[1]} is given too; give one of them")
    if not path:
        return parse_keys(text, KEY_VARIABLES[0]) if text else NO_KEYS
    return parse_keys(_text_of(path, MAX_KEY_FILE, KEY_VARIABLES[1]), KEY_VARIABLES[1])


def with_store_password(url: str, environment: Mapping[str, str] | None = None) -> str:
    """The database's URL with the password that the environment's file holds, if it names one. Raises InvalidInput."""
    told = os.environ if environment is None else environment
    path = told.get(STORE_PASSWORD_VARIABLE, "").strip()
    if not path:
        return url
    password = _text_of(path, MAX_PASSWORD_FILE, STORE_PASSWORD_VARIABLE).strip()
    if not password:
        raise InvalidInput(STORE_PASSWORD_VARIABLE, f"{path} is empty")
    before, at, after = url.rpartition("@")
    if not at or not before.partition("://")[2] or ":" in before.partition("://")[2]:
        raise InvalidInput(
            STORE_PASSWORD_VARIABLE,
            "the URL of the database must name a user and no password: postgresql://USER@HOST/DATABASE",
        )
    return f"{before}:{quote(password, safe='')}@{after}"


def read_token(path: str | os.PathLike[str]) -> str:
    """The token that a file holds; none for an empty path. Raises InvalidInput if it can't be read."""
    if not path:
        return ""
    text = _text_of(path, MAX_TOKEN_FILE, "token_file")
    if not text.strip():
        raise InvalidInput("token_file", f"{os.fspath(path)} is empty")
    return tokens.checked(text, "token_file")


def _text_of(path: str | os.PathLike[str], limit: int, field: str) -> str:
    """The first ``limit`` letters of a file. Raises InvalidInput for ``field``."""
    try:
        with Path(path).expanduser().open(encoding="utf-8") as file:
            return file.read(limit)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise InvalidInput(field, f"{os.fspath(path)} can't be read: {why}") from None

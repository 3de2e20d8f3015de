"""Texts that people type, or that stand in their files and environment."""

from collections.abc import Callable

from fuzz.target import Target
from gradloom.algorithms import build, names
from gradloom.codecs import canonical_text
from gradloom.data.allowed import EVERYTHING, allowed, parse_roots
from gradloom.data.sources import source_for
from gradloom.data.upload_names import is_upload
from gradloom.errors import InvalidInput
from gradloom.keys import parse_keys
from gradloom.synchrony import parse_synchrony
from gradloom.tls import hosts_of, is_loopback
from gradloom_coordinator.scheduling.policies import policy_named


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def words(read: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: read(text_of(data))


def setting(data: bytes) -> None:
    """``algorithm name=value``, whichever they are."""
    algorithm, _, rest = text_of(data).partition(" ")
    given = dict(pair.partition("=")[::2] for pair in rest.split("\n"))
    build(algorithm, given)


def root(text: str) -> None:
    for rule in (EVERYTHING, allowed(("/data", "s3://b/p"), loopback=True)):
        rule.check(text)
    parse_roots([text])


def host(text: str) -> None:
    for one in hosts_of(text):
        is_loopback(one)


def some(*texts: str) -> Callable[[], list[bytes]]:
    return lambda: [text.encode() for text in texts]


LONG = "9" * 5000
REFUSALS = (InvalidInput,)
TARGETS = (
    Target(
        "setting",
        setting,
        REFUSALS,
        some(*(f"{name} learning_rate=0.1" for name in names()), f"mlp hidden={LONG}"),
    ),
    Target(
        "codec",
        words(canonical_text),
        REFUSALS,
        some("topk:0.01,values=float32", f"powersgd:{LONG}", "dgc:0.1,warmup=3"),
    ),
    Target("synchrony", words(parse_synchrony), REFUSALS, some("bounded(staleness=3)", f"backup:{LONG}")),
    Target("placement", words(policy_named), REFUSALS, some("balanced")),
    Target("root", words(root), REFUSALS, some("/data", "s3://b/p/x", "zip://a::file:///b")),
    Target("format", words(source_for), REFUSALS, some("/a/b.csv", "x.npz", "x.gz")),
    Target(
        "upload_name", words(is_upload), (), some("gradloom-upload-1-0123456789abcdef0123456789abcdef.npz")
    ),
    Target("keys", words(lambda text: parse_keys(text, "KEY")), REFUSALS, some("00" * 32, "# x\n")),
    Target("host", words(host), REFUSALS, some("[::1]:50051", "dns:///a:1,b:2", "ipv6:[::1]:1")),
)

"""What is in our images: nothing that is nobody's business, and all that the services come to need."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builders.containers import SERVICES, docker, inspected
from builders.objects import CREDENTIALS, Objects, objects_server

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

SECRET = re.compile(r"passw|secret|token|_key|private", re.IGNORECASE)
PUBLIC_KEY = "GPG_KEY"
"""With which Python's releases are signed; the base image says it."""
TOOLS = ("gcc", "cc", "g++", "ld", "make", "git", "curl")
KEYS = ("*.key", "id_rsa*", "id_ed25519*", ".env", ".git", ".netrc", ".pypirc", "tokens.json")
FORBIDDEN = [word for name in (*TOOLS, *KEYS) for word in ("-o", "-name", name)][1:]
"""As find says it: what an image has no business with."""
STARTS = {
    "coordinator": "gradloom_coordinator.server",
    "worker": "gradloom_worker.runtime",
    "dashboard": "gradloom_dashboard.server",
}
"""What a service imports when it starts."""
UNCOMPILED = """
import importlib, os, sys
importlib.import_module(sys.argv[1])
cached = (getattr(module, "__cached__", None) for module in list(sys.modules.values()))
print(*(path for path in cached if path and not os.path.exists(path)))
"""
SUMS = """
import sys
from gradloom.data.planning import build_manifest
from gradloom.data.reading import iterate_raw
for uri in sys.argv[1:]:
    target = None if uri.endswith(".svm") else "y"
    for raw in iterate_raw(build_manifest([uri], target=target, n_shards=1)):
        print(uri, raw.X.sum(), raw.y.sum())
"""
X = np.arange(12.0).reshape(6, 2)
Y = np.arange(6.0)


def run(image: str, *words: str, options: tuple[str, ...] = ()) -> str:
    """What a program says in a container like the services'."""
    own = ["run", "--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--network", "host"]
    return docker(*own, *options, "--entrypoint", words[0], image, *words[1:])


def files() -> dict[str, bytes]:
    """The same rows in each format of tables, by name."""
    table = pa.table({"a": X[:, 0], "b": X[:, 1], "y": Y})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    rows = list(zip(X.tolist(), Y.tolist(), strict=True))
    return {
        "rows.parquet": buffer.getvalue(),
        "rows.csv": "\n".join(["a,b,y", *(f"{a},{b},{y}" for (a, b), y in rows)]).encode(),
        "rows.svm": "\n".join(f"{y} 1:{a} 2:{b}" for (a, b), y in rows).encode(),
    }


@pytest.fixture(scope="module")
def bucket() -> Iterator[Objects]:
    with objects_server() as objects:
        objects.make_bucket("tables")
        for name, content in files().items():
            objects.put(f"tables/{name}", content)
        yield objects


@pytest.mark.parametrize("service", ["coordinator", "worker"])
def test_every_format_is_read_from_disk_and_from_s3(
    images: dict[str, str], service: str, bucket: Objects, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    for name, content in files().items():
        (tmp_path / name).write_bytes(content)
    uris = [f"{folder}/{name}" for folder in ("/data", "s3://tables") for name in files()]
    variables = {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://{bucket.address}"}
    options = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    options += ["--volume", f"{tmp_path}:/data:ro"]
    found = run(images[service], "python", "-c", SUMS, *uris, options=tuple(options))
    assert found.splitlines() == [f"{uri} {X.sum()} {Y.sum()}" for uri in uris]


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_is_compiled_when_a_service_starts(images: dict[str, str], service: str) -> None:
    assert not run(images[service], "python", "-c", UNCOMPILED, STARTS[service]).split()


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_says_what_it_is_and_holds_nothing_that_is_nobodys_business(
    images: dict[str, str], service: str
) -> None:
    (image,) = inspected(images[service])
    config = image["Config"]
    assert config["User"] == "10001:10001"
    assert config["Healthcheck"]["Test"][:2] == ["CMD", "gradloom"]
    assert config["Labels"]["org.opencontainers.image.title"] == f"gradloom {service}"
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", images[service])
    said = [*config["Env"], *history.splitlines()]
    assert not [line for line in said if SECRET.search(line.replace(PUBLIC_KEY, ""))]
    looked = ["find", "/", "-xdev", "(", *FORBIDDEN, ")", "-not", "-path", "/usr/share/*", "-print"]
    assert not run(images[service], *looked, options=("--user", "0")).split()

"""A server that speaks S3, in a process of its own; a bucket is filled by plain HTTP, with no driver in between."""

import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from xml.etree import ElementTree as ET

LIMIT_S = 60.0
CREDENTIALS: Mapping[str, str] = {
    "AWS_ACCESS_KEY_ID": "gradloom",
    "AWS_SECRET_ACCESS_KEY": "of-the-tests",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


@dataclass(frozen=True)
class Objects:
    """Where it listens; what is in it goes with the process."""

    address: str

    def make_bucket(self, bucket: str) -> None:
        self._call("PUT", bucket)

    def put(self, path: str, content: bytes) -> None:
        self._call("PUT", path, content)

    def names(self, bucket: str) -> list[str]:
        """All objects of a bucket."""
        listing = ET.fromstring(self._call("GET", bucket))
        return [str(key.text) for key in listing.iter() if key.tag.endswith("}Key")]

    def buckets(self) -> list[str]:
        listing = ET.fromstring(self._call("GET", ""))
        return [str(name.text) for name in listing.iter() if name.tag.endswith("}Name")]

    def _call(self, method: str, path: str, content: bytes = b"") -> bytes:
        request = urllib.request.Request(
            f"http://{self.address}/{path}",
            content or None,
            {"Content-Type": "application/octet-stream"},  # else it is read as a form
            method=method,
        )
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
            return bytes(answer.read())


@contextmanager
def objects_server(open_calls: int | None = None) -> Iterator[Objects]:
    """``open_calls``: after so many calls only keys that it knows are let in, and it knows none."""
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
    if open_calls is not None:
        environment["INITIAL_NO_AUTH_ACTION_COUNT"] = str(open_calls)
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Objects(_address(process))
        finally:
            process.kill()


def _address(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"Running on http://(\S+)", line):
            # whatever it goes on to write is read: a full pipe would stop it
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return found[1]
    raise AssertionError("the object server has ended")

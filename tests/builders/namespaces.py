"""A network namespace joined to this machine by a cable that a test can cut and slow down. Needs root on Linux."""

import os
import random
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from builders.stillness import changing_network

LIMIT_S = 30.0


class NotPermitted(Exception):
    """Namespaces, or a kind of queue, can't be had here; says why."""


@dataclass(frozen=True)
class Far:
    """A place at the other end of a cable."""

    name: str
    cable: str
    """Our end of it."""
    here: str
    """Our address, as it is seen from there."""

    def cut(self) -> None:
        """Lose everything from now on, in both directions, and tell nobody."""
        with changing_network():
            _ip("link", "set", self.cable, "down")

    def mend(self) -> None:
        """Let everything pass again."""
        with changing_network():
            _ip("link", "set", self.cable, "up")

    def slow(self, *queue: str) -> None:
        """Have ``tc`` queue what goes to and from there. Raises NotPermitted for queues that the kernel lacks."""
        _run("tc", "qdisc", "replace", "dev", self.cable, "root", *queue)
        _run("ip", "netns", "exec", self.name, "tc", "qdisc", "replace", "dev", "far", "root", *queue)

    def hurry(self) -> None:
        """As fast as ever again."""
        _run("tc", "qdisc", "delete", "dev", self.cable, "root")
        _run("ip", "netns", "exec", self.name, "tc", "qdisc", "delete", "dev", "far", "root")

    def start(self, *command: str) -> "subprocess.Popen[bytes]":
        """Run one of our modules there; it leaves when its standard input ends."""
        words = ["ip", "netns", "exec", self.name, sys.executable, "-m", *command]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GRADLOOM_")}
        return subprocess.Popen(words, env=kept, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@contextmanager
def far_away() -> Iterator[Far]:
    """A namespace that is taken down at the end. Raises NotPermitted."""
    mark = uuid.uuid4().hex[:8]
    name, cable = f"gl-{mark}", f"gl{mark}"
    subnet = (
        f"10.{random.randint(64, 127)}.{random.randint(0, 255)}"  # so that tests side by side do not meet
    )
    _ip("netns", "add", name)
    try:
        with changing_network():
            _ip("link", "add", cable, "type", "veth", "peer", "name", "far", "netns", name)
            _ip("link", "set", cable, "addrgenmode", "none")  # else an address of IPv6 comes seconds later
            _ip("address", "add", f"{subnet}.1/24", "dev", cable)
            _ip("link", "set", cable, "up")
            for words in (f"address add {subnet}.2/24 dev far", "link set far up", "link set lo up"):
                _ip("-netns", name, *words.split())
        yield Far(name, cable, f"{subnet}.1")
    finally:
        with changing_network():
            with suppress(NotPermitted):  # where there is none
                _ip("link", "delete", cable)  # at once; with the namespace it would go some time later
            _ip("netns", "delete", name)


def _ip(*words: str) -> None:
    _run("ip", *words)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except FileNotFoundError:
        raise NotPermitted(f"{command[0]} is not installed; tests/install_packages.sh does it") from None
    if done.returncode:
        raise NotPermitted(f"{' '.join(command)}: {done.stderr.strip()}")

"""A TCP proxy that a test puts between a worker and its coordinator: it cuts, swallows, and can be a slow line."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

LIMIT_S = 30.0
_RESET = struct.pack("ii", 1, 0)
"""Linger for no time: close sends RST."""


class Proxy:
    """Forwards every connection to one address, or to a Unix socket by its path; runs in a thread of its own.

    ``bytes_per_s``: what each direction of a connection carries at most; None = whatever it can.
    """

    def __init__(self, target: str, bytes_per_s: float | None = None) -> None:
        self._bytes_per_s = bytes_per_s
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._forwards: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._connected = threading.Event()
        self._refuses = False
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self.address = self._call(self._start())

    def cut(self, *, refuse: bool = False) -> None:
        """Reset every connection; ``refuse``: and each new one, until ``mend``."""
        self._call(self._cut(refuse))

    def swallow(self) -> None:
        """Pass nothing on, in either direction, and tell nobody; new connections hang, until ``mend``."""
        self._connected.clear()
        self._call(self._stop_flow())

    def mend(self) -> None:
        """Let everything pass again. What was swallowed is lost: its connections are reset."""
        self._call(self._mend())

    def wait_for_connection(self, limit_s: float) -> bool:
        """Whether somebody connected since ``swallow``."""
        return self._connected.wait(limit_s)

    def close(self) -> None:
        """Reset everything and stop."""
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT_S)
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT_S)

    async def _start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def _stop(self) -> None:
        self._server.close()
        self._flows.set()
        await self._cut(refuse=True)
        await asyncio.gather(*self._forwards, return_exceptions=True)

    async def _cut(self, refuse: bool) -> None:
        self._refuses = refuse
        for pair in list(self._pairs):
            for writer in pair:
                _reset(writer)

    async def _stop_flow(self) -> None:
        self._flows.clear()

    async def _mend(self) -> None:
        self._refuses = False
        if not self._flows.is_set():
            await self._cut(refuse=False)
            self._flows.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connected.set()
        if self._refuses:
            _reset(writer)
            return
        try:
            far_reader, far_writer = await self._reach()
        except OSError:
            _reset(writer)
            return
        self._pairs.add(pair := (writer, far_writer))
        halves = [
            asyncio.create_task(self._forward(reader, far_writer)),
            asyncio.create_task(self._forward(far_reader, writer)),
        ]
        self._forwards.update(halves)
        await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
        self._pairs.discard(pair)
        for end in pair:
            _reset(end)

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._target.startswith("/"):
            return await asyncio.open_unix_connection(self._target)
        host, _, port = self._target.rpartition(":")
        return await asyncio.open_connection(host, int(port))

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._flows.wait()
                if self._bytes_per_s is not None:
                    await asyncio.sleep(len(data) / self._bytes_per_s)
                writer.write(data)
                await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


@contextlib.contextmanager
def proxy_to(target: str, bytes_per_s: float | None = None) -> Iterator[Proxy]:
    """A proxy that is closed at the end."""
    proxy = Proxy(target, bytes_per_s)
    try:
        yield proxy
    finally:
        proxy.close()

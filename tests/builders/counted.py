"""A wire that counts the gRPC calls that go through it, by the frames of HTTP/2 that begin them."""

import socket
import threading
from contextlib import suppress

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES, HEADERS = 9, 1


class CountingWire:
    """Forwards connections to one address; ``calls`` grows with each call that a client begins."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._server]
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self.calls = 0
        self.bytes_down = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End all connections."""
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(self._target)
                self._sockets += [near, far]
                threading.Thread(target=self._up, args=(near, far), daemon=True).start()
                threading.Thread(target=self._down, args=(far, near), daemon=True).start()

    def _down(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.bytes_down += len(data)
                sink.sendall(data)

    def _up(self, source: socket.socket, sink: socket.socket) -> None:
        unread, skip = b"", len(PREFACE)
        with suppress(OSError):
            while data := source.recv(65536):
                unread += data
                while len(unread) >= skip + HEAD_BYTES:
                    head = unread[skip : skip + HEAD_BYTES]
                    self.calls += head[3] == HEADERS
                    unread, skip = unread[skip:], HEAD_BYTES + int.from_bytes(head[:3], "big")
                if len(unread) >= skip:
                    unread, skip = unread[skip:], 0
                sink.sendall(data)

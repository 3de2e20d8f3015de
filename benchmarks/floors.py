"""The floors that our own rounds are held against: bare grpc.aio streams and bare TCP, no gradloom code.

Each floor does the work of one round and nothing else: a broadcast to every peer, an answer from each, and (where
there is something to add) the addition of the answers as their chunks arrive.
"""

import asyncio
import multiprocessing
import socket
import time
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np

from gradloom.memory import tune_malloc

FRAME_BYTES = 2 * 1024 * 1024
METHOD = "/floor/Stream"


class Peers:
    """Client streams spread over a few processes, as our workers are in the benchmark."""

    def __init__(self, target: Callable[..., None], hosting: list[int], *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._processes = [
            context.Process(target=target, args=(count, *arguments), daemon=True)
            for count in hosting
            if count
        ]
        for process in self._processes:
            process.start()

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
            process.join(10)


def spread(n_workers: int, n_processes: int) -> list[int]:
    """Workers hosted by each process."""
    return [n_workers // n_processes + (i < n_workers % n_processes) for i in range(n_processes)]


# ---- bare grpc.aio: small messages


def _echo_peers(count: int, address: str) -> None:
    tune_malloc()

    async def stream(channel: Any) -> None:
        call = channel.stream_stream(METHOD)()
        await call.write(b"hello")
        while (message := await call.read()) is not grpc.aio.EOF:
            await call.write(message)

    async def run() -> None:
        channels = [
            grpc.aio.insecure_channel(address, (("grpc.use_local_subchannel_pool", 1),)) for _ in range(count)
        ]
        await asyncio.gather(*(stream(channel) for channel in channels))

    asyncio.run(run())


async def aio_round_trips(
    n_workers: int, payload: int, rounds: int, warmup: int, n_processes: int
) -> list[float]:
    """Seconds of each round in which every stream gets ``payload`` bytes and sends them back."""
    waiting, arrived = {"left": n_workers}, asyncio.Event()
    calls: list[Any] = []

    async def handle(_: object, context: Any) -> None:
        await context.read()
        calls.append(context)
        _count(waiting, arrived)
        while await context.read() is not grpc.aio.EOF:
            _count(waiting, arrived)

    server = grpc.aio.server()
    handlers = {"Stream": grpc.stream_stream_rpc_method_handler(handle)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("floor", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    peers = Peers(_echo_peers, spread(n_workers, n_processes), f"127.0.0.1:{port}")
    await arrived.wait()
    message, seconds = bytes(payload), []
    for _ in range(rounds + warmup):
        waiting["left"] = n_workers
        arrived.clear()
        start = time.perf_counter()
        for call in calls:
            await call.write(message)
        await arrived.wait()
        seconds.append(time.perf_counter() - start)
    peers.stop()
    await server.stop(0)
    return seconds[warmup:]


def _count(waiting: dict[str, int], arrived: asyncio.Event) -> None:
    waiting["left"] -= 1
    if waiting["left"] == 0:
        arrived.set()


# ---- bare grpc.aio: raw frames of 2 MB, added as they arrive


def _frame_peers(count: int, address: str, total: int) -> None:
    tune_malloc()
    options = (("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1))

    async def stream(channel: Any) -> None:
        call = channel.stream_stream(METHOD)()
        await call.write(b"hello")
        buffer = np.empty(total, dtype=np.uint8)
        answer = np.ones(total // 8).view(np.uint8).data
        while True:
            received = 0
            while received < total:
                frame = await call.read()
                if frame is grpc.aio.EOF:
                    return
                buffer[received : received + len(frame)] = np.frombuffer(frame, dtype=np.uint8)
                received += len(frame)
            for offset in range(0, total, FRAME_BYTES):
                await call.write(bytes(answer[offset : offset + FRAME_BYTES]))

    async def run() -> None:
        channels = [grpc.aio.insecure_channel(address, options) for _ in range(count)]
        await asyncio.gather(*(stream(channel) for channel in channels))

    asyncio.run(run())


async def aio_tensor_rounds(n_workers: int, total: int, rounds: int, warmup: int) -> list[float]:
    """Seconds of each round in which every stream gets ``total`` bytes, and its answer is added to one sum."""
    waiting, arrived = {"left": n_workers}, asyncio.Event()
    calls: list[Any] = []
    accumulator = np.zeros(total // 8)

    async def handle(_: object, context: Any) -> None:
        await context.read()
        calls.append(context)
        _count(waiting, arrived)
        offset = 0
        while (frame := await context.read()) is not grpc.aio.EOF:
            part = accumulator[offset // 8 : (offset + len(frame)) // 8]
            np.add(part, np.frombuffer(frame, dtype="<f8"), out=part)
            offset += len(frame)
            if offset == total:
                offset = 0
                _count(waiting, arrived)

    server = grpc.aio.server(options=(("grpc.max_receive_message_length", -1),))
    handlers = {"Stream": grpc.stream_stream_rpc_method_handler(handle)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("floor", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    peers = Peers(_frame_peers, spread(n_workers, n_workers), f"127.0.0.1:{port}", total)
    await arrived.wait()
    parameters, seconds = np.ones(total // 8), []

    async def send(call: Any, frames: list[bytes]) -> None:
        for frame in frames:
            await call.write(frame)

    for _ in range(rounds + warmup):
        waiting["left"] = n_workers
        arrived.clear()
        start = time.perf_counter()
        accumulator[:] = 0
        view = parameters.view(np.uint8).data
        frames = [bytes(view[offset : offset + FRAME_BYTES]) for offset in range(0, total, FRAME_BYTES)]
        await asyncio.gather(*(send(call, frames) for call in calls))
        await arrived.wait()
        seconds.append(time.perf_counter() - start)
    peers.stop()
    await server.stop(0)
    return seconds[warmup:]


# ---- raw TCP: what the loopback gives to one Python process


def _tcp_peers(count: int, port: int, total: int) -> None:
    assert count == 1
    tune_malloc()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        buffer, answer = bytearray(total), np.ones(total // 8).view(np.uint8).data
        while _receive(connection, memoryview(buffer)):
            connection.sendall(answer)


def _receive(connection: socket.socket, view: memoryview) -> bool:
    while view:
        got = connection.recv_into(view)
        if not got:
            return False
        view = view[got:]
    return True


def tcp_tensor_rounds(n_workers: int, total: int, rounds: int, warmup: int) -> list[float]:
    """Seconds of each round over plain sockets, a thread for each peer; answers are added once complete."""
    from concurrent.futures import ThreadPoolExecutor

    listener = socket.create_server(("127.0.0.1", 0), backlog=n_workers)
    peers = Peers(_tcp_peers, [1] * n_workers, listener.getsockname()[1], total)
    connections = [listener.accept()[0] for _ in range(n_workers)]
    buffers = [bytearray(total) for _ in connections]
    accumulator, message = np.zeros(total // 8), np.ones(total // 8).view(np.uint8).data

    def exchange(i: int) -> None:
        connections[i].sendall(message)
        _receive(connections[i], memoryview(buffers[i]))

    seconds = []
    with ThreadPoolExecutor(n_workers) as pool:
        for _ in range(rounds + warmup):
            start = time.perf_counter()
            accumulator[:] = 0
            list(pool.map(exchange, range(n_workers)))
            for buffer in buffers:
                np.add(accumulator, np.frombuffer(buffer, dtype="<f8"), out=accumulator)
            seconds.append(time.perf_counter() - start)
    for connection in connections:
        connection.close()
    listener.close()
    peers.stop()
    return seconds[warmup:]

"""A coordinator on a real socket in this process, with tokens, and calls to it as the stubs make them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from gradloom import token_file, tokens
from gradloom.roles import Role
from gradloom.settings import CoordinatorSettings
from gradloom.v1 import cluster_service_pb2 as cluster
from gradloom.v1 import cluster_service_pb2_grpc, job_service_pb2_grpc
from gradloom.v1 import job_service_pb2 as jobs
from gradloom_coordinator import server
from gradloom_coordinator.access import guard

LIMIT_S = 20.0
CREATED = 1_700_000_000.0
UNKNOWN, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
PAUSE = jobs.PauseJobRequest(job_id="job-1", reason="too hot")
NOBODY = "gradloom_" + "x" * 43


@dataclass
class Guarded:
    """A coordinator with a file of tokens, one for each role."""

    folder: Path
    texts: dict[Role, str]
    address: str = ""

    @property
    def tokens_file(self) -> Path:
        return self.folder / "tokens.json"

    def token(self, role: Role, name: str = "", days: float | None = None) -> str:
        """One more token; its text."""
        text, token = tokens.new_token(name or f"the-{role}", role, CREATED, days)
        token_file.change(self.tokens_file, lambda book: book.with_one(token))
        return text

    def revoke(self, name: str) -> None:
        token_file.change(self.tokens_file, lambda book: book.without(name))

    @asynccontextmanager
    async def calling(self, who: Role | str | None) -> "AsyncIterator[Calls]":
        """Calls with a role's token, or a text that may be one."""
        text = self.texts[who] if isinstance(who, Role) else who
        options = (("grpc.use_local_subchannel_pool", 1),)
        async with grpc.aio.insecure_channel(self.address, options=options) as channel:
            yield Calls(channel, () if text is None else (("authorization", f"Bearer {text}"),))


class Calls:
    """The stubs over one channel, with one token."""

    def __init__(self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]) -> None:
        self.channel, self.metadata = channel, metadata
        self.jobs: Any = job_service_pb2_grpc.JobServiceStub(channel)
        self.cluster: Any = cluster_service_pb2_grpc.ClusterServiceStub(channel)

    async def refusal(
        self, method: Callable[..., Awaitable[object]], request: object
    ) -> grpc.aio.AioRpcError:
        """How a unary call is refused."""
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await method(request, metadata=self.metadata, timeout=LIMIT_S)
        return refused.value


def watching(calls: Calls) -> Any:
    """A stream that lasts as long as somebody listens."""
    return calls.cluster.WatchCluster(cluster.WatchClusterRequest(), metadata=calls.metadata, timeout=LIMIT_S)


async def all_of(stream: Any) -> None:
    """Listen to the end."""
    while await stream.read() is not grpc.aio.EOF:
        pass


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds, with a limit."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 - what is waited for knows no events
            await asyncio.sleep(0.01)


@pytest.fixture
def guarded(tmp_path: Path) -> Guarded:
    found = Guarded(tmp_path, {})
    found.texts.update({role: found.token(role) for role in Role})
    return found


@pytest.fixture
def serving(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> Callable[..., "Any"]:
    """``async with serving(calls_per_s=...)``: the guarded coordinator serves with such settings."""
    monkeypatch.setattr(guard, "LOOK_EVERY_S", 0.05)

    @asynccontextmanager
    async def serve(**settings: object) -> AsyncIterator[server.RunningCoordinator]:
        plain = CoordinatorSettings(
            port=0, data_dir=guarded.folder, tokens_file=guarded.tokens_file, durable=False
        )
        running = await server.start(replace(plain, **settings))
        guarded.address = running.addresses.address
        try:
            yield running
        finally:
            await running.stop()

    return serve

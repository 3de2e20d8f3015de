"""What the tests of a worker's runtime share."""

from collections.abc import AsyncIterator, Callable

import grpc
import pytest

from builders.worker_talk import Doing, FakeCoordinator
from gradloom.tensors import Tensors
from gradloom_worker import messages


@pytest.fixture
async def coordinator() -> AsyncIterator[FakeCoordinator]:
    fake = FakeCoordinator()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((fake,))
    fake.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield fake
    await server.stop(0)


@pytest.fixture
def does(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Call it with what the job's tasks do."""

    def set_up(*things: Callable[[], Tensors]) -> None:
        algorithm = Doing(things=iter(things))
        monkeypatch.setattr(messages, "build", lambda name, settings: algorithm)

    return set_up

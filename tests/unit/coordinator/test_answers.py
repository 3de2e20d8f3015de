"""What becomes of what workers answer. The scheduler is the real one; there is no gRPC."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from builders.attended import TASK, Cluster, said
from gradloom.canonical import Range
from gradloom.errors import ChecksumMismatch, FrameRefused
from gradloom.jobs import JobState
from gradloom.v1 import tensor_pb2, worker_pb2
from gradloom.wire.bundles import bundle_of, encode
from gradloom.wire.frames import FrameKind, parse_frame
from gradloom_coordinator.answers import PACKED_BYTES
from gradloom_coordinator.links import Incoming, WorkerLink
from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.scheduling.rounds import Refusal


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def offer(link: WorkerLink, job: str = TASK.job) -> None:
    partial = worker_pb2.Partial(bundle=tensor_pb2.Bundle(transfer_id=7))
    link.incoming[7] = Incoming(TASK._replace(job=job), partial)


def refused(link: WorkerLink) -> list[int]:
    frames = [parse_frame(message) for message in link.bulk._control]
    return [frame.transfer_id for frame in frames if frame.kind is FrameKind.REFUSAL]


@pytest.mark.parametrize(
    "stop",
    [
        lambda cluster: cluster.execute(c.CancelTasks("w", (TASK,), "another was faster")),
        lambda cluster: cluster.execute(c.DropPartial("w", TASK, Refusal.DUPLICATE)),
    ],
    ids=["cancelled", "dropped"],
)
def test_a_big_partial_that_nobody_needs_is_sent_no_further(
    cluster: Cluster, stop: Callable[[Cluster], None]
) -> None:
    link = cluster.join()
    offer(link)
    stop(cluster)
    assert not link.incoming
    assert refused(link) == [7]


def test_an_answer_for_a_job_that_is_over_is_followed_by_its_release(cluster: Cluster) -> None:
    link = cluster.join()
    cluster.execute(c.DropPartial("w", TASK, Refusal.UNKNOWN_JOB))
    assert [message.WhichOneof("kind") for message in said(link)] == ["welcome", "release"]


# ---- answers that come with their bytes

OPEN = e.TaskRef("job-1", 1, Range(0, 1), 1)


def bomb(n_bytes: int) -> tensor_pb2.Bundle:
    """Nothing at all, which says that it is so many bytes of zeros once it is decoded."""
    spec = tensor_pb2.TensorSpec(
        name="gradient",
        dtype=tensor_pb2.DTYPE_FLOAT64,
        shape=[n_bytes // 8],
        codec=tensor_pb2.CODEC_SPARSE,
    )
    bundle = bundle_of(encode({}), 1)
    bundle.tensors.append(spec)
    return bundle


def with_open_round(cluster: Cluster) -> WorkerLink:
    """A worker with the one task of a round in its hands."""
    cluster.runs["job-1"] = SimpleNamespace(broadcast=None, training=None, state=JobState.RUNNING)  # type: ignore[assignment]
    link = cluster.join()
    cluster.scheduler.handle(e.JobSubmitted("job-1", "balanced"), cluster.now)
    cluster.scheduler.handle(e.JobPlanned("job-1", (10,)), cluster.now)
    cluster.scheduler.handle(e.RoundReady("job-1", 1), cluster.now)
    assert OPEN in cluster.scheduler.state.workers["w"].tasks
    return link


def test_answers_that_nobody_wants_are_not_decoded(cluster: Cluster) -> None:
    link = with_open_round(cluster)
    bundle = bomb(PACKED_BYTES)
    bundle.inline.checksum += 1
    for task, refusal in (
        (OPEN._replace(job="nobody's"), Refusal.UNKNOWN_JOB),
        (OPEN._replace(round=2), Refusal.LATE),
        (OPEN._replace(range=Range(0, 2)), Refusal.FOREIGN),
    ):
        assert cluster.answers.decoded(link, task, bundle) is refusal
    with pytest.raises(ChecksumMismatch):
        cluster.answers.decoded(link, OPEN, bundle)
    cluster.answers.arrived(link, TASK, worker_pb2.Partial(), Refusal.LATE)
    assert isinstance(cluster.told[-1], e.PartialArrived), "the scheduler says itself what it refuses"


def test_a_few_bytes_can_not_fill_the_memory(cluster: Cluster) -> None:
    link = with_open_round(cluster)
    with pytest.raises(FrameRefused, match=f"at most {PACKED_BYTES} may"):
        cluster.answers.decoded(link, OPEN, bomb(PACKED_BYTES + 8))
    run = SimpleNamespace(broadcast=SimpleNamespace(raw_bytes=PACKED_BYTES))
    cluster.runs["job-1"] = run  # type: ignore[assignment]
    with pytest.raises(FrameRefused, match=f"at most {4 * PACKED_BYTES} may"):
        cluster.answers.decoded(link, OPEN, bomb(4 * PACKED_BYTES + 8))
    found = cluster.answers.decoded(link, OPEN, bundle_of(encode({"g": np.ones(3)}), 1))
    assert isinstance(found, dict)
    np.testing.assert_array_equal(found["g"], np.ones(3))


def test_a_big_partial_that_would_grow_without_end_is_refused_when_it_is_offered(cluster: Cluster) -> None:
    link = with_open_round(cluster)
    run = SimpleNamespace(broadcast=None, collector=object(), job_id="job-1")
    cluster.runs["job-1"] = run  # type: ignore[assignment]
    bundle = bomb(PACKED_BYTES + 8)
    bundle.transfer_id = 7
    link.incoming[7] = Incoming(OPEN, worker_pb2.Partial(bundle=bundle))
    cluster.execute(c.AcceptOffer("w", OPEN))
    assert refused(link) == [7]
    assert isinstance(cluster.told[-1], e.TaskFailed)


# ---- uploads at the end


async def test_a_goodbye_waits_for_uploads_that_are_wanted_and_no_longer_than_it_may(
    cluster: Cluster,
) -> None:
    link = cluster.join()
    offer(link)
    await link.uploads_end(10.0)  # it was offered, and nobody said that it is wanted
    link.incoming[7].upload = object()  # type: ignore[assignment]
    await link.uploads_end(0.001)
    assert link.incoming
    link.refuse([TASK])
    await link.uploads_end(10.0)

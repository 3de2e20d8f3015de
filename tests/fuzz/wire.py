"""What comes over the wire: frames, bundles, packed tensors, and every message that becomes values of ours."""

import struct
from collections.abc import Callable
from types import MappingProxyType

import numpy as np
import xxhash
from google.protobuf.message import DecodeError, Message

from fuzz.target import MIB, Target
from gradloom.codecs import Context, Format, Packed, decode, pack, parse_codec
from gradloom.data.manifest import Columns, DataFile, Manifest, Piece, ShardPlan
from gradloom.errors import GradloomError, InvalidInput, VersionMismatch, WireError
from gradloom.faults import check_fault
from gradloom.specs import DataSpec, JobSpec, check_spec
from gradloom.v1 import (
    cluster_pb2,
    cluster_service_pb2,
    fault_pb2,
    job_pb2,
    job_service_pb2,
    tensor_pb2,
    worker_pb2,
)
from gradloom.wire import keeping
from gradloom.wire.access import audit_from_proto, caller_from_proto
from gradloom.wire.bundles import INLINE_BYTES, bundle_of, decode_inline, encode
from gradloom.wire.cluster import change_from_proto, phases_from_proto, worker_from_proto
from gradloom.wire.faults import fault_from_proto
from gradloom.wire.frames import HEADER, data_frame, parse_frame
from gradloom.wire.jobs import algorithm_from_proto, event_from_proto, job_from_proto, job_spec_from_proto
from gradloom.wire.queries import answer_from_proto, question_from_proto
from gradloom.wire.steps import failure_from_proto
from gradloom.wire.traces import trace_from_proto
from gradloom_coordinator.sending import task_ref
from gradloom_worker.messages import job_work, order_of, tasks_named, tasks_of

FORMATS = sorted(Format)
MOST = MIB
"""What packed tensors of a fuzzed bundle may take once decoded."""
SPEC = JobSpec("logistic", DataSpec(("/data/a.csv",), "y"), {"max_rounds": "3"}, codec="topk:0.01")
MANIFEST = Manifest(
    (DataFile("/data/a.csv", "csv", 9, 99, "ff"),),
    Columns(("a", "b"), "y", None),
    (ShardPlan(0, 0, 9, (Piece(0, 0, 9, 0, 99, 0),)),),
)


def frame(data: bytes) -> None:
    parse_frame(data)


def whole_frame(data: bytes) -> None:
    """A frame whose lengths and checksum fit, so that what lies behind them is reached."""
    offset, total = struct.unpack("<QQ", data[:16].ljust(16, b"\0"))
    payload = data[16:]
    head = HEADER.pack(b"GLB1", 1, 7, offset, total, len(payload), xxhash.xxh3_64_intdigest(payload))
    parse_frame(head + payload)


def bundle(data: bytes) -> None:
    message = tensor_pb2.Bundle.FromString(data)
    message.inline.checksum = xxhash.xxh3_64_intdigest(message.inline.payload)
    tensors = decode_inline(message, MOST)
    assert sum(array.nbytes for array in tensors.values()) <= MOST + len(data)


def packed(data: bytes) -> None:
    kind, n = struct.unpack("<BI", data[:5].ljust(5, b"\0"))
    payload = np.frombuffer(data[5:], dtype=np.uint8)
    decode(Packed(FORMATS[kind % len(FORMATS)], np.dtype("f4"), (n % (1 << 18),), payload))


def packed_seeds() -> list[bytes]:
    array = np.linspace(-1, 1, 600, dtype=np.float32).reshape(20, 30)
    seeds = []
    for text in ("float16", "bfloat16", "int8", "topk:0.01", "topk:0.5", "powersgd:1", "signsgd"):
        codec = parse_codec(text)
        assert codec is not None
        payload, _ = codec.encode(array, None, Context())
        assert payload is not None
        seeds.append(struct.pack("<BI", FORMATS.index(codec.format), array.size) + payload.tobytes())
    return seeds


def bundle_seeds() -> list[bytes]:
    codec = parse_codec("topk:0.1")
    assert codec is not None
    parts = {"g": np.ones((40, 50), np.float32), "n": np.arange(3), "b": np.zeros(0, np.uint8)}
    sent = pack(parts, ["g"], codec, {}, Context()).parcel
    return [bundle_of(encode(one), 1).SerializeToString() for one in (parts, sent)]


def from_worker(data: bytes) -> None:
    """As the coordinator reads what a worker says."""
    message = worker_pb2.WorkerMessage.FromString(data)
    match message.WhichOneof("kind"):
        case "partial":
            task_ref(message.partial.task)
            message.partial.bundle.inline.checksum = xxhash.xxh3_64_intdigest(
                message.partial.bundle.inline.payload
            )
            decode_inline(message.partial.bundle, MOST)
        case "heartbeat":
            phases_from_proto(message.heartbeat.phases)
        case "failed":
            failure_from_proto(message.failed.reason), task_ref(message.failed.task)
        case "given_up":
            tuple(map(task_ref, message.given_up.tasks))


def from_coordinator(data: bytes) -> None:
    """As a worker reads what the coordinator says."""
    from gradloom.wire.data import shard_from_proto

    message = worker_pb2.CoordinatorMessage.FromString(data)
    match message.WhichOneof("kind"):
        case "setup":
            job_work(message.setup, None)
        case "compute":
            tasks_of(message.compute, 0.0), order_of(message.compute)
        case "take_back":
            tasks_named(message.take_back.tasks)
        case "inject":
            fault_from_proto(message.inject)
        case "assign_shards":
            tuple(map(shard_from_proto, message.assign_shards.shards))


def submitted(data: bytes) -> None:
    """As the coordinator reads a submission, up to the algorithm's own settings."""
    from gradloom.algorithms import build
    from gradloom.specs import with_local_steps
    from gradloom_coordinator.compression.traffic import check_codecs
    from gradloom_coordinator.scheduling.policies import policy_named
    from gradloom_coordinator.steering import check_schedule, check_synchrony

    spec = with_local_steps(job_spec_from_proto(job_service_pb2.SubmitJobRequest.FromString(data).spec))
    check_spec(spec)
    policy_named(spec.placement)
    build(spec.algorithm, spec.settings)
    check_synchrony(spec)
    check_codecs(spec)
    check_schedule(spec)


def steered(data: bytes) -> None:
    from gradloom_coordinator.steering import alterations

    request = job_service_pb2.UpdateJobRequest.FromString(data)
    alterations(SPEC, job_spec_from_proto(request.spec), tuple(request.update_mask.paths))


def injected(data: bytes) -> None:
    check_fault(fault_from_proto(fault_pb2.Fault.FromString(data)))


def asked(data: bytes) -> None:
    question_from_proto(job_service_pb2.QueryRequest.FromString(data))


def answered(data: bytes) -> None:
    answer_from_proto(job_service_pb2.QueryResponse.FromString(data))


def traced(data: bytes) -> None:
    trace_from_proto([job_service_pb2.GetTraceResponse.FromString(data)])


SHOWN: MappingProxyType[type[Message], Callable[[object], object]] = MappingProxyType(
    {
        job_pb2.Job: job_from_proto,
        job_pb2.JobEvent: event_from_proto,
        job_pb2.AlgorithmDescription: algorithm_from_proto,
        cluster_pb2.Worker: worker_from_proto,
        cluster_service_pb2.WatchClusterResponse: change_from_proto,
        cluster_service_pb2.WhoAmIResponse: caller_from_proto,
        cluster_service_pb2.AuditRecord: audit_from_proto,
    }
)  # type: ignore[arg-type]


def shown(data: bytes) -> None:
    """As a client reads what a coordinator says."""
    kinds = list(SHOWN)
    kind = kinds[data[0] % len(kinds)] if data else kinds[0]
    SHOWN[kind](kind.FromString(data[1:]))


KEPT = (
    keeping.spec_from_bytes,
    keeping.manifest_from_bytes,
    keeping.schema_from_bytes,
    keeping.event_from_bytes,
    keeping.view_from_bytes,
)


def kept(data: bytes) -> None:
    """As a coordinator reads what it finds in its database."""
    KEPT[data[0] % len(KEPT) if data else 0](data[1:])


def spec_seeds() -> list[bytes]:
    request = job_service_pb2.SubmitJobRequest()
    request.spec.ParseFromString(keeping.spec_to_bytes(SPEC))
    update = job_service_pb2.UpdateJobRequest(spec=request.spec)
    update.update_mask.paths.extend(["codec", "settings.max_rounds"])
    return [request.SerializeToString(), update.SerializeToString()]


def worker_seeds() -> list[bytes]:
    key = worker_pb2.TaskKey(job_id="job-1", round=3, lo=0, hi=1, attempt=2)
    inline = bundle_of(encode({"g": np.ones(4)}), 1)
    hello = worker_pb2.Hello(protocol_version=1, name="w", host="h", cores=1.0, algorithms={"logistic": 2})
    return [
        worker_pb2.WorkerMessage(**{name: value}).SerializeToString()
        for name, value in (
            ("hello", hello),
            ("partial", worker_pb2.Partial(task=key, bundle=inline, rows=9)),
            ("heartbeat", worker_pb2.Heartbeat()),
            ("failed", worker_pb2.TaskFailed(task=key, reason=1, message="m")),
            ("given_up", worker_pb2.GivenUp(tasks=[key])),
        )
    ]


def coordinator_seeds() -> list[bytes]:
    from gradloom.wire.data import shard_to_proto, source_to_proto

    setup = worker_pb2.Setup(
        job_id="j", algorithm="logistic", algorithm_version=2, step=1, source=source_to_proto(MANIFEST)
    )
    compute = worker_pb2.Compute(job_id="j", round=1, tasks=[{"lo": 0, "hi": 1}])
    shards = worker_pb2.AssignShards(job_id="j", shards=[shard_to_proto(MANIFEST.shards[0])])
    return [
        worker_pb2.CoordinatorMessage(setup=setup).SerializeToString(),
        worker_pb2.CoordinatorMessage(compute=compute).SerializeToString(),
        worker_pb2.CoordinatorMessage(assign_shards=shards).SerializeToString(),
    ]


def kept_seeds() -> list[bytes]:
    return [b"\0" + keeping.spec_to_bytes(SPEC), b"\1" + keeping.manifest_to_bytes(MANIFEST)]


def nothing() -> list[bytes]:
    return [b""]


PROTO = (DecodeError, WireError, InvalidInput)
TARGETS = (
    Target("frame", frame, (WireError,), lambda: [data_frame(1, [memoryview(b"abc")], 3, 0)]),
    Target("whole_frame", whole_frame, (WireError,), lambda: [struct.pack("<QQ", 0, 3) + b"abc"]),
    Target("bundle", bundle, (DecodeError, WireError), bundle_seeds, 6 * MOST),
    Target("packed", packed, (WireError,), packed_seeds),
    Target("from_worker", from_worker, (DecodeError, WireError), worker_seeds, 6 * MOST),
    Target("from_coordinator", from_coordinator, (*PROTO, VersionMismatch), coordinator_seeds),
    Target("submitted", submitted, PROTO, spec_seeds),
    Target("steered", steered, PROTO, spec_seeds),
    Target("injected", injected, PROTO, nothing),
    Target("asked", asked, PROTO, nothing),
    Target("answered", answered, PROTO, nothing),
    Target("traced", traced, PROTO, nothing),
    Target("shown", shown, PROTO, nothing),
    Target("kept", kept, (ValueError, GradloomError), kept_seeds),
)
assert INLINE_BYTES < MOST

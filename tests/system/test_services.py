"""What a coordinator answers to people's calls and to every stock gRPC tool.

The words on the wire are the subject here, so raw stubs speak them and no client of ours stands between.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

from builders.calls import LIMIT_S, endless, events, finished, submitted
from gradloom import LocalCluster
from gradloom.v1 import data_pb2, job_pb2, job_service_pb2, job_service_pb2_grpc

pytestmark = pytest.mark.system

MIB = 1024 * 1024
SERVICES = ("gradloom.v1.JobService", "gradloom.v1.ClusterService", "gradloom.v1.WorkerService")
COMPLETED = job_pb2.JobState.JOB_STATE_COMPLETED

Spec = job_pb2.JobSpec


@pytest.fixture(scope="module")
def channel(cluster: LocalCluster) -> Iterator[grpc.Channel]:
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(cluster.address, options=options) as channel:
        yield channel


@pytest.fixture(scope="module")
def jobs(channel: grpc.Channel) -> Any:
    return job_service_pb2_grpc.JobServiceStub(channel)


@pytest.fixture
def spec(breast_cancer: Path) -> Spec:
    """A job of a moment."""
    return Spec(algorithm="logistic", data=data_pb2.DataSpec(uris=[str(breast_cancer)]))


@pytest.fixture
def long_job(jobs: Any, slow_data: Path) -> Iterator[str]:
    """The id of a job that runs for as long as the test does."""
    job_id = submitted(jobs, endless(str(slow_data), "60")).job_id
    yield job_id
    jobs.CancelJob(job_service_pb2.CancelJobRequest(job_id=job_id), timeout=LIMIT_S)


def refusal(call: Callable[[], object]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as refused:
        call()
    return refused.value


def violation(error: grpc.RpcError) -> tuple[str, str]:
    """Field and description of the BadRequest that a refusal carries."""
    request = error_details_pb2.BadRequest()
    assert any(detail.Unpack(request) for detail in rpc_status.from_call(error).details)
    (found,) = request.field_violations
    return found.field, found.description


# ---- what every gRPC tool expects


@pytest.mark.parametrize("service", ["", *SERVICES])
def test_health_is_serving(channel: grpc.Channel, service: str) -> None:
    request = health_pb2.HealthCheckRequest(service=service)
    answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=LIMIT_S)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_lists_the_services_and_describes_their_methods(channel: grpc.Channel) -> None:
    described = ProtoReflectionDescriptorDatabase(channel)
    assert {*SERVICES, "grpc.health.v1.Health"} <= set(described.get_services())
    file = described.FindFileContainingSymbol("gradloom.v1.JobService")
    assert file.name == "gradloom/v1/job_service.proto"
    assert "SubmitJob" in [method.name for method in file.service[0].method]


# ---- people's calls


def test_the_same_token_with_the_same_specification_is_the_same_job(jobs: Any, spec: Spec) -> None:
    first = submitted(jobs, spec, "once")
    again = submitted(jobs, spec, "once")
    other = submitted(jobs, spec, "twice")
    assert again.job_id == first.job_id != other.job_id
    spec.seed = 7
    error = refusal(lambda: submitted(jobs, spec, "once"))
    assert error.code() is grpc.StatusCode.ALREADY_EXISTS
    assert "'once'" in error.details()
    assert first.job_id in error.details()


def test_without_a_token_every_call_makes_a_job(jobs: Any, spec: Spec) -> None:
    assert submitted(jobs, spec).job_id != submitted(jobs, spec).job_id


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        (Spec(algorithm="logistik"), "algorithm", "Did you mean 'logistic'?"),
        (Spec(settings={"l3": "1"}), "setting", "Did you mean 'l2'?"),
        (Spec(settings={"l2": "-1"}), "l2", "'-1' is not allowed"),
        (Spec(settings={"max_rounds": "many"}), "max_rounds", "'many' is not allowed"),
        (Spec(test_fraction=0.95), "test_fraction", "0.95 is not allowed; it must lie in [0, 0.9]"),
        (Spec(seed=2**63), "seed", f"{2**63} is not allowed"),
        (Spec(placement="nearby"), "placement", "'nearby' is not known"),
        (Spec(data=data_pb2.DataSpec(shards=2_000_000)), "shards", "2000000 is not allowed"),
        (Spec(data=data_pb2.DataSpec(uris=[""])), "data", "at least one file, glob or folder is needed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refused_specification_names_the_field(
    jobs: Any, spec: Spec, change: Spec, field: str, problem: str
) -> None:
    spec.MergeFrom(change)
    error = refusal(lambda: submitted(jobs, spec))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    said_field, said_problem = violation(error)
    assert said_field == field
    assert problem in said_problem
    assert error.details() == f"{said_field}: {said_problem}"


def test_a_watch_goes_on_after_any_event_without_a_gap(jobs: Any, spec: Spec) -> None:
    job_id = finished(jobs, spec).job_id
    whole = list(events(jobs, job_id))
    assert [event.sequence for event in whole] == list(range(1, len(whole) + 1))
    assert whole[-1].state_changed.state == COMPLETED
    for after in (1, len(whole) // 2, len(whole) - 1, len(whole)):
        assert list(events(jobs, job_id, after)) == whole[after:]


def test_a_watch_that_breaks_while_the_job_runs_is_taken_up_without_a_gap(jobs: Any, long_job: str) -> None:
    seen: list[int] = []
    for _ in range(4):
        watch = events(jobs, long_job, seen[-1] if seen else 0)
        seen += [next(watch).sequence for _ in range(10)]
        watch.close()
    assert seen == list(range(1, 41))


def test_there_is_no_model_before_the_job_has_completed(jobs: Any, long_job: str) -> None:
    next(event for event in events(jobs, long_job) if event.WhichOneof("kind") == "round_completed")
    request = job_service_pb2.GetModelRequest(job_id=long_job)
    error = refusal(lambda: list(jobs.GetModel(request)))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert f"job {long_job} has no model: it is running" in error.details()


def test_a_completed_job_cannot_be_cancelled_and_a_cancelled_one_can_again(
    jobs: Any, spec: Spec, long_job: str
) -> None:
    done = job_service_pb2.CancelJobRequest(job_id=finished(jobs, spec).job_id)
    error = refusal(lambda: jobs.CancelJob(done))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "has completed and can't be cancelled" in error.details()
    request = job_service_pb2.CancelJobRequest(job_id=long_job, reason="enough")
    for _ in range(2):
        job = jobs.CancelJob(request).job
        assert job.state == job_pb2.JobState.JOB_STATE_CANCELLED
        assert "enough" in job.reason


@pytest.mark.parametrize("method", ["GetJob", "WatchJob", "CancelJob", "GetModel"])
def test_a_job_that_is_not_there_is_not_found(jobs: Any, method: str) -> None:
    request = getattr(job_service_pb2, f"{method}Request")(job_id="logistic-0")
    answer = getattr(jobs, method)
    streaming = method in ("WatchJob", "GetModel")
    error = refusal(lambda: list(answer(request)) if streaming else answer(request))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert error.details() == "there is no job 'logistic-0'"


def test_a_message_over_the_limit_is_refused_and_the_coordinator_lives_on(jobs: Any, spec: Spec) -> None:
    huge = Spec()
    huge.CopyFrom(spec)
    huge.settings["l2"] = "0" * (65 * MIB)
    error = refusal(lambda: submitted(jobs, huge))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert finished(jobs, spec).state == COMPLETED

"""Raw calls to a coordinator, as the stubs make them, and nothing of our client in between."""

from collections.abc import Generator
from typing import Any

from gradloom.v1 import data_pb2, job_pb2, job_service_pb2

LIMIT_S = 60.0


def submitted(jobs: Any, spec: job_pb2.JobSpec, token: str = "") -> job_pb2.Job:
    request = job_service_pb2.SubmitJobRequest(spec=spec, client_token=token)
    response: job_service_pb2.SubmitJobResponse = jobs.SubmitJob(request, timeout=LIMIT_S)
    return response.job


def events(jobs: Any, job_id: str, after: int = 0) -> Generator[job_pb2.JobEvent, None, None]:
    request = job_service_pb2.WatchJobRequest(job_id=job_id, after_sequence=after)
    call = jobs.WatchJob(request, timeout=LIMIT_S)
    try:
        for response in call:
            yield response.event
    finally:
        call.cancel()


def finished(jobs: Any, spec: job_pb2.JobSpec) -> job_pb2.Job:
    """Submit a job, follow it to its end, and look at it."""
    job_id = submitted(jobs, spec).job_id
    for _ in events(jobs, job_id):
        pass
    response: job_service_pb2.GetJobResponse = jobs.GetJob(job_service_pb2.GetJobRequest(job_id=job_id))
    return response.job


def endless(data: str, target: str) -> job_pb2.JobSpec:
    """A job that goes on for minutes unless it is cancelled."""
    settings = {"solver": "gradient_descent", "max_rounds": "100000", "tolerance": "0"}
    source = data_pb2.DataSpec(uris=[data], target=target, shards=8)
    return job_pb2.JobSpec(algorithm="logistic", data=source, settings=settings)

"""gRPC in, calls on the Coordinator out: what people ask for. Methods here only translate messages and errors."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

from gradloom import __version__
from gradloom.algorithms import describe, names
from gradloom.errors import GradloomError, NotFound, TooManyCalls
from gradloom.v1 import cluster_service_pb2, cluster_service_pb2_grpc, job_service_pb2, job_service_pb2_grpc
from gradloom.watching import ClusterChange
from gradloom.wire.access import audit_to_proto, caller_to_proto
from gradloom.wire.cluster import change_to_proto, worker_to_proto
from gradloom.wire.faults import fault_from_proto
from gradloom.wire.jobs import (
    algorithm_to_proto,
    event_to_proto,
    job_spec_from_proto,
    job_to_proto,
)
from gradloom.wire.queries import answer_to_proto, question_from_proto
from gradloom.wire.times import set_time
from gradloom.wire.traces import head_to_proto, spans_to_proto
from gradloom_coordinator.access.callers import CALLER
from gradloom_coordinator.access.rates import OpenStreams
from gradloom_coordinator.refusals import Context, answering_errors, refuse, who
from gradloom_coordinator.runtime import Coordinator

QUERY_LIMIT_S = 30.0
"""How long a query waits for its answer if its caller does not say."""
QUERY_SHARE = 0.9
"""Of its caller's patience: so that there is time to say why there is no answer."""
MODEL_CHUNK_BYTES = 1024 * 1024
DOWNLOADS, DOWNLOADS_OF_ONE = 8, 4
"""Models that are sent at a time, each held in memory as a whole; and those of one caller."""


class JobServicer(job_service_pb2_grpc.JobServiceServicer):
    """What people do with jobs."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._downloads = OpenStreams(DOWNLOADS_OF_ONE, DOWNLOADS)

    @answering_errors
    async def SubmitJob(
        self,
        request: job_service_pb2.SubmitJobRequest,
        context: Context,
    ) -> job_service_pb2.SubmitJobResponse:
        view = await self._coordinator.submit(job_spec_from_proto(request.spec), request.client_token)
        return job_service_pb2.SubmitJobResponse(job=job_to_proto(view))

    @answering_errors
    async def GetJob(
        self,
        request: job_service_pb2.GetJobRequest,
        context: Context,
    ) -> job_service_pb2.GetJobResponse:
        view = self._coordinator.view(self._coordinator.records.named(request.job_id))
        return job_service_pb2.GetJobResponse(job=job_to_proto(view))

    @answering_errors
    async def ListJobs(
        self,
        request: job_service_pb2.ListJobsRequest,
        context: Context,
    ) -> job_service_pb2.ListJobsResponse:
        runs = reversed(self._coordinator.runs.values())
        return job_service_pb2.ListJobsResponse(
            jobs=[job_to_proto(self._coordinator.view(run)) for run in runs]
        )

    async def WatchJob(
        self, request: job_service_pb2.WatchJobRequest, context: Context
    ) -> AsyncIterator[job_service_pb2.WatchJobResponse]:
        try:
            run = self._coordinator.records.named(request.job_id)
            async for event in run.journal.follow(request.after_sequence, until_now=request.until_now):
                yield job_service_pb2.WatchJobResponse(event=event_to_proto(event))
        except GradloomError as error:
            await refuse(context, error)

    @answering_errors
    async def CancelJob(
        self,
        request: job_service_pb2.CancelJobRequest,
        context: Context,
    ) -> job_service_pb2.CancelJobResponse:
        view = await self._coordinator.cancel(request.job_id, request.reason)
        return job_service_pb2.CancelJobResponse(job=job_to_proto(view))

    @answering_errors
    async def UpdateJob(
        self,
        request: job_service_pb2.UpdateJobRequest,
        context: Context,
    ) -> job_service_pb2.UpdateJobResponse:
        wanted, paths = job_spec_from_proto(request.spec), tuple(request.update_mask.paths)
        control = self._coordinator.control
        view = await control.change(request.job_id, wanted, paths, request.etag, who(context))
        return job_service_pb2.UpdateJobResponse(job=job_to_proto(view))

    @answering_errors
    async def PauseJob(
        self,
        request: job_service_pb2.PauseJobRequest,
        context: Context,
    ) -> job_service_pb2.PauseJobResponse:
        view = await self._coordinator.control.pause(request.job_id, request.reason, who(context))
        return job_service_pb2.PauseJobResponse(job=job_to_proto(view))

    @answering_errors
    async def ResumeJob(
        self,
        request: job_service_pb2.ResumeJobRequest,
        context: Context,
    ) -> job_service_pb2.ResumeJobResponse:
        view = await self._coordinator.control.resume(request.job_id, who(context))
        return job_service_pb2.ResumeJobResponse(job=job_to_proto(view))

    @answering_errors
    async def StepJob(
        self,
        request: job_service_pb2.StepJobRequest,
        context: Context,
    ) -> job_service_pb2.StepJobResponse:
        view = await self._coordinator.control.step(request.job_id, request.rounds, who(context))
        return job_service_pb2.StepJobResponse(job=job_to_proto(view))

    @answering_errors
    async def RollbackJob(
        self,
        request: job_service_pb2.RollbackJobRequest,
        context: Context,
    ) -> job_service_pb2.RollbackJobResponse:
        view = await self._coordinator.control.roll_back(request.job_id, request.round, who(context))
        return job_service_pb2.RollbackJobResponse(job=job_to_proto(view))

    @answering_errors
    async def AnnotateJob(
        self,
        request: job_service_pb2.AnnotateJobRequest,
        context: Context,
    ) -> job_service_pb2.AnnotateJobResponse:
        await self._coordinator.control.annotate(request.job_id, request.text, who(context))
        return job_service_pb2.AnnotateJobResponse()

    async def GetModel(
        self, request: job_service_pb2.GetModelRequest, context: Context
    ) -> AsyncIterator[job_service_pb2.GetModelResponse]:
        try:
            path, models = self._coordinator.records.model_path(request.job_id), self._coordinator.jobs.models
            self._count_download(context)
            content = await models.in_thread(models.read, path)
        except GradloomError as error:
            await refuse(context, error)
            return
        except OSError as error:
            await refuse(context, NotFound(f"the model file of job {request.job_id} can't be read: {error}"))
            return
        for offset in range(0, len(content), MODEL_CHUNK_BYTES):
            yield job_service_pb2.GetModelResponse(chunk=content[offset : offset + MODEL_CHUNK_BYTES])

    def _count_download(self, context: Context) -> None:
        key = CALLER.get().key
        if problem := self._downloads.open(key):
            raise TooManyCalls(f"models are being sent: {problem}; again in 1 s", retry_after_s=1.0)
        context.add_done_callback(lambda _: self._downloads.close(key))

    async def GetTrace(
        self, request: job_service_pb2.GetTraceRequest, context: Context
    ) -> AsyncIterator[job_service_pb2.GetTraceResponse]:
        try:
            trace = self._coordinator.trace(request.job_id)
        except GradloomError as error:
            await refuse(context, error)
            return
        yield job_service_pb2.GetTraceResponse(head=head_to_proto(trace.head))
        for rounds in trace.rounds():
            yield spans_to_proto(rounds=rounds)
        for tasks in trace.tasks():
            yield spans_to_proto(tasks=tasks)

    @answering_errors
    async def Query(
        self,
        request: job_service_pb2.QueryRequest,
        context: Context,
    ) -> job_service_pb2.QueryResponse:
        question, rows = question_from_proto(request)
        remaining_s = context.time_remaining()
        limit_s = QUERY_LIMIT_S if remaining_s is None else QUERY_SHARE * remaining_s
        return answer_to_proto(await self._coordinator.query(request.job_id, question, rows, limit_s))

    @answering_errors
    async def Upload(
        self,
        request: AsyncIterator[job_service_pb2.UploadRequest],
        context: Context,
    ) -> job_service_pb2.UploadResponse:
        kept = await self._coordinator.take_upload(part.chunk async for part in request)
        return job_service_pb2.UploadResponse(upload_id=kept.upload_id, uri=kept.uri)

    @answering_errors
    async def DeleteUpload(
        self,
        request: job_service_pb2.DeleteUploadRequest,
        context: Context,
    ) -> job_service_pb2.DeleteUploadResponse:
        await self._coordinator.remove_upload(request.upload_id)
        return job_service_pb2.DeleteUploadResponse()

    @answering_errors
    async def ListAlgorithms(
        self,
        request: job_service_pb2.ListAlgorithmsRequest,
        context: Context,
    ) -> job_service_pb2.ListAlgorithmsResponse:
        found = [algorithm_to_proto(describe(name)) for name in names()]
        return job_service_pb2.ListAlgorithmsResponse(algorithms=found)


class ClusterServicer(cluster_service_pb2_grpc.ClusterServiceServicer):
    """What operators do with the cluster."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._last_told: tuple[ClusterChange, cluster_service_pb2.WatchClusterResponse] | None = None

    @answering_errors
    async def ListWorkers(
        self,
        request: cluster_service_pb2.ListWorkersRequest,
        context: Context,
    ) -> cluster_service_pb2.ListWorkersResponse:
        workers = [worker_to_proto(view) for view in self._coordinator.workers()]
        response = cluster_service_pb2.ListWorkersResponse(workers=workers, version=__version__)
        set_time(response.at, time.time())
        return response

    async def WatchCluster(
        self, request: cluster_service_pb2.WatchClusterRequest, context: Context
    ) -> AsyncIterator[cluster_service_pb2.WatchClusterResponse]:
        try:
            async with aclosing(self._coordinator.watching.follow()) as changes:
                async for change in changes:
                    yield self._told(change)
        except GradloomError as error:
            await refuse(context, error)

    def _told(self, change: ClusterChange) -> cluster_service_pb2.WatchClusterResponse:
        """Translated once for all who watch: most are told the same."""
        if self._last_told is None or self._last_told[0] is not change:
            self._last_told = change, change_to_proto(change)
        return self._last_told[1]

    @answering_errors
    async def DrainWorker(
        self,
        request: cluster_service_pb2.DrainWorkerRequest,
        context: Context,
    ) -> cluster_service_pb2.DrainWorkerResponse:
        self._coordinator.operating.drain(request.worker, request.reason, who(context))
        return cluster_service_pb2.DrainWorkerResponse()

    @answering_errors
    async def ExcludeWorker(
        self,
        request: cluster_service_pb2.ExcludeWorkerRequest,
        context: Context,
    ) -> cluster_service_pb2.ExcludeWorkerResponse:
        await self._coordinator.operating.exclude(request.worker, request.reason, who(context))
        return cluster_service_pb2.ExcludeWorkerResponse()

    @answering_errors
    async def ReadmitWorker(
        self,
        request: cluster_service_pb2.ReadmitWorkerRequest,
        context: Context,
    ) -> cluster_service_pb2.ReadmitWorkerResponse:
        await self._coordinator.operating.readmit(request.worker, who(context))
        return cluster_service_pb2.ReadmitWorkerResponse()

    @answering_errors
    async def Explain(
        self,
        request: cluster_service_pb2.ExplainRequest,
        context: Context,
    ) -> cluster_service_pb2.ExplainResponse:
        return cluster_service_pb2.ExplainResponse(sentences=self._coordinator.explain(request.subject))

    @answering_errors
    async def InjectFault(
        self,
        request: cluster_service_pb2.InjectFaultRequest,
        context: Context,
    ) -> cluster_service_pb2.InjectFaultResponse:
        response = cluster_service_pb2.InjectFaultResponse()
        at = self._coordinator.inject(request.worker, fault_from_proto(request.fault))
        set_time(response.at, at)
        return response

    @answering_errors
    async def WhoAmI(
        self,
        request: cluster_service_pb2.WhoAmIRequest,
        context: Context,
    ) -> cluster_service_pb2.WhoAmIResponse:
        return caller_to_proto(CALLER.get().view())

    @answering_errors
    async def ListAudit(
        self,
        request: cluster_service_pb2.ListAuditRequest,
        context: Context,
    ) -> cluster_service_pb2.ListAuditResponse:
        found = await asyncio.to_thread(self._coordinator.audit.last, request.last)
        return cluster_service_pb2.ListAuditResponse(records=[audit_to_proto(entry) for entry in found])

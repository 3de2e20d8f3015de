"""What a job is before its first round: its files looked at, its shards counted, its algorithm built."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from gradloom.algorithms import build
from gradloom.data.allowed import DataAllowed
from gradloom.data.manifest import Manifest
from gradloom.data.planning import build_manifest
from gradloom.data.preparation import Split
from gradloom.errors import Unavailable
from gradloom.specs import JobSpec
from gradloom_coordinator.durability import changes as ch
from gradloom_coordinator.readable import check_files
from gradloom_coordinator.runs import JobRun
from gradloom_coordinator.scheduling import events as e
from gradloom_coordinator.training import Training

PLANNING_THREADS = 8


class Planner:
    """Plans the jobs of a coordinator; files are looked at in threads."""

    def __init__(
        self,
        limit_s: float,
        may_read: DataAllowed,
        keep: Callable[[ch.Change], None],
        dispatch: Callable[[e.Event], None],
        clock: Callable[[], float],
    ) -> None:
        self._limit_s = limit_s
        self._may_read = may_read
        self._keep = keep
        self._dispatch = dispatch
        self._clock = clock
        # threads of its own: a dead mount must not take those that updates and models need
        self._threads = ThreadPoolExecutor(PLANNING_THREADS, thread_name_prefix="planning")

    async def plan(self, run: JobRun) -> None:
        """Make a job ready for its first round, by the manifest that it has already if it goes on after a restart.

        Raises Unavailable if its files can't be looked at in time, DataError, InvalidInput.
        """
        if run.started is None:
            run.started = self._clock()
        manifest = run.manifest or await self._look_at_files(run.spec)
        check_files(manifest, self._may_read)
        if run.state.final:
            return
        if run.manifest is None:
            self._keep(ch.JobPlaced(run.job_id, manifest, time.time()))
        spec = run.in_force
        algorithm = build(spec.algorithm, spec.settings)
        run.built_from = spec.settings
        split = Split(spec.seed, algorithm.needs.validation_fraction, spec.test_fraction)
        run.training, run.manifest = Training(algorithm, manifest, split), None
        run.rows, run.n_shards = manifest.rows, len(manifest.shards)
        self._dispatch(e.JobPlanned(run.job_id, tuple(shard.rows for shard in manifest.shards)))

    async def _look_at_files(self, spec: JobSpec) -> Manifest:
        data = spec.data
        look_at_files = partial(
            build_manifest,
            data.uris,
            format=data.format or None,
            features=data.features,
            target=data.target or None,
            weight=data.weight or None,
            n_shards=data.shards or None,
            unsupervised=build(spec.algorithm, spec.settings).needs.task == "unsupervised",
            allowed=self._may_read,
        )
        try:
            planning = asyncio.get_running_loop().run_in_executor(self._threads, look_at_files)
            return await asyncio.wait_for(planning, self._limit_s)
        except TimeoutError:
            raise Unavailable(f"looking at the files took more than {self._limit_s:g} s") from None

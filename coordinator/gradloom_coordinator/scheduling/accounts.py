"""What answers say of workers: their speed, where their time went, who was slow and why, what copies were worth.

No I/O, no clock.
"""

from dataclasses import dataclass
from math import inf

from gradloom.steps import Step
from gradloom_coordinator.scheduling import commands as c
from gradloom_coordinator.scheduling.blame import in_words, judge_round, remember
from gradloom_coordinator.scheduling.commands import Command
from gradloom_coordinator.scheduling.events import PartialArrived, TaskRef
from gradloom_coordinator.scheduling.limits import Limits
from gradloom_coordinator.scheduling.measures import Lost
from gradloom_coordinator.scheduling.rounds import Chunk, Round
from gradloom_coordinator.scheduling.state import ClusterState, Given, Job, Share, Worker
from gradloom_coordinator.scheduling.tracing import TraceBook

MIN_COMPUTE_S = 1e-6
"""Shorter than any task: what is said to have taken less is measured as this."""


@dataclass(slots=True)
class Accounts:
    """Keeps the measurements that decisions are made by."""

    limits: Limits
    state: ClusterState

    def begin_step(self, job: Job, step: Step) -> None:
        """Rows take another time from here on: only which worker is faster than which is still believed."""
        job.step_now = step
        if job.pace_s:
            for share in job.shares.values():
                share.relative_speed = share.rows_per_second * job.pace_s
                share.rows_per_second = share.lasting_rows_per_second = 0.0
        job.pace_s = 0.0

    def credit(self, job: Job, worker: Worker, event: PartialArrived, now: float) -> None:
        """Take in where the time of one answer went."""
        assert job.round is not None
        rows = job.rows_in(event.task.range)
        # what a worker says of itself is not believed blindly; in some steps only some rows take part
        taking_part = min(event.rows, rows)
        job.round.rows_answered += taking_part
        share, times = job.share(worker.id), event.times
        worker.rows += taking_part
        share.rows += taking_part
        share.busy_s += times.busy_s
        job.partial_bytes = event.byte_length
        given = worker.tasks.get(event.task)
        if rows:
            compute_s = max(times.compute_s, MIN_COMPUTE_S)
            self._measure(job, worker, share, rows, compute_s)
            worker.rows_per_second = self._average(worker.rows_per_second, taking_part / compute_s)
        self._tally(job, worker, event, rows, given, now)
        self._count(job, worker, event, now)
        self._trace(worker, event, given, taking_part, now)
        if given is not None:
            job.charged_s += (times.busy_s - given.expected_s) / job.share_weight

    def _measure(self, job: Job, worker: Worker, share: Share, rows: int, compute_s: float) -> None:
        speed = rows / compute_s
        share.rows_per_second = self._average(share.rows_per_second, speed)
        worker.speeds[job.algorithm] = self._average(worker.speeds.get(job.algorithm, 0.0), speed)
        job.pace_s = self._average(job.pace_s, compute_s / rows)

    def _tally(
        self, job: Job, worker: Worker, event: PartialArrived, rows: int, given: Given | None, now: float
    ) -> None:
        assert job.round is not None
        times, tally = event.times, job.round.tally(worker.id)
        held = job.holds(worker.id, event.task.range)
        tally.rows += rows
        tally.queue_s += times.queue_s
        tally.load_s += times.load_s
        tally.compute_s += times.compute_s
        tally.encode_s += times.encode_s
        tally.last_answer_at = now
        if held:
            self.state.measures.hits += 1
            tally.reload_s += times.load_s
        else:
            self.state.measures.misses += 1
            job.hold(worker.id, event.task.range)
            if times.load_s and rows:
                job.load_s_per_row = self._average(job.load_s_per_row, times.load_s / rows)
        if given is not None:
            transit_s = max(0.0, now - given.at - times.queue_s - times.busy_s)
            tally.transit_s += transit_s
            worker.transit_s = self._average(worker.transit_s, transit_s)
            self.state.measures.round_trip.observe(transit_s, worker.id)
            if rows:
                job.round.paces.append((now - max(given.at, worker.answered_at)) / rows)

    def _count(self, job: Job, worker: Worker, event: PartialArrived, now: float) -> None:
        assert job.round is not None
        measures, times = self.state.measures, event.times
        job.counts.succeeded += 1
        measures.task_seconds.observe(times.busy_s, worker.id)
        measures.queue_wait.observe(times.queue_s)
        if event.task.attempt == 1:
            measures.first_tries += 1
        else:
            measures.attempts.observe(event.task.attempt)
        if not job.synchrony.exact:
            measures.staleness.observe(job.round.number - event.task.round, job.id)
        lost_at = job.round.chunks[event.task.range].lost_at
        if lost_at is not None:
            measures.recovery.observe(now - lost_at, "worker")

    def _trace(
        self, worker: Worker, event: PartialArrived, given: Given | None, rows: int, now: float
    ) -> None:
        if (book := self.state.traces.of(event.task.job)) is None:
            return
        at, is_copy = (given.at, given.is_copy) if given is not None else (None, False)
        book.counted(worker.id, event.task, at, rows, event.times, now, is_copy=is_copy)

    def let_go(self, worker: Worker, task: TaskRef, *, counted: bool) -> None:
        """A task's shards are counted; if not by this worker's answer, it was outrun: part of who was slow."""
        if counted:
            self.state.take_from(worker, task)
            return
        given, round_ = self.state.discard(worker, task, Lost.SUPERSEDED), self.state.jobs[task.job].round
        assert round_ is not None
        if given.spent_s and not given.is_copy:
            tally = round_.tally(worker.id)
            tally.outrun_rows += given.rows
            tally.outrun_s += given.spent_s

    def _average(self, old: float, new: float) -> float:
        memory = self.limits.speed_memory if old else 0.0
        return memory * old + (1 - memory) * new

    def settle_copies(self, job: Job, winner: Worker, chunk: Chunk, now: float) -> list[Command]:
        """A chunk that was copied is counted: what was the copy worth?"""
        tasks = {name: self.state.workers[name].tasks[ref] for name, ref in chunk.holders.items()}
        original = next((given for given in tasks.values() if not given.is_copy), None)
        for name, given in tasks.items():
            if not given.is_copy:
                continue
            copied_s = now - given.at
            if name != winner.id:
                job.copies.end(won=False, saved_s=0.0, wasted_s=copied_s)
            elif original is None:  # its worker is gone: the copy is what was needed
                job.copies.end(won=True, saved_s=0.0, wasted_s=0.0)
            else:
                # how long the original would have gone on nobody knows: it is late by so much, and will be by as
                # much again; the copy's own time was not in vain
                late_s = now - original.at - original.expected_s
                job.copies.end(won=True, saved_s=max(0.0, late_s), wasted_s=0.0)
        assert job.round is not None
        verdict = job.copies.judge(job.round.number)
        return [c.AnnounceNote(job.id, verdict)] if verdict else []

    def close(self, job: Job, now: float) -> None:
        """A round is over: who waited, who was slow, and why."""
        assert job.round is not None
        total = job.rows_before[-1] or 1
        book = self.state.traces.begin(job.id, job.copies, now)
        book.closed(now)
        self._at_the_barrier(job, job.round, book, now)
        for name, tally in job.round.tallies.items():
            share = job.share(name)
            if tally.rows:
                speed = tally.rows / max(tally.compute_s, MIN_COMPUTE_S)
                share.lasting_rows_per_second = self._average(share.lasting_rows_per_second, speed)
        for name, blame in judge_round(self.limits, job.round.tallies).items():
            share, worker = job.share(name), self.state.workers.get(name)
            share.slow_rounds = remember(share.slow_rounds, blame.cause is not None)
            if worker is not None:
                rows_share = job.round.tallies[name].rows / total
                worker.slowdown_ratio = blame.slowdown
                worker.straggler = in_words(self.limits, blame, share.slow_rounds, rows_share)
            if blame.cause is not None:
                self.state.measures.stragglers.add(name, blame.cause)
                book.was_slow(name, blame.cause)

    def _at_the_barrier(self, job: Job, round_: Round, book: TraceBook, now: float) -> None:
        """Who waited how long for the end of the round, whom all waited for, and how even the work was."""
        measures, last, least_s, alone_s = self.state.measures, "", inf, inf
        longest_s = all_s = 0.0
        for name, tally in round_.tallies.items():
            busy_s = tally.load_s + tally.compute_s + tally.encode_s
            all_s += busy_s
            longest_s = max(longest_s, busy_s)
            if tally.last_answer_at is None:
                continue
            wait_s = now - tally.last_answer_at
            job.share(name).wait_s += wait_s
            measures.barrier_wait.observe(wait_s, job.id)
            book.waited(name, wait_s)
            if wait_s < least_s:
                last, least_s, alone_s = name, wait_s, least_s
            elif wait_s < alone_s:
                alone_s = wait_s
        if not round_.complete:
            measures.left_out.add("left_out", by=round_.n_shards - round_.shards_counted)
        elif alone_s < inf:
            measures.last_arrivals.add(last)
            measures.critical_path.add(last, by=alone_s)
            book.was_last(last, alone_s)
            job.counts.last_worker, job.counts.last_waited_s = last, alone_s
            job.share(last).rounds_last += 1
            job.share(last).waited_for_s += alone_s
            owners = len(job.placement.shards) if job.placement is not None else 0
            if all_s:
                uneven = longest_s * max(len(round_.tallies), owners) / all_s
                job.counts.imbalance = self._average(job.counts.imbalance, uneven)

"""What answers say of workers: their speed, where their time went, who was slow and why, what copies were worth.

No I/O, no clock.
"""

from dataclasses import dataclass

from gradloom.steps import Step
from gradloom_coordinator import commands as c
from gradloom_coordinator.blame import in_words, judge_round, remember
from gradloom_coordinator.commands import Command
from gradloom_coordinator.events import PartialArrived
from gradloom_coordinator.limits import Limits
from gradloom_coordinator.rounds import Chunk
from gradloom_coordinator.state import ClusterState, Given, Job, Share, Worker

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
            self._measure(job, worker, share, rows, max(times.compute_s, MIN_COMPUTE_S))
        self._tally(job, worker, event, rows, given, now)
        if given is not None:
            job.charged_s += (times.busy_s - given.expected_s) / job.share_weight

    def _measure(self, job: Job, worker: Worker, share: Share, rows: int, compute_s: float) -> None:
        speed = rows / compute_s
        share.rows_per_second = self._average(share.rows_per_second, speed)
        worker.rows_per_second = self._average(worker.rows_per_second, speed)
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
            tally.reload_s += times.load_s
        else:
            job.hold(worker.id, event.task.range)
            if times.load_s and rows:
                job.load_s_per_row = self._average(job.load_s_per_row, times.load_s / rows)
        if given is not None:
            transit_s = max(0.0, now - given.at - times.queue_s - times.busy_s)
            tally.transit_s += transit_s
            worker.transit_s = self._average(worker.transit_s, transit_s)
            if rows:
                job.round.paces.append((now - max(given.at, worker.answered_at)) / rows)

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
        for name, tally in job.round.tallies.items():
            share = job.share(name)
            share.wait_s += now - tally.last_answer_at
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

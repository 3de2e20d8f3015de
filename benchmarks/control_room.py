"""How fluid the control room stays in Chromium: many workers that change all the time, and a job of many rounds.

A coordinator that is played by this script pushes four times a second, as a busy one does; the control room and the
browser are real. Said of each page: frames a second, how long the page was busy without a break, what came over its
WebSocket, and the CPU that the control room's process took.

    python benchmarks/control_room.py [--workers 200] [--rounds 10000] [--seconds 10] [--json]
"""

import argparse
import json
import queue
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import psutil
from playwright.sync_api import Browser, CDPSession, sync_playwright

from gradloom import algorithms
from gradloom.callers import CallerView
from gradloom.children import Child, stop
from gradloom.jobs import (
    JobEvent,
    JobState,
    JobView,
    RoundCompleted,
    WorkerActivity,
    WorkerPhases,
    WorkerShare,
    WorkerState,
    WorkerView,
)
from gradloom.specs import DataSpec, JobSpec
from gradloom.v1 import (
    cluster_service_pb2_grpc,
    job_service_pb2,
    job_service_pb2_grpc,
)
from gradloom.watching import ClusterChange
from gradloom.wire.access import caller_to_proto
from gradloom.wire.cluster import change_to_proto
from gradloom.wire.jobs import algorithm_to_proto, event_to_proto

# ruff: noqa: N802 - names are those of the protocol

JOB_ID, PUSH_EVERY_S, ROUNDS_A_SECOND = "logistic-1", 0.25, 40.0
OPTIONS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
SPEC = JobSpec("logistic", DataSpec(("s3://bucket/rows.parquet",), target="late"))
WATCH = """() => {
  window.gl = { frames: [], tasks: [] };
  let last = performance.now();
  const frame = (now) => { window.gl.frames.push(now - last); last = now; requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
  new PerformanceObserver((list) => {
    for (const task of list.getEntries()) window.gl.tasks.push(task.duration);
  }).observe({ entryTypes: ["longtask"] });
}"""


class Played(cluster_service_pb2_grpc.ClusterServiceServicer, job_service_pb2_grpc.JobServiceServicer):
    """A coordinator whose workers never rest."""

    def __init__(self, n_workers: int, rounds: int) -> None:
        self.n_workers, self.rounds, self.began = n_workers, rounds, time.monotonic()
        self.rng = random.Random(3)

    def WhoAmI(self, request: Any, context: Any) -> Any:
        return caller_to_proto(CallerView("", "admin", "open", None))

    def ListAlgorithms(self, request: Any, context: Any) -> Any:
        known = [algorithm_to_proto(algorithms.describe("logistic"))]
        return job_service_pb2.ListAlgorithmsResponse(algorithms=known)

    def WatchCluster(self, request: Any, context: Any) -> Iterator[Any]:
        sequence = 0
        while context.is_active():
            sequence += 1
            workers = tuple(self.worker(i) for i in range(self.n_workers))
            yield change_to_proto(
                ClusterChange(
                    sequence, time.time(), "0.1.0", sequence == 1, False, workers, jobs=(self.job(),)
                )
            )
            time.sleep(PUSH_EVERY_S)

    def WatchJob(self, request: Any, context: Any) -> Iterator[Any]:
        seen = request.after_sequence
        while context.is_active():
            while seen < self.round():
                seen += 1
                yield job_service_pb2.WatchJobResponse(event=event_to_proto(self.event(seen)))
            time.sleep(0.02)

    def round(self) -> int:
        return self.rounds + int(ROUNDS_A_SECOND * (time.monotonic() - self.began))

    def event(self, number: int) -> JobEvent:
        loss = 0.3 + 1 / number + 0.01 * self.rng.random()
        done = RoundCompleted(
            number, 10 * self.rounds, loss, 0.1, loss + 0.02, 0.01, 0.025, 1e6, self.n_workers, 60.0
        )
        return JobEvent(number, time.time(), done)

    def worker(self, i: int) -> WorkerView:
        age, share = time.monotonic() - self.began, 0.3 + 0.5 * i / self.n_workers
        lo = self.rng.randrange(1000)
        beats = int(age)
        return WorkerView(
            worker=f"worker-{i}",
            state=WorkerState.BUSY if self.rng.random() < 0.8 else WorkerState.IDLE,
            host=f"node-{i // 8}",
            pid=1000 + i,
            cores=8.0,
            memory_bytes=2**35,
            version="0.1.0",
            heartbeat_age_s=age - beats,
            tasks_in_flight=1 + self.rng.randrange(3),
            shards=5,
            rows=int(1e6 * age),
            rows_per_second=1e6 * (1 + 0.1 * self.rng.random()),
            connected_s=age,
            metrics_address="",
            phases=WorkerPhases(compute=beats * share, send=0.1 * beats, wait=beats * (0.9 - share)),
            activity=WorkerActivity(JOB_ID, "train", self.round(), lo, lo + 2, 1, 0.01, speculative=False),
        )

    def job(self) -> JobView:
        shares = tuple(
            WorkerShare(
                f"worker-{i}",
                5,
                int(1e5 * self.round() * (1 + i % 7)),
                0.6,
                0,
                True,
                self.round() // 200,
                2.0,
            )
            for i in range(self.n_workers)
        )
        view = JobView(
            JOB_ID, SPEC, JobState.RUNNING, "", time.time() - 100.0, self.round(), 10 * self.rounds
        )
        return replace(view, loss=0.3, seconds=100.0, rows=10**7, shards=1000, workers=shares)


def serve(played: Played) -> tuple[grpc.Server, str]:
    """The played coordinator, and its address."""
    server = grpc.server(ThreadPoolExecutor(16))
    cluster_service_pb2_grpc.add_ClusterServiceServicer_to_server(played, server)
    job_service_pb2_grpc.add_JobServiceServicer_to_server(played, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, f"127.0.0.1:{port}"


def measure(
    browser: Browser, url: str, process: psutil.Process, seconds: float, ready: str
) -> dict[str, float]:
    """One page, after it has been drawn for the first time."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    session: CDPSession = page.context.new_cdp_session(page)
    session.send("Network.enable")
    received = {"bytes": 0, "frames": 0}

    def frame(event: dict[str, Any]) -> None:
        received["bytes"] += len(event["response"]["payloadData"])
        received["frames"] += 1

    session.on("Network.webSocketFrameReceived", frame)
    began = time.monotonic()
    page.goto(url)
    page.wait_for_selector(ready)
    shown_s = time.monotonic() - began
    page.wait_for_timeout(3000)
    page.evaluate(WATCH)
    received.update(bytes=0, frames=0)
    cpu_s = sum(process.cpu_times()[:2])
    page.wait_for_timeout(1e3 * seconds)
    cpu_s = sum(process.cpu_times()[:2]) - cpu_s
    seen = page.evaluate("() => window.gl")
    frames = sorted(seen["frames"])
    page.close()
    return {
        "shown_s": shown_s,
        "frames_each_s": len(frames) / seconds,
        "slowest_frame_ms": frames[-1],
        "p99_frame_ms": frames[int(0.99 * len(frames))],
        "long_tasks": len(seen["tasks"]),
        "longest_task_ms": max(seen["tasks"], default=0.0),
        "tasks": seen["tasks"],
        "busy_share": sum(seen["tasks"]) / 1e3 / seconds,
        "kb_each_s": received["bytes"] / seconds / 1e3,
        "messages_each_s": received["frames"] / seconds,
        "room_cpu_share": cpu_s / seconds,
    }


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    server, address = serve(Played(given.workers, given.rounds))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        arguments = ["--cluster", address, "--port", "0"]
        room = Child("room", "gradloom_dashboard", arguments, Path(folder) / "log", queue.SimpleQueue())
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=OPTIONS)
        try:
            url, process = room.announced(60)["url"], psutil.Process(room.process.pid)
            pages = {
                "cluster": (url, ".gl-worker"),
                "job": (f"{url}/jobs/{JOB_ID}", "[data-testid=loss-chart] svg"),
            }
            for name, (where, ready) in pages.items():
                found = measure(browser, where, process, given.seconds, ready)
                print(json.dumps({"page": name, **found}) if given.json else f"{name:8} {_words(found)}")
        finally:
            browser.close()
            stop([room])
            server.stop(0)


def _words(found: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in found.items())


if __name__ == "__main__":
    main()

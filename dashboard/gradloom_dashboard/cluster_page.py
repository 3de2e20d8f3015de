"""The cluster: a lane for each worker, and the jobs."""

from nicegui import events, ui

from gradloom.jobs import JobState, WorkerState
from gradloom.words import rate_text
from gradloom_dashboard import frame
from gradloom_dashboard.moment import Moment
from gradloom_dashboard.room import Room
from gradloom_dashboard.rows import Rows

LANES_AT_ONCE, JOBS_AT_ONCE = 100, 20
QUESTIONS = {
    "drain": "Drain {}? It finishes what it computes and leaves.",
    "exclude": "Exclude {}? It gets no work until somebody readmits it.",
    "readmit": "Readmit {}? It gets work again.",
}
DONE = {"drain": "{} drains", "exclude": "{} gets no more work", "readmit": "{} is let in"}


def cluster_page(room: Room) -> None:
    """Build the page for one browser."""
    with frame.page(room, "/") as show_frame:
        with ui.element("div").classes("gl-tiles"):
            workers_tile = frame.tile("Workers", "workers")
            speed_tile = frame.tile("Speed", "speed")
            jobs_tile = frame.tile("Jobs", "jobs")
            retries_tile = frame.tile("Retries", "retries")
        with frame.card("Workers") as head:
            with head:
                frame.legend()
            workers = Rows("worker", "lanes", "No worker has joined yet.", LANES_AT_ONCE)
        with frame.card("Jobs") as head:
            jobs = Rows("job", "job-list", "No job yet.", JOBS_AT_ONCE)
        if room.may_steer:
            workers.on("deed", lambda event: _do(room, event))
            with head:
                ui.link("New job", "/new").classes("gl-act gl-push")
    shown = -1

    def refresh(moment: Moment) -> None:
        nonlocal shown
        show_frame(moment)
        if moment.number == shown:
            return
        shown = moment.number
        for (value, below), words in zip(
            (workers_tile, speed_tile, jobs_tile, retries_tile), _tiles(moment), strict=True
        ):
            value.set_text(words[0])
            below.set_text(words[1])
        workers.fill(room.worker_rows(moment))
        jobs.fill(room.job_rows(moment))

    frame.watching(room, refresh)


def _tiles(moment: Moment) -> tuple[tuple[str, str], ...]:
    busy = sum(worker.state is WorkerState.BUSY for worker in moment.workers)
    stragglers = sum(bool(worker.straggler) for worker in moment.workers)
    running = sum(job.state is JobState.RUNNING for job in moment.jobs)
    waiting = sum(job.state in (JobState.QUEUED, JobState.PLANNING) for job in moment.jobs)
    speed = sum(worker.rows_per_second for worker in moment.workers)
    return (
        (str(len(moment.workers)), f"{busy} busy, {len(moment.left)} left, {stragglers} slow"),
        (rate_text(speed), "of all workers together"),
        (str(running), f"running, {waiting} waiting, {len(moment.jobs)} in all"),
        (str(sum(job.retries for job in moment.jobs)), "shards computed again"),
    )


async def _do(room: Room, event: events.GenericEventArguments) -> None:
    deed, worker = event.args
    if deed not in QUESTIONS:
        return
    question = QUESTIONS[deed].format(worker)
    reason = await frame.confirmed(question, deed.capitalize(), ask_reason=deed != "readmit")
    if reason is None:
        return
    match deed:
        case "drain":
            await room.act_or_tell(lambda client: client.drain(worker, reason), DONE[deed].format(worker))
        case "exclude":
            await room.act_or_tell(lambda client: client.exclude(worker, reason), DONE[deed].format(worker))
        case "readmit":
            await room.act_or_tell(lambda client: client.readmit(worker), DONE[deed].format(worker))

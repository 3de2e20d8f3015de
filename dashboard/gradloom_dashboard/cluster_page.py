"""The cluster: a lane for each worker, and the jobs."""

from nicegui import events, ui

from gradloom.jobs import JobState, WorkerState
from gradloom_dashboard import frame, lanes
from gradloom_dashboard.moment import Moment
from gradloom_dashboard.room import Room

LANES_AT_ONCE, JOBS_AT_ONCE = 50, 20
LANE = """
<div class="gl-lane gl-worker" :data-testid="'worker-' + props.row.id" :data-state="props.row.state">
  <div class="gl-cell">
    <div class="gl-name"><span class="gl-dot" :class="'gl-' + props.row.tone"></span>{{ props.row.id }}
      <span class="gl-dim gl-small gl-light">{{ props.row.state }}</span></div>
    <span class="gl-dim gl-small gl-wrap gl-in">{{ props.row.does }}</span>
    <span class="gl-dim gl-small gl-wrap gl-in" v-if="props.row.machine">{{ props.row.machine }}</span>
  </div>
  <div class="gl-cell gl-num"><span class="gl-k">shards</span>{{ props.row.shards }}</div>
  <div class="gl-cell gl-num"><span class="gl-k">speed</span>{{ props.row.rate }}</div>
  <div class="gl-cell"><span class="gl-k">busy {{ props.row.busy }} %</span>
    <div class="gl-track gl-meter"><div class="gl-fill" :style="{width: props.row.busy + '%'}"></div></div></div>
  <div class="gl-cell gl-num"><span class="gl-k">heartbeat</span>{{ props.row.heartbeat }}</div>
  <div class="gl-acts">
    <button class="gl-act" v-if="props.row.drain"
      @click="$parent.$emit('deed', ['drain', props.row.id])">Drain</button>
    <button class="gl-act" v-if="props.row.exclude"
      @click="$parent.$emit('deed', ['exclude', props.row.id])">Exclude</button>
    <button class="gl-act" v-if="props.row.readmit"
      @click="$parent.$emit('deed', ['readmit', props.row.id])">Readmit</button>
  </div>
  <div class="gl-full gl-remark" v-if="props.row.slow">{{ props.row.slow }}</div>
  <div class="gl-full gl-remark" v-for="words in props.row.remarks">{{ words }}</div>
</div>
"""
JOB = """
<a class="gl-lane gl-job" :href="'/jobs/' + props.row.id" :data-testid="'job-' + props.row.id">
  <div class="gl-cell"><div class="gl-name">{{ props.row.id }}</div>
    <span class="gl-dim gl-small gl-wrap">{{ props.row.algorithm }}, submitted {{ props.row.submitted }}</span></div>
  <div><span class="gl-pill">
    <span class="gl-dot" :class="'gl-' + props.row.tone"></span>{{ props.row.state }}</span></div>
  <div class="gl-cell gl-num"><span class="gl-k">round {{ props.row.rounds }}</span>
    <div class="gl-track gl-meter"><div class="gl-fill" :style="{width: props.row.progress + '%'}"></div></div></div>
  <div class="gl-cell gl-num"><span class="gl-k">loss</span>{{ props.row.loss }}</div>
  <div class="gl-cell gl-num"><span class="gl-k">retries</span>{{ props.row.retries }}</div>
  <div class="gl-full gl-dim gl-small gl-wrap" v-if="props.row.reason">{{ props.row.reason }}</div>
</a>
"""
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
        with frame.card("Workers"):
            workers = frame.rows(LANE, "lanes", "No worker has joined yet.", page_size=LANES_AT_ONCE)
        with frame.card("Jobs") as head:
            jobs = frame.rows(JOB, "job-list", "No job yet.", page_size=JOBS_AT_ONCE)
        if not room.viewer:
            workers.on("deed", lambda event: _do(room, event))
            with head:
                ui.link("New job", "/new").classes("gl-act gl-push")
    shown = -1

    def refresh(moment: Moment) -> None:
        nonlocal shown
        if moment.number == shown:
            return
        shown = moment.number
        show_frame(moment)
        for (value, below), words in zip(
            (workers_tile, speed_tile, jobs_tile, retries_tile), _tiles(moment), strict=True
        ):
            value.set_text(words[0])
            below.set_text(words[1])
        frame.fill(workers, lanes.worker_rows(moment, may_steer=not room.viewer))
        frame.fill(jobs, lanes.job_rows(moment.jobs))

    frame.watching(room, refresh)


def _tiles(moment: Moment) -> tuple[tuple[str, str], ...]:
    busy = sum(worker.state is WorkerState.BUSY for worker in moment.workers)
    stragglers = sum(bool(worker.straggler) for worker in moment.workers)
    running = sum(job.state is JobState.RUNNING for job in moment.jobs)
    waiting = sum(job.state in (JobState.QUEUED, JobState.PLANNING) for job in moment.jobs)
    speed = sum(worker.rows_per_second for worker in moment.workers)
    return (
        (str(len(moment.workers)), f"{busy} busy, {len(moment.left)} left, {stragglers} slow"),
        (lanes.rate_text(speed), "of all workers together"),
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

"""One job: how it trains, who does what, what people changed, and what happened."""

import time
from collections.abc import Sequence
from math import ceil

from nicegui import run, ui

from gradloom.errors import GradloomError
from gradloom.jobs import JobState, JobView, RoundCompleted
from gradloom.words import clock_text, number_text, pairs_text, seconds_text
from gradloom_dashboard import charts, frame, lanes
from gradloom_dashboard.curve import Curve
from gradloom_dashboard.moment import Moment
from gradloom_dashboard.room import Room
from gradloom_dashboard.rows import Rows
from gradloom_dashboard.steer_panel import SteerPanel
from gradloom_dashboard.story import Told

ENTRIES_AT_ONCE, SHARES_AT_ONCE = 12, 20
DRAW_EVERY_S = 1.0


class JobPage:
    """The elements of one browser's page, and what they show now."""

    def __init__(self, room: Room, job_id: str) -> None:
        self._room, self._job_id = room, job_id
        self._shown_moment, self._shown_story = -1, Told(-1)
        self._drawn: object = None
        self._drawn_at = 0.0
        with frame.page(room, "") as self._show_frame:
            self._head()
            self._tiles()
            with ui.element("div").classes("gl-split"):
                with ui.element("div").classes("gl-stack"):
                    self._curves()
                    with frame.card("Workers"):
                        self._shares = Rows("share", "shares", "No worker has a share yet.", SHARES_AT_ONCE)
                    with frame.card("What happened"):
                        self._entries = Rows("entry", "timeline", "Nothing yet.", ENTRIES_AT_ONCE)
                with ui.element("div").classes("gl-stack"):
                    self._steer = SteerPanel(room, job_id) if room.may_steer else None
                    with frame.card("Changed by people", "changes"):
                        self._changes = ui.element("div").classes("gl-small gl-wrap")
                    with frame.card("What it is", "facts"):
                        self._facts = ui.element("div").classes("gl-small gl-wrap")
        self._facts_of: object = None
        self._changes_of: object = None
        frame.watching(room, self._refresh)

    def _head(self) -> None:
        with ui.element("div").classes("gl-row"):
            ui.label(self._job_id).classes("gl-title").props("data-testid=title")
            with ui.element("span").classes("gl-pill"):
                self._dot = ui.element("span").classes("gl-dot gl-quiet")
                self._state = ui.label("looking").props("data-testid=state")
            ui.button("Why is it so?", on_click=self._why).classes("gl-push").props(
                "flat dense no-caps data-testid=why"
            )
        self._reason = ui.label().classes("gl-dim gl-wrap").style("margin-top: -14px")

    def _tiles(self) -> None:
        with ui.element("div").classes("gl-tiles"):
            with ui.element("div").classes("gl-tile"):
                ui.label("Round").classes("gl-dim gl-small")
                self._round = ui.label("-").classes("gl-v").props("data-testid=round")
                with ui.element("div").classes("gl-track").style("margin: 4px 0 2px"):
                    self._bar = ui.element("div").classes("gl-fill").style("width: 0")
                self._eta = ui.label().classes("gl-dim gl-small")
            self._loss = frame.tile("Loss", "loss")
            self._score = frame.tile("Score", "score")
            self._time = frame.tile("Round time", "round-time")
            self._retries = frame.tile("Retries", "retries")
            self._traffic = frame.tile("Sent", "sent")

    def _curves(self) -> None:
        with frame.card("Loss", soon=True) as head:
            with head:
                self._logarithmic = ui.switch("log", value=False, on_change=self._draw_now)
                self._logarithmic.classes("gl-push").props("dense data-testid=log")
            self._no_loss = ui.label("No round is done yet.").classes("gl-dim")
            self._loss_chart = Curve(charts.loss_chart((), (), logarithmic=False)).classes("gl-chart")
            self._loss_chart.props("data-testid=loss-chart role=img")
            self._curve = ui.select(charts.CURVES, value="time", on_change=self._draw_now)
            self._curve.classes("gl-curve gl-small").props("dense borderless options-dense data-testid=curve")
            self._small_chart = Curve(charts.small_chart((), "time"))
            self._small_chart.classes("gl-chart-low").props("data-testid=small-chart role=img")

    def _refresh(self, moment: Moment) -> None:
        told = self._room.feed.story(self._job_id)
        looked = moment.number != self._shown_moment
        self._show_frame(moment)
        if looked:
            self._shown_moment = moment.number
            self._show_view(moment.job(self._job_id), moment)
        if told is not self._shown_story:
            self._shown_story = told
            self._show_newest(told.newest)
            self._entries.fill(lanes.entry_rows(told.entries))
        self._draw()

    def _show_view(self, view: JobView | None, moment: Moment) -> None:
        if view is None:
            if moment.at and not moment.trouble:
                self._reason.set_text(f"The cluster knows no job {self._job_id}.")
            return
        self._dot.classes(replace=f"gl-dot gl-{lanes.TONES[view.state]}")
        self._state.set_text(str(view.state))
        self._reason.set_text(view.reason or f"{view.rows:,} rows in {view.shards} shards")
        self._round.set_text(
            f"{view.rounds:,} / {view.max_rounds:,}" if view.max_rounds else str(view.rounds)
        )
        self._bar.style(f"width: {lanes.progress(view)}%")
        if view.state is not JobState.RUNNING:
            self._eta.set_text(f"{seconds_text(view.seconds)} in all")
        self._show_numbers(view)
        self._shares.fill(lanes.share_rows(view, moment.workers))
        self._list_changes(view)
        self._list_facts(view)
        if self._steer is not None:
            self._steer.show(view, moment.algorithms)

    def _show_numbers(self, view: JobView) -> None:
        self._loss[0].set_text(number_text(view.loss))
        if view.scores:
            (name, score), *others = view.scores.items()
            self._score[0].set_text(f"{score:.4g}")
            more = ", ".join(f"{other} {value:.4g}" for other, value in others)
            self._score[1].set_text(f"{name}; {more}" if more else name)
        else:
            ended = view.state.settled
            self._score[1].set_text("no rows were held out" if ended else "at the end, of rows held out")
        self._time[1].set_text(lanes.last_words(view))
        self._retries[0].set_text(str(view.retries))
        self._retries[1].set_text("shards computed again")
        for label, words in zip(self._traffic, lanes.traffic_words(view.compression), strict=True):
            label.set_text(words)

    def _show_newest(self, newest: RoundCompleted | None) -> None:
        if newest is None:
            return
        if newest.validation_loss is not None:
            self._loss[1].set_text(f"validation {number_text(newest.validation_loss)}")
        elif newest.learning_rate is not None:
            self._loss[1].set_text(f"learning rate {newest.learning_rate:.4g}")
        self._time[0].set_text(seconds_text(newest.seconds))
        self._eta.set_text(f"at most {seconds_text(ceil(newest.eta_seconds))} left")

    def _draw_now(self) -> None:
        self._drawn_at = 0.0
        self._draw()

    def _draw(self) -> None:
        """Draw what is new, but not all the time: a curve is sent whole."""
        view = self._room.feed.moment.job(self._job_id)
        steering = () if view is None else view.steering
        points, logarithmic = self._shown_story.points, bool(self._logarithmic.value)
        wanted = (points[-1:], len(points), steering, logarithmic, self._curve.value)
        now = time.monotonic()
        if wanted == self._drawn or now - self._drawn_at < DRAW_EVERY_S:
            return
        self._drawn, self._drawn_at = wanted, now
        drawn = any(point.loss is not None for point in points)
        self._no_loss.set_text("These rounds have no loss." if points else "No round is done yet.")
        self._no_loss.set_visibility(not drawn)
        self._loss_chart.set_visibility(drawn)
        self._loss_chart.draw(charts.loss_chart(points, steering, logarithmic=logarithmic))
        self._small_chart.draw(charts.small_chart(points, str(self._curve.value)))

    def _list_changes(self, view: JobView) -> None:
        if self._changes_of == view.steering:
            return
        self._changes_of = view.steering
        self._changes.clear()
        with self._changes:
            for record in reversed(view.steering):
                ui.label(lanes.change_words(record)).style("padding: 3px 0")
            if not view.steering:
                ui.label("Nothing yet.").classes("gl-dim")

    def _list_facts(self, view: JobView) -> None:
        if self._facts_of == view.spec:
            return
        self._facts_of = view.spec
        self._facts.clear()
        with self._facts:
            for name, words in facts(view):
                with ui.element("div").style("padding: 3px 0"):
                    ui.label(name).classes("gl-dim")
                    ui.label(words)

    async def _why(self) -> None:
        sentences = await run.io_bound(_explained, self._room, self._job_id) or ()
        with ui.dialog() as dialog, ui.card().classes("gl-card").props("data-testid=reasons"):
            for sentence in sentences:
                ui.label(sentence).classes("gl-wrap")
            ui.button("Close", on_click=dialog.close).props("flat no-caps").classes("gl-push")
        await frame.closed(dialog)


def facts(view: JobView) -> Sequence[tuple[str, str]]:
    """What was asked for, as names and words."""
    spec = view.spec
    settings = pairs_text(spec.settings)
    return (
        ("algorithm", spec.algorithm),
        ("settings", settings or "defaults"),
        ("data", " ".join(spec.data.uris)),
        ("target", spec.data.target or "the file's own"),
        ("submitted", clock_text(view.created_at)),
    )


def _explained(room: Room, job_id: str) -> tuple[str, ...]:
    try:
        return room.client.explain(job_id) or ("Nothing is recorded about it.",)
    except GradloomError as error:
        return (error.message,)

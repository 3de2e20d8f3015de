"""The controls of one job: pause, step, set back, end, change, note. A refusal stands beside what was refused."""

from collections.abc import Sequence

from nicegui import ui

from gradloom.client import Client, Job
from gradloom.errors import GradloomError, InvalidInput, Outdated
from gradloom.jobs import AlgorithmDescription, JobState, JobView
from gradloom.words import clock_text
from gradloom_dashboard import frame
from gradloom_dashboard.changes import told, update_of
from gradloom_dashboard.fields import SCHEDULING, SUGGESTIONS, Field, in_force, live_settings_of
from gradloom_dashboard.room import Room

FIRST = ("learning_rate", "batch_size", "max_rounds", "tolerance")
"""Settings that people change most; the others stand behind them."""


class SteerPanel:
    """The controls of one browser's page."""

    def __init__(self, room: Room, job_id: str) -> None:
        self._room, self._job_id = room, job_id
        self._view: JobView | None = None
        self._inputs: dict[str, ui.input] = {}
        self._fields: dict[str, Field] = {}
        self._in_force: dict[str, str] = {}
        self._etag = ""
        with frame.card("Steer", "steer", soon=True):
            self._refusal = ui.label().classes("gl-refusal").props("data-testid=refusal role=alert")
            self._buttons()
            self._main = ui.element("div").classes("gl-fields-narrow")
            with ui.expansion("More").classes("w-full").props("dense data-testid=more"):
                self._more = ui.element("div").classes("gl-fields-narrow")
            self._apply = ui.button("Apply", on_click=self._change)
            self._apply.props("unelevated no-caps data-testid=apply").classes("w-full")
            self._note()
        self._show_refusal("")
        self._count()

    def show(self, view: JobView, algorithms: Sequence[AlgorithmDescription]) -> None:
        """Bring the controls to what is in force."""
        self._view = view
        if not self._inputs:
            self._make_inputs(view, algorithms)
        for name, element in self._inputs.items():
            now = in_force(view, self._fields[name])
            if element.value == self._in_force[name] and now != self._in_force[name]:
                element.set_value(now)  # nobody was about to change it
            self._in_force[name] = now
        self._count()
        live = not view.state.final
        for button in (self._cancel, self._rollback, self._step, *self._inputs.values()):
            button.set_enabled(live)
        self._pause.set_visibility(view.state is not JobState.PAUSED)
        self._pause.set_enabled(live)
        self._resume.set_visibility(view.state is JobState.PAUSED)

    def _buttons(self) -> None:
        small = "outline dense no-caps padding='5px 12px'"
        with ui.element("div").classes("gl-row"):
            self._pause = ui.button("Pause", on_click=self._do_pause).props(f"{small} data-testid=pause")
            self._resume = ui.button("Resume", on_click=self._do_resume)
            self._resume.props("unelevated dense no-caps padding='5px 12px' data-testid=resume")
            self._rollback = ui.button("Roll back", on_click=self._do_rollback)
            self._rollback.props(f"{small} data-testid=rollback")
            self._cancel = ui.button("Cancel", on_click=self._do_cancel)
            self._cancel.props(f"{small} color=negative data-testid=cancel")
        with ui.element("div").classes("gl-row"):
            self._steps = ui.number("Rounds", value=1, min=1, format="%d").classes("gl-grow")
            self._steps.props("outlined dense data-testid=steps")
            self._step = ui.button("Step", on_click=self._do_step).props(f"{small} data-testid=step")

    def _note(self) -> None:
        with ui.element("div").classes("gl-row"):
            self._words = ui.input("Note for the timeline").classes("gl-grow")
            self._words.props("outlined dense data-testid=note").on("keydown.enter", self._do_note)
            ui.button("Add", on_click=self._do_note).props(
                "outline dense no-caps padding='5px 12px' data-testid=add-note"
            )

    def _make_inputs(self, view: JobView, algorithms: Sequence[AlgorithmDescription]) -> None:
        known = next((one for one in algorithms if one.name == view.spec.algorithm), None)
        if known is None:
            return
        settings = live_settings_of(view, known)
        for field in (*settings, *SCHEDULING):
            with self._main if field.name in FIRST else self._more:
                self._make_input(view, field)

    def _make_input(self, view: JobView, field: Field) -> None:
        now = in_force(view, field)
        choices = list(field.choices or SUGGESTIONS.get(field.name, ()))
        element = ui.input(field.name, value=now, autocomplete=choices or None, on_change=self._count)
        element.props(f"outlined dense hide-bottom-space data-testid=set-{field.name}").classes("w-full")
        element.style("margin-bottom: 8px").tooltip(field.hint)
        element.on("keydown.enter", self._change)
        self._inputs[field.name], self._fields[field.name] = element, field
        self._in_force[field.name] = now

    def _changed(self) -> dict[str, str]:
        return {
            name: str(element.value).strip()
            for name, element in self._inputs.items()
            if str(element.value).strip() != self._in_force[name]
        }

    def _count(self) -> None:
        changed = len(self._changed())
        if not changed:
            self._etag = ""
        elif not self._etag and self._view is not None:
            self._etag = self._view.etag  # what whoever types has seen
        self._apply.set_enabled(changed > 0)
        self._apply.set_text(f"Apply {changed} change{'s' if changed > 1 else ''}" if changed else "Apply")

    async def _change(self) -> None:
        changed = self._changed()
        if not changed:
            return
        for element in self._inputs.values():
            element.error = None
        try:
            update = update_of(changed, self._etag)
        except InvalidInput as error:
            self._refused(error)
            return
        refused = await self._room.act(lambda client: update(client.job(self._job_id)), told(changed))
        if refused is None:
            self._in_force.update(changed)
            self._show_refusal("")
            self._count()
        else:
            self._refused(refused)

    def _refused(self, error: GradloomError) -> None:
        if isinstance(error, Outdated) and self._view is not None:
            self._etag = self._view.etag  # they have been told; the next try is theirs
        name = error.field.removeprefix("settings.") if isinstance(error, InvalidInput) else ""
        if name in self._inputs:
            assert isinstance(error, InvalidInput)
            self._inputs[name].error = error.problem
            self._show_refusal("")
        else:
            self._show_refusal(error.message)

    def _show_refusal(self, words: str) -> None:
        self._refusal.set_text(words)
        self._refusal.set_visibility(bool(words))

    async def _do_pause(self) -> None:
        await self._room.act_or_tell(lambda client: self._job(client).pause(), "Paused after its open round")

    async def _do_resume(self) -> None:
        await self._room.act_or_tell(lambda client: self._job(client).resume(), "It goes on")

    async def _do_step(self) -> None:
        rounds = int(self._steps.value or 1)
        await self._room.act_or_tell(
            lambda client: self._job(client).step(rounds), f"{rounds} rounds, then a pause"
        )

    async def _do_cancel(self) -> None:
        question = f"Cancel {self._job_id}? It ends for good, and leaves no model."
        reason = await frame.confirmed(question, "Cancel the job", ask_reason=True)
        if reason is not None:
            await self._room.act_or_tell(lambda client: self._job(client).cancel(reason), "Cancelled")

    async def _do_note(self) -> None:
        words = str(self._words.value or "").strip()
        if words and await self._room.act_or_tell(lambda client: self._job(client).note(words), "Noted"):
            self._words.set_value("")

    async def _do_rollback(self) -> None:
        """Ask for one of the checkpoints that there are; a refusal (it may be gone by then) is shown in its words."""
        kept = self._view.checkpoints if self._view is not None else ()
        with ui.dialog() as dialog, ui.card().classes("gl-card").props("data-testid=rollback-dialog"):
            ui.label(
                "Set the job back to a checkpoint? What was computed since is done again, with the settings of now. "
                "The last three checkpoints are kept."
            )
            if not kept:
                ui.label("There is no checkpoint of it yet.").classes("gl-dim")
            options = {one.round: f"round {one.round:,}, taken at {clock_text(one.taken_at)}" for one in kept}
            wanted = ui.select(options, value=next(iter(options), None), label="Checkpoint").classes("w-full")
            wanted.props("outlined dense data-testid=rollback-round")
            wanted.set_visibility(bool(kept))

            async def go() -> None:
                round_ = int(wanted.value or 0)
                said = f"Back to round {round_}"
                error = await self._room.act(lambda client: self._job(client).rollback(round_), said)
                wanted.error = None if error is None else error.message
                if error is None:
                    dialog.close()

            with ui.element("div").classes("gl-row gl-push"):
                ui.button("Leave it", on_click=dialog.close).props("flat no-caps")
                yes = ui.button("Roll back", on_click=go).props("unelevated no-caps data-testid=rollback-yes")
                yes.set_enabled(bool(kept))
        await frame.closed(dialog)

    def _job(self, client: Client) -> Job:
        return client.job(self._job_id)

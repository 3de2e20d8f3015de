"""The form that submits a job: the data, the algorithm, and its settings from the cluster's own schema."""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from nicegui import ui
from nicegui.elements.mixins.validation_element import ValidationElement

from gradloom.client import absolute_uris
from gradloom.errors import GradloomError, InvalidInput
from gradloom.jobs import AlgorithmDescription
from gradloom.specs import DataSpec, JobSpec
from gradloom_dashboard import frame
from gradloom_dashboard.fields import SCHEDULING, SUGGESTIONS, Field, settings_of
from gradloom_dashboard.moment import Moment
from gradloom_dashboard.room import Room

FIRST_CHOICE = "logistic"
ABOUT_DATA = (
    Field("target", "", "column to learn; npz and svmlight carry it"),
    Field("features", "", "columns to learn from, a,b,c; all others if empty"),
    Field("weight", "", "column with the weight of each row"),
    Field("format", "by the file name", "of the files", ("parquet", "csv", "npy", "npz", "svmlight")),
    Field("test_fraction", "0", "share of the rows held out for the scores", allowed="0 to 0.9"),
    Field("shards", "0", "0 = by the size of the data"),
    Field("seed", "0", "decides which rows are held out, and the order of rows"),
)
_Answer = ValidationElement[str | None]


@dataclass(slots=True)
class Form:
    """What was typed, by the name of the field; empty = the default."""

    algorithm: str
    data: str = ""
    about: dict[str, str] = field(default_factory=dict)
    scheduling: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)


def spec_of(form: Form) -> JobSpec:
    """A specification; URIs are separated by lines or commas. Raises InvalidInput for what is no number."""
    about, how = form.about, form.scheduling
    data = DataSpec(
        uris=absolute_uris([uri.strip() for uri in re.split(r"[\n,]", form.data) if uri.strip()]),
        target=about.get("target", ""),
        features=tuple(name.strip() for name in about.get("features", "").split(",") if name.strip()),
        weight=about.get("weight", ""),
        format=about.get("format", ""),
        shards=_whole("shards", about.get("shards", "")),
    )
    return JobSpec(
        form.algorithm,
        data,
        form.settings,
        _number("test_fraction", about.get("test_fraction", ""), 0.0),
        _whole("seed", about.get("seed", "")),
        how.get("placement", ""),
        synchrony=how.get("synchrony", ""),
        codec=how.get("codec", ""),
        downlink=how.get("downlink", ""),
        share_weight=_number("share_weight", how.get("share_weight", ""), 1.0),
        speculation=how.get("speculation", "") or "on",
    )


def _number(name: str, words: str, default: float) -> float:
    try:
        return float(words) if words else default
    except ValueError:
        raise InvalidInput(name, f"{words!r} is not allowed; it must be a number") from None


def _whole(name: str, words: str) -> int:
    try:
        return int(words) if words else 0
    except ValueError:
        raise InvalidInput(name, f"{words!r} is not allowed; it must be a whole number") from None


class SubmitPage:
    """The form in one browser."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._known: Sequence[AlgorithmDescription] = ()
        self._token = uuid.uuid4().hex
        self._about: dict[str, _Answer] = {}
        self._scheduling: dict[str, _Answer] = {}
        self._settings: dict[str, _Answer] = {}
        with frame.page(room, "/new") as self._show_frame:
            ui.label("New job").classes("gl-title")
            self._build()
        frame.watching(room, self._refresh)

    def _build(self) -> None:
        with frame.card("What and from what"):
            self._algorithm = ui.select([], label="Algorithm", with_input=True, on_change=self._chosen)
            self._algorithm.classes("w-full").props("outlined dense data-testid=algorithm")
            self._data = ui.textarea("Data: files, globs or folders that every worker can read, one a line")
            self._data.classes("w-full").props("outlined dense rows=2 data-testid=data")
            _fields(ABOUT_DATA, self._about)
        with frame.card("Settings of the algorithm"):
            self._settings_box = ui.element("div")
        with ui.element("section").classes("gl-card"), ui.expansion("How it is run").classes("w-full"):
            _fields(SCHEDULING, self._scheduling)
        self._refusal = ui.label().classes("gl-refusal").props("data-testid=form-refusal role=alert")
        self._refusal.set_visibility(False)
        with ui.element("div").classes("gl-row"):
            self._button = ui.button("Submit", on_click=self._submit)
            self._button.props("unelevated no-caps data-testid=submit padding='8px 26px'")

    def _refresh(self, moment: Moment) -> None:
        self._show_frame(moment)
        if moment.algorithms is not self._known:
            self._known = moment.algorithms
            names = {one.name: f"{one.name}: {one.summary}" for one in self._known}
            keep = self._algorithm.value if self._algorithm.value in names else None
            first = FIRST_CHOICE if FIRST_CHOICE in names else next(iter(names), None)
            self._algorithm.set_options(names, value=keep or first)

    def _chosen(self) -> None:
        known = next((one for one in self._known if one.name == self._algorithm.value), None)
        self._settings.clear()
        self._settings_box.clear()
        if known is not None:
            with self._settings_box:
                _fields(settings_of(known), self._settings)

    async def _submit(self) -> None:
        for element in (self._data, *self._answers().values()):
            element.error = None
        self._refusal.set_visibility(False)
        form = Form(
            str(self._algorithm.value or ""),
            str(self._data.value or ""),
            _words(self._about),
            _words(self._scheduling),
            _words(self._settings),
        )
        try:
            spec = spec_of(form)
        except InvalidInput as error:
            self._refused(error)
            return
        ids: list[str] = []
        self._button.set_enabled(False)
        refused = await self._room.act(
            lambda client: ids.append(client.submit_spec(spec, client_token=self._token).id), "Submitted"
        )
        self._button.set_enabled(True)
        if refused is None:
            ui.navigate.to(f"/jobs/{ids[0]}")
        else:
            self._refused(refused)

    def _answers(self) -> dict[str, _Answer]:
        return {**self._about, **self._scheduling, **self._settings}

    def _refused(self, error: GradloomError) -> None:
        """Say why, beside the field if there is one of that name."""
        name = error.field if isinstance(error, InvalidInput) else ""
        element = self._data if name == "data" else self._answers().get(name)
        if element is not None and isinstance(error, InvalidInput):
            element.error = error.problem
        self._refusal.set_text(error.message)
        self._refusal.set_visibility(True)


def _fields(fields: Sequence[Field], answers: dict[str, _Answer]) -> None:
    with ui.element("div").classes("gl-fields"):
        for one in fields:
            answers[one.name] = _input(one)


def _input(one: Field) -> _Answer:
    element: _Answer
    if one.choices:
        options = {"": f"{one.default or 'none'} (default)", **{choice: choice for choice in one.choices}}
        element = ui.select(options, label=one.name, value="")
    else:
        suggestions = list(SUGGESTIONS.get(one.name, ()))
        element = ui.input(one.name, placeholder=one.default, autocomplete=suggestions or None)
        element.props.set_bool("stack-label", True)
    element.props(f"outlined dense data-testid=field-{one.name}")
    element.props["hint"] = one.hint
    return element


def _words(answers: dict[str, _Answer]) -> dict[str, str]:
    return {name: words for name, element in answers.items() if (words := str(element.value or "").strip())}

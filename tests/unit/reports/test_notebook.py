"""What a notebook shows of jobs and models, and the figure: escaped, without a script, without a screen."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from builders.models import linear_model
from builders.runs import NASTY, completed, even_trace, facts, numbered, view
from gradloom.errors import InvalidInput
from gradloom.jobs import JobState
from gradloom.reports.notebook import job_html, missing_html
from gradloom.reports.plotting import draw

SHOWN = "&lt;script&gt;alert('x')&lt;/script&gt; &amp; \"quoted\""


def test_a_job_is_a_small_table() -> None:
    html = job_html(view())
    for words in (
        "job job-1",
        "logistic",
        "completed: converged",
        "0.25",
        "test_accuracy",
        "0.9375",
        "2 workers",
    ):
        assert words in html
    assert len(html) < 5000
    assert "<script" not in html


def test_progress_is_a_bar() -> None:
    assert "width:30%" in job_html(view(JobState.RUNNING))
    assert "width:100%" in job_html(view(JobState.COMPLETED))


def test_what_people_typed_is_escaped() -> None:
    html = job_html(replace(view(), job_id=NASTY, reason=NASTY, scores={NASTY: 1.0}))
    assert "<script" not in html
    assert html.count(SHOWN) == 3
    assert "<script" not in missing_html(NASTY, NASTY)


def test_a_model_shows_its_columns_classes_and_settings() -> None:
    features = tuple(f"column {i}" for i in range(20))
    model = linear_model(
        "logistic",
        features,
        NASTY,
        ("no", NASTY),
        np.zeros(20),
        np.zeros(1),
        {"l2": 0.012345678},
        {"rounds": 12},
    )
    html = model._repr_html_()
    assert "column 11 and 8 more" in html
    assert "l2=0.0123457" in html
    assert "rounds=12" in html
    assert "coefficients=20" in html
    assert model.parameters_sha256 in html
    assert "<script" not in html
    assert html.count(SHOWN) == 2


# ---- the figure


def test_the_figure_shows_loss_round_time_and_load() -> None:
    figure = draw(facts(traced=even_trace()))
    loss, time, load = figure.axes
    assert list(loss.lines[0].get_ydata()) == [1.0, 0.5, 1.0 / 3]
    assert list(loss.lines[1].get_xdata()) == [2, 2], "the change is marked"
    assert list(time.lines[0].get_ydata()) == [0.5, 0.5, 0.5]
    assert [label.get_text() for label in load.get_yticklabels()] == ["w-0", "w-1"]
    assert load.get_legend_handles_labels()[1][0] == "compute"


def test_the_figure_is_a_picture_by_itself() -> None:
    picture = draw(facts())._repr_png_()  # type: ignore[attr-defined]
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000


def test_a_rollback_is_drawn_as_a_line_of_its_own() -> None:
    events = numbered(completed(1), completed(2), completed(2), completed(3))
    loss = draw(facts(events=events)).axes[0]
    assert [list(line.get_xdata()) for line in loss.lines[:2]] == [[1, 2], [2, 3]]
    assert loss.get_legend_handles_labels()[1] == ["loss"]


def test_nothing_to_draw_is_no_error() -> None:
    bare = replace(view(JobState.QUEUED), workers=(), steering=())
    assert draw(facts(bare, []))._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InvalidInput, match=r"plot: needs matplotlib, .*pip install 'gradloom\[plot\]'"):
        draw(facts())


def test_pyplot_is_left_alone() -> None:
    code = (
        "import sys\nfrom builders.runs import facts\nfrom gradloom.reports.plotting import draw\n"
        "draw(facts())._repr_png_()\nassert 'matplotlib.pyplot' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "MPLBACKEND": "tkagg"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

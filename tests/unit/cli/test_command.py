"""The ``gradloom`` command as a whole: help, and what is refused before anything is started."""

import json
import subprocess
import sys

import pytest
from typer.main import get_command

from gradloom.cli.app import app
from gradloom.cli.panels import PANELS

COMMANDS = [
    *("up", "train", "jobs", "show", "watch", "cancel", "set"),
    *("workers", "chaos", "model", "predict", "evaluate", "simulate", "algorithms"),
]


def test_help_names_every_command_and_exit_status(run):
    status, out, _ = run("--help")
    assert status == 0
    for word in [*COMMANDS, "Exit status", "130 interrupted"]:
        assert word in " ".join(out.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_json(run, command):
    status, out, _ = run(command, "--help")
    assert status == 0
    assert "--json" in out


def test_help_lists_every_command_under_its_heading(run):
    listed = [name for names in PANELS.values() for name in names]
    assert sorted(get_command(app).commands) == sorted(listed)
    _, out, _ = run("--help")
    places = [out.index(f"─ {panel} ─") for panel in PANELS]
    assert places == sorted(places)
    assert "─ Commands ─" not in out


@pytest.mark.parametrize("words", [(), ("token",), ("certs",)], ids=str)
def test_a_group_without_a_command_shows_its_help_and_nothing_else(run, words):
    status, out, err = run(*words)
    assert status == 2
    assert "Usage: gradloom" in out + err
    assert "error:" not in err


@pytest.mark.parametrize("module", ["gradloom_coordinator", "gradloom_worker", "gradloom_dashboard"])
def test_the_services_help_is_plain_and_has_a_short_option(module):
    command = [sys.executable, "-m", module, "-h"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    name = "gradloom dashboard" if module == "gradloom_dashboard" else f"python -m {module}"
    assert said.startswith(f"Usage: {name} [OPTIONS]\n")
    assert "╭" not in said


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from gradloom.cli import main; main(['--help']);"
        "heavy = {'numpy', 'pyarrow', 'grpc', 'pydantic', 'google.protobuf'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, timeout=60)


def test_the_version_is_told(run):
    status, out, _ = run("--version")
    assert status == 0
    assert out.startswith("gradloom 0")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["logistik"], "algorithm: 'logistik' is not known"),
        (["logistic", "--set", "l3=1"], "setting: 'l3' is not known"),
        (["logistic", "--set", "l2=-1"], "l2: '-1' is not allowed"),
        (["logistic", "--set", "l2"], "--set: 'l2' is not allowed; write NAME=VALUE"),
        (["logistic", "--set", "l2=1", "--set", "l2=2"], "--set: 'l2' is given twice"),
        (["logistic", "--test-fraction", "1.5"], "test_fraction: 1.5 is not allowed"),
        (["logistic", "--seed", "-1"], "seed: -1 is not allowed"),
        (["logistic", "--workers", "0"], "workers: 0 is not allowed; it must lie in [1, 64]"),
        (["logistic", "--workers", "2", "--cluster", "host:1"], "workers: 2 sizes a cluster of your own"),
        (["logistic", "--detach"], "detach: needs --cluster"),
        (["logistic", "--detach", "--cluster", "host:1", "--out", "m"], "out: there is no model yet"),
        (["logistic", "--out", "/no/such/folder/model"], "out: the folder /no/such/folder does not exist"),
        (["logistic", "--out", "."], "out: . is a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_sentence_and_status_2(run, no_processes, table, words, sentence):
    status, out, err = run("train", *words, "--data", table, "--target", "kind")
    assert status == 2
    assert out == ""
    assert err.startswith(f"error: {sentence}")
    assert "Traceback" not in err


def test_files_that_are_not_there_are_named(run, no_processes, tmp_path):
    status, _, err = run("train", "logistic", "--data", tmp_path / "gone.csv", "--target", "y")
    assert status == 2
    assert "gone.csv" in err


def test_with_json_the_refusal_is_an_object_too(run, no_processes, table):
    status, out, err = run("train", "logistic", "--data", table, "--test-fraction", "2", "--json")
    assert status == 2
    error = json.loads(out)["error"]
    assert (error["kind"], error["field"]) == ("InvalidInput", "test_fraction")
    assert err.strip() == f"error: {error['message']}"


@pytest.mark.parametrize(
    "words", [["train"], ["train", "logistic"], ["jobs", "--wat"], ["fly"], ["up", "--port", "x"]]
)
def test_usage_errors_are_status_2_and_json_when_asked(run, words):
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert "--help" in err
    status, out, _ = run(*words, "--json")
    assert status == 2
    assert json.loads(out)["error"]["kind"] == "UsageError"


def test_a_traceback_is_shown_to_those_who_ask(run, no_processes, monkeypatch):
    monkeypatch.setenv("GRADLOOM_DEBUG", "1")
    status, _, err = run("train", "logistic", "--data", "", "--target", "y")
    assert status == 2
    assert "Traceback" in err
    assert err.rstrip().endswith("error: data: at least one file, glob or folder is needed")

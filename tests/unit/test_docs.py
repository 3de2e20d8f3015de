"""What the pages say is so: commands parse, links lead somewhere; files, variables and verbs exist."""

import argparse
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import typer

from gradloom.cli import health
from gradloom.cli.app import app
from gradloom_coordinator import __main__ as coordinator
from gradloom_coordinator.laboratory import __main__ as laboratory
from gradloom_dashboard import __main__ as dashboard
from gradloom_worker import __main__ as worker

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "benchmarks").glob("*.md"),
        *(ROOT / "examples").rglob("*.md"),
    ]
)
COMMAND = re.compile(
    r'^\s*(?:\$ )?(?:[A-Z_]+=\S+ +)*(?:eval "\$\()?(?:docker compose exec \w+ )?'
    r"(?:python -m )?(gradloom(?:[-_](?:coordinator|worker))?) (.*)"
)
PROGRAMS = {
    "gradloom": app,
    "gradloom-coordinator": coordinator.app,
    "gradloom-worker": worker.app,
    "gradloom_worker": worker.app,
}
APART = {"dashboard": dashboard.app, "simulate": laboratory.app}
"""Commands that hand their words to another program."""
SOURCES = ("gradloom", "coordinator", "worker", "dashboard", "k8s", "tests", "benchmarks", "demo")
TEXTS = {".py", ".yml", ".yaml", ".env", ".sh"}
TOPS = {*SOURCES, "docs", "protos", "examples", *(path.name for path in ROOT.glob("*/gradloom_*"))}
BASES = (ROOT, ROOT / "gradloom", ROOT / "coordinator", ROOT / "worker", ROOT / "dashboard")


@dataclass(frozen=True)
class Line:
    """A command as a page has it."""

    page: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


# ---- commands


def code_of(text: str) -> Iterator[str]:
    """Lines of code: fenced, or indented by four after an empty line; those that go on are one."""
    blocks = re.findall(r"(?ms)^```\w*\n(.*?)^```", text)
    blocks += re.findall(r"(?m)(?<=\n\n)((?:^ {4}.*\n)+)", re.sub(r"(?ms)^```.*?^```", "", text))
    for block in blocks:
        yield from block.replace("\\\n", " ").splitlines()


def commands_in(line: str) -> Iterator[str]:
    """``gradloom jobs | show JOB`` is two; what a shell makes of the rest of the line is not ours."""
    if found := COMMAND.match(line):
        program, rest = found.groups()
        words = re.split(r" #|[<>&;`]|\)\"", rest)[0]
        first, *others = words.split(" | ")
        yield from (f"{program} {part.strip()}" for part in [first, *takewhile(is_ours, others)])


def is_ours(part: str) -> bool:
    """Whether what follows a pipe is another command of the same program, not a program of the shell's."""
    return re.match(r"(?!(?:grep|jq|less|sh|tee)\b)[a-z]+( |$)", part) is not None


@cache
def lines() -> tuple[Line, ...]:
    return tuple(
        Line(str(page.relative_to(ROOT)), command)
        for page in PAGES
        for line in code_of(page.read_text(encoding="utf-8"))
        for command in commands_in(line)
    )


def arguments(words: str) -> list[str]:
    """The words of a command, with what may be left out, and of ``a|b|c`` the first."""
    plain = re.sub(r"\[(-[^\]]*)\]", r"\1", words)
    return [word if "'" in words else word.split("|")[0] for word in shlex.split(plain)]


@cache
def program(name: str) -> Any:
    return typer.main.get_command(PROGRAMS[name])


def take(command: Any, name: str, given: Sequence[str]) -> None:
    """Have a real command take the words, and run nothing. Raises whatever it has against them."""
    try:
        with command.make_context(name, list(given)):
            pass
    except typer.Exit:  # --help
        return


def parse(command: Any, given: Sequence[str]) -> None:
    """The same of a program that may have commands of its own, down to the one that is meant."""
    name, rest = given[0], given[1:]
    if not hasattr(command, "commands") or rest[:1] in (["--help"], ["--version"]):
        take(command, name, rest)
    elif rest[0] == "health":
        health._parser().parse_args(list(rest[1:]))
    elif rest[0] in APART:
        other = typer.main.get_command(APART[rest[0]])
        take(other.commands[rest[0]] if hasattr(other, "commands") else other, rest[0], rest[1:])
    else:
        assert rest[0] in command.commands, f"{name} has no command {rest[0]!r}"
        parse(command.commands[rest[0]], rest)


@pytest.mark.parametrize("line", lines(), ids=str)
def test_what_a_page_tells_people_to_type_is_understood(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: argparse.ArgumentParser, message: str) -> None:
        raise AssertionError(message)

    monkeypatch.setattr(argparse.ArgumentParser, "error", refuse)
    given = arguments(line.text)
    parse(program(given[0]), given)


def test_there_is_something_to_parse() -> None:
    assert len(lines()) > 60
    assert {line.text.split()[0] for line in lines()} >= {
        "gradloom",
        "gradloom-coordinator",
        "gradloom-worker",
    }


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("gradloom tarin logistic --data a.csv", "has no command 'tarin'"),
        ("gradloom train logistic --dta a.csv", "--dta"),
        ("gradloom certs isue ann", "has no command 'isue'"),
        ("gradloom simulate --trce mixed", "--trce"),
        ("gradloom-worker --label", "--label"),
    ],
)
def test_what_nobody_could_type_is_found(words: str, why: str) -> None:
    given = arguments(words)
    with pytest.raises(Exception, match=why):
        parse(program(given[0]), given)


# ---- options, commands and variables that are named in a sentence


def sentences(page: Path) -> str:
    return re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))


@cache
def options() -> frozenset[str]:
    """Every option of every program."""
    found = {"--help"}
    waiting: list[Any] = [typer.main.get_command(one) for one in (*PROGRAMS.values(), *APART.values())]
    for command in waiting:
        found.update(o for param in command.params for o in (*param.opts, *param.secondary_opts))
        waiting += getattr(command, "commands", {}).values()
    return frozenset(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_a_sentence_names_are_there(page: Path) -> None:
    known = program("gradloom").commands
    for words in re.findall(r"`gradloom ([a-z]+)[^`]*`", sentences(page)):
        assert words in known, f"gradloom {words}"
    for words in re.findall(r"`gradloom[^`]*`", sentences(page)):
        for option in re.findall(r"(?<= )--[a-z-]+", words):
            assert option in options(), words


@cache
def sources() -> str:
    files = [path for top in SOURCES for path in (ROOT / top).rglob("*") if path.suffix in TEXTS]
    return "\n".join(
        path.read_text(encoding="utf-8") for path in [*files, *ROOT.glob("*.yml"), ROOT / "Makefile"]
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_variables_that_a_page_names_are_read_by_somebody(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    unknown = {name for name in re.findall(r"\bGRADLOOM_[A-Z_]+[A-Z]\b", text) if name not in sources()}
    assert not unknown


def test_the_verbs_of_make_are_there() -> None:
    verbs = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
    for page in PAGES:
        for line in [*code_of(page.read_text()), *re.findall(r"`(make [^`]*)`", sentences(page))]:
            if found := re.match(r"\s*make ([a-z-]+)", line):
                assert found[1] in verbs, f"{page.name}: {line}"


# ---- links, files


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"(?m)^#+ (.*)$", sentences(page))
    plain = (re.sub(r"[^\w\s-]", "", re.sub(r"\]\([^)]*\)", "", heading)) for heading in headings)
    return {heading.strip().lower().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", sentences(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    """By its path or, a module, by its name alone; capitals stand for a name of one's own."""
    if page.name == "CHANGELOG.md":  # what was
        return
    for path in re.findall(r"`([\w-]+/[\w./-]*|[\w-]+\.py)`", page.read_text(encoding="utf-8")):
        if re.search(r"(^|/)[A-Z]+\b", path):
            continue
        if "/" not in path:
            assert path in modules(), path
        elif path.split("/")[0] in TOPS:
            assert any((base / path).exists() for base in BASES), path


@cache
def modules() -> frozenset[str]:
    return frozenset(
        path.name for top in (*SOURCES, "docs", "examples") for path in (ROOT / top).rglob("*.py")
    )


def test_pages_that_programs_point_to_are_there() -> None:
    for path in set(re.findall(r"\bdocs/[\w./-]+\.md\b", sources())):
        assert (ROOT / path).exists(), path


def test_every_page_is_linked_from_another() -> None:
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    lonely = [
        page.name
        for page in (ROOT / "docs").glob("*.md")
        if not any(page.name in text for other, text in texts.items() if other != page)
    ]
    assert not lonely

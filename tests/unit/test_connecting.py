"""How commands reach a cluster: none can lack the options of access, and none makes a client of its own."""

import ast
from collections.abc import Iterator
from pathlib import Path

import typer

from gradloom.cli import connecting
from gradloom.cli.app import app
from gradloom.settings import ACCESS_VARIABLES

CLI = Path(connecting.__file__).parent


def commands() -> Iterator[tuple[str, list[typer.core.TyperOption]]]:
    """All that can be typed, with its options."""
    waiting = [("gradloom", typer.main.get_command(app))]
    while waiting:
        name, command = waiting.pop()
        waiting += [(f"{name} {key}", one) for key, one in getattr(command, "commands", {}).items()]
        yield name, [one for one in command.params if isinstance(one, typer.core.TyperOption)]


def test_every_command_that_takes_a_cluster_takes_what_gets_one_in() -> None:
    reaching = 0
    for name, options in commands():
        told = {variable for option in options for variable in _variables(option)}
        if "GRADLOOM_CLUSTER" in told:
            reaching += 1
            missing = set(ACCESS_VARIABLES) - {"GRADLOOM_TOKEN"} - told
            assert not missing, f"{name} lacks {missing}"
    assert reaching > 15


def _variables(option: typer.core.TyperOption) -> list[str]:
    given = option.envvar
    return [given] if isinstance(given, str) else list(given or ())


def test_a_token_is_no_option() -> None:
    """Everybody on a machine may read the arguments of a process."""
    for name, options in commands():
        assert not [option.opts for option in options if "--token" in option.opts], name


def test_clients_are_made_in_one_place() -> None:
    for path in CLI.rglob("*.py"):
        made = [
            call.lineno
            for call in ast.walk(ast.parse(path.read_text()))
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "Client"
        ]
        assert not made or path.name == "connecting.py", (
            f"{path.name}:{made}: gradloom.cli.connecting.connect does"
        )

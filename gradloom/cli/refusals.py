"""Whatever stops a command becomes one sentence on stderr and an exit status, and never a traceback.

``GRADLOOM_DEBUG=1`` shows the traceback as well. What is not a GradloomError, a usage error or an OSError is a bug
of ours and is left alone, loud.
"""

import os
import sys
import traceback
from collections.abc import Sequence

import typer

from gradloom import errors
from gradloom.cli.output import say, write_json

INTERRUPTED = 130

# A subclass that is not listed has the status of its nearest listed ancestor.
EXIT_STATUSES: dict[type[BaseException], int] = {
    errors.GradloomError: 1,
    errors.JobFailed: 1,
    errors.InvalidInput: 2,
    errors.ModelFileError: 2,
    errors.Unavailable: 3,
    errors.NotFound: 4,
    errors.JobCancelled: 5,
    KeyboardInterrupt: INTERRUPTED,
    OSError: 1,
}

# Typer carries its own copy of click or uses the installed one: this is the class of usage errors of either.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]


def run(app: typer.Typer, arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status."""
    as_json = "--json" in arguments
    command = typer.main.get_command(app)
    try:
        status = command.main(args=list(arguments), prog_name="gradloom", standalone_mode=False)
    except (errors.GradloomError, OSError) as error:
        return refuse(error, as_json)
    except UsageError as error:
        return _refuse_usage(error, as_json)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    if status == INTERRUPTED:
        return refuse(KeyboardInterrupt("interrupted"), as_json)
    return int(status or 0)


def exit_status(error: BaseException) -> int:
    """The exit status that an error ends the command with."""
    return next(EXIT_STATUSES[kind] for kind in type(error).__mro__ if kind in EXIT_STATUSES)


def refuse(error: BaseException, as_json: bool) -> int:
    """Say why a command ends, and return its exit status."""
    if os.environ.get("GRADLOOM_DEBUG"):
        traceback.print_exception(error)
    kind = "OSError" if isinstance(error, OSError) else type(error).__name__
    _tell(kind, getattr(error, "field", None), _sentence(error), as_json)
    return exit_status(error)


def _refuse_usage(error: Exception, as_json: bool) -> int:
    sentence = error.format_message() if hasattr(error, "format_message") else str(error)
    if not sentence:  # a group without a command has shown its help, and has nothing to add
        return 2
    name = getattr(getattr(error, "param", None), "name", None) or getattr(error, "option_name", None)
    _tell("UsageError", name, sentence, as_json)
    context = getattr(error, "ctx", None)
    say(f"see: {getattr(context, 'command_path', 'gradloom')} --help")
    return 2


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _tell(kind: str, field: str | None, sentence: str, as_json: bool) -> None:
    say(f"error: {sentence}")
    if as_json:
        write_json({"error": {"kind": kind, "field": field, "message": sentence}})
    sys.stdout.flush()

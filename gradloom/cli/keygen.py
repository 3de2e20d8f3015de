"""``gradloom keygen``: a key for what lies on disk, in a file that only its owner reads."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from gradloom.cli.options import AsJson


def add_to(app: typer.Typer) -> None:
    """Make the command known."""
    app.command()(keygen)


def keygen(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where to write the key; only its owner may read it.")
    ],
    rotate: Annotated[
        bool, typer.Option("--rotate", help="FILE holds keys: put a new one before them, they still read.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a key that encrypts checkpoints and models on disk (AES-256-GCM)."""
    from gradloom.cli.output import write_json, write_line
    from gradloom.keys import new_key, parse_keys

    file = file.expanduser().absolute()
    key = new_key()
    (written,) = parse_keys(key, "key").keys
    older = _older(file) if rotate else ""
    _write(file, f"{key}  # {written.id}\n{older}", replace=rotate)
    if as_json:
        write_json({"file": str(file), "key_id": written.id, "keys": older.count("\n") + 1})
    else:
        write_line(f"key  {written.id}  in {file}")
        told = f"export GRADLOOM_ENCRYPTION_KEY_FILE={shlex.quote(str(file))}"
        write_line(f"use it:  {told}      keep a copy: nothing opens without it")


def _older(file: Path) -> str:
    """What the file holds, if that is keys. Raises InvalidInput."""
    from gradloom.errors import InvalidInput
    from gradloom.keys import parse_keys

    try:
        text = file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it holds no keys"
        raise InvalidInput("file", f"{file} can't be read: {why}") from None
    parse_keys(text, str(file))
    return text if text.endswith("\n") else f"{text}\n"


def _write(file: Path, text: str, *, replace: bool) -> None:
    """Write the file; without ``replace`` only where there is none, for a key that is gone opens nothing.

    Raises InvalidInput, Conflict if there is one.
    """
    from gradloom.errors import Conflict, InvalidInput
    from gradloom.whole_files import SECRET, whole_file

    try:
        with whole_file(file, SECRET, new=not replace) as opened:
            opened.write(text.encode("ascii"))
    except FileExistsError:
        raise Conflict(
            f"{file} is there already and is not overwritten; name another, or add a key with --rotate"
        ) from None
    except OSError as error:
        raise InvalidInput("file", f"{file} can't be written: {error.strerror}") from None

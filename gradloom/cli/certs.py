"""``gradloom certs``: an authority of one's own in a folder, for development and small clusters.

Only typer is imported at the top: a command imports what it needs when it runs.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradloom.cli.options import AsJson

if TYPE_CHECKING:
    from datetime import datetime

    from gradloom.certificate_folder import Held

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
DAYS = 90.0
Folder = Annotated[
    Path, typer.Option("--dir", metavar="FOLDER", envvar="GRADLOOM_CERTS", help="Where the certificates are.")
]
Hosts = Annotated[
    list[str] | None,
    typer.Option(
        "--host", metavar="NAME|IP", help="By which people and workers call the coordinator; may be repeated."
    ),
]
Days = Annotated[float, typer.Option(help="How long they are valid; never longer than the authority.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]

certs_app = typer.Typer(
    help="Make, renew and show the certificates of mutual TLS: see docs/tls.md.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def add_to(app: typer.Typer) -> None:
    """Make the commands known."""
    app.add_typer(certs_app, name="certs")


@certs_app.command()
def init(
    folder: Folder = Path("certs"),
    hosts: Hosts = None,
    days: Days = DAYS,
    only_ca: Annotated[bool, typer.Option("--only-ca", help="Issue nothing yet.")] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Make an authority, and certificates for a coordinator, its workers and yourself as admin."""
    from gradloom.certificate_folder import found_authority, issue_into
    from gradloom.certificates import CertificateRole, Wish, check_wish
    from gradloom.cli.output import say, write_line
    from gradloom.credentials import utc_now

    usual = (CertificateRole.COORDINATOR, CertificateRole.WORKER, CertificateRole.ADMIN)
    served = _hosts(CertificateRole.COORDINATOR, hosts)
    wishes = [Wish(role, role, served if role is CertificateRole.COORDINATOR else (), days) for role in usual]
    for wish in wishes:
        check_wish(wish)
    now = utc_now()
    made = [found_authority(folder, now, force=force)]
    made += [] if only_ca else [issue_into(folder, wish, now, force=force) for wish in wishes]
    _show(made, now, as_json)
    if not as_json:
        say(f"keep {folder / 'ca.key'} secret: whoever has it can be anybody")
    if not (as_json or only_ca):
        write_line(f"serve  gradloom up --host 0.0.0.0 --certs {folder} --data-allow /FOLDER/OF/DATA")
        write_line(f'use    eval "$(gradloom certs env admin --dir {folder})"')


@certs_app.command()
def issue(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of a person, a program or a kind of worker.")],
    role: Annotated[str, typer.Option(help="coordinator, worker, viewer, operator, admin or dashboard.")],
    folder: Folder = Path("certs"),
    hosts: Hosts = None,
    days: Days = DAYS,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Issue a certificate: NAME.pem and NAME.key in the folder."""
    from gradloom.certificate_folder import issue_into
    from gradloom.certificates import Wish, certificate_role_named
    from gradloom.credentials import utc_now

    wanted, now = certificate_role_named(role), utc_now()
    wish = Wish(name, wanted, _hosts(wanted, hosts), days)
    _show([issue_into(folder, wish, now, force=force)], now, as_json)


@certs_app.command()
def renew(
    folder: Folder = Path("certs"),
    everything: Annotated[bool, typer.Option("--all", help="Not only those that end soon.")] = False,
    new_keys: Annotated[bool, typer.Option("--new-keys", help="With new keys as well.")] = False,
    as_json: AsJson = False,
) -> None:
    """Issue anew what is in the last third of its life; running processes take it up by themselves."""
    from gradloom.certificate_folder import CA, held_in, renew_in
    from gradloom.cli.output import say
    from gradloom.credentials import utc_now

    now = utc_now()
    renewed = renew_in(folder, now, everything=everything, new_keys=new_keys)
    _show(renewed, now, as_json)
    if not renewed:
        say("nothing is due: what is in the last third of its life is renewed, or everything with --all")
    if any(held.name == CA and held.state in ("due", "expired") for held in held_in(folder, now)):
        say(
            "the authority itself ends soon; only a new one helps: gradloom certs init --force, then replace all"
        )


@certs_app.command()
def show(folder: Folder = Path("certs"), as_json: AsJson = False) -> None:
    """List the certificates of a folder."""
    from gradloom.certificate_folder import held_in
    from gradloom.credentials import utc_now

    now = utc_now()
    _show(held_in(folder, now), now, as_json)


@certs_app.command()
def env(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose certificate to use.")] = "admin",
    folder: Folder = Path("certs"),
) -> None:
    """Write the lines that make a shell use a certificate: eval "$(gradloom certs env NAME)"."""
    import shlex

    from gradloom.certificate_files import read_material
    from gradloom.cli.output import write_line
    from gradloom.credentials import utc_now
    from gradloom.tls import TlsFiles

    files = TlsFiles.of(folder, name)
    read_material(files, utc_now())
    for variable, path in (("CA", files.ca), ("CERT", files.cert), ("KEY", files.key)):
        write_line(f"export GRADLOOM_TLS_{variable}={shlex.quote(str(path))}")


def _hosts(role: str, given: list[str] | None) -> tuple[str, ...]:
    """A coordinator is called by its own machine, too; others are called by nobody."""
    hosts = (*(given or ()), *(LOCAL_HOSTS if role == "coordinator" else ()))
    return tuple(dict.fromkeys(hosts))


def _show(held: "list[Held]", now: "datetime", as_json: bool) -> None:
    from gradloom.cli.certs_view import certificate_values, certificates_table
    from gradloom.cli.output import results, write_json

    if as_json:
        write_json([certificate_values(one) for one in held])
    elif held:
        results().print(certificates_table(held, now))

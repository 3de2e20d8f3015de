"""The rules of the house, kept by the machine: who may import what, what stays pure, and that stubs are fresh.

Each table names the modules that may do what others may not, and why. A new entry needs a reason as good as theirs.
"""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TypeVar

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

N = TypeVar("N", bound=ast.AST)
ROOT = Path(__file__).parents[2]
PACKAGES = {
    "gradloom": ROOT / "gradloom",
    "gradloom_coordinator": ROOT / "coordinator" / "gradloom_coordinator",
    "gradloom_worker": ROOT / "worker" / "gradloom_worker",
    "gradloom_dashboard": ROOT / "dashboard" / "gradloom_dashboard",
}
PROTOS = sorted((ROOT / "protos").rglob("*.proto"))
MAX_MODULE_LINES = 450
MAX_FUNCTION_LINES = 60

MAY_SPEAK_PROTOBUF = {
    "gradloom.client": "the user's door calls the stubs",
    "gradloom.handles": "so does the handle of a job",
    "gradloom.connection": "the channel, and errors that carry a google.rpc.Status",
    "gradloom.health": "answers probes in the words of grpc.health.v1",
    "gradloom.status": "translates errors to google.rpc.Status and back",
    "gradloom.wire.": "is where values become messages",
    "gradloom_coordinator.servicers": "translates calls into the runtime's words",
    "gradloom_coordinator.worker_servicer": "does the same for the streams of workers",
    "gradloom_coordinator.server": "registers the servicers",
    "gradloom_coordinator.leadership.standby": "says how it is, and refuses everything else",
    "gradloom_coordinator.answers": "reads what workers answer",
    "gradloom_coordinator.attendance": "welcomes workers, and writes what they are told",
    "gradloom_coordinator.monitoring.views": "reads a worker's Hello",
    "gradloom_coordinator.broadcasts": "serializes a round's message in the forms that workers need",
    "gradloom_coordinator.runs": "serializes a round once for all workers",
    "gradloom_coordinator.sending": "appends a worker's own tasks to what was serialized once",
    "gradloom_coordinator.links": "keeps a worker's Hello and the announcements of its partials",
    "gradloom_coordinator.collector": "reads the descriptors of a bundle",
    "gradloom_coordinator.monitoring.message_counts": "counts messages by the tags that they begin with",
    "gradloom_worker.runtime": "reads what the coordinator sends, and answers",
    "gradloom_worker.speech": "queues the messages of a session",
    "gradloom_worker.messages": "translates between messages and the worker's own values",
    "gradloom_worker.broadcasts": "reads the descriptors of a bundle",
}
PURE = (
    "gradloom.algorithms.",
    "gradloom.canonical",
    "gradloom.nearest.",
    "gradloom.codecs.",
    "gradloom.networks.",
    "gradloom.objectives.",
    "gradloom.optimizers.",
    "gradloom.reports.balance",
    "gradloom.reports.charts",
    "gradloom.reports.computing",
    "gradloom.reports.facts",
    "gradloom.reports.markup",
    "gradloom.reports.notebook",
    "gradloom.reports.page",
    "gradloom.reports.perfetto",
    "gradloom.reports.scaling",
    "gradloom.reports.speeds",
    "gradloom.reports.timeline",
    "gradloom.reports.verdict",
    "gradloom.addresses",
    "gradloom.doctor.cluster",
    "gradloom.doctor.facts",
    "gradloom.doctor.rules",
    "gradloom.doctor.trust",
    "gradloom.data.allowed",
    "gradloom.keys",
    "gradloom.saved",
    "gradloom.traces",
    "gradloom.steered",
    "gradloom.visible",
    "gradloom.watching",
    "gradloom.words",
    "gradloom.callers",
    "gradloom.roles",
    "gradloom.tokens",
    "gradloom_coordinator.access.identity",
    "gradloom_coordinator.access.ownership",
    "gradloom_coordinator.access.rates",
    "gradloom_coordinator.access.table",
    "gradloom_coordinator.compression.",
    "gradloom_coordinator.durability.changes",
    "gradloom_coordinator.explaining",
    "gradloom_coordinator.leadership.lease",
    "gradloom_coordinator.monitoring.picture",
    "gradloom_coordinator.monitoring.standing",
    "gradloom_coordinator.scheduling.",
    "gradloom_coordinator.steering",
    "gradloom_coordinator.training",
    "gradloom_dashboard.changes",
    "gradloom_dashboard.charts",
    "gradloom_dashboard.fields",
    "gradloom_dashboard.gates",
    "gradloom_dashboard.lanes",
    "gradloom_dashboard.moment",
    "gradloom_dashboard.patches",
    "gradloom_dashboard.series",
    "gradloom_dashboard.story",
    "gradloom_worker.commands",
    "gradloom_worker.events",
    "gradloom_worker.residuals",
    "gradloom_worker.session",
)
IMPURE = {"asyncio", "grpc", "logging", "os", "random", "socket", "threading", "time"}
ENVIRONMENT = {"os.environ", "os.getenv", "sys.argv"}
MAY_READ_ENVIRONMENT = {
    "gradloom.cli.": "is a process",
    "gradloom.settings": "is what reads it for everybody",
    "gradloom.children": "hands its own environment to the processes that it starts",
    "gradloom_coordinator.__main__": "is a process",
    "gradloom_coordinator.laboratory.__main__": "is a process",
    "gradloom_worker.__main__": "is a process",
}
MAY_PRINT = {"gradloom.cli.": "talks to a person"}


@dataclass(frozen=True)
class Module:
    """One module of ours."""

    name: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    def nodes(self, kind: type[N]) -> list[N]:
        """Its parts of one kind."""
        return [node for node in ast.walk(self.tree) if isinstance(node, kind)]

    @cached_property
    def imports(self) -> list[str]:
        """The full names of what it imports, at its head or inside a function."""
        found = [alias.name for node in self.nodes(ast.Import) for alias in node.names]
        for node in self.nodes(ast.ImportFrom):
            assert node.level == 0, f"{self.name} imports relatively"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        return found

    def listed_in(self, names: Iterable[str]) -> bool:
        """Whether a table lists it, by its name or (ending in a dot) by its package."""
        return any(
            self.name == name or (name.endswith(".") and f"{self.name}.".startswith(name)) for name in names
        )


@cache
def modules() -> tuple[Module, ...]:
    """Every module that people wrote, of all four packages."""
    found = []
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            if parts[0] != "v1":
                name = ".".join([package, *(part for part in parts if part != "__init__")])
                found.append(Module(name, path.read_text(encoding="utf-8")))
    return tuple(found)


def nobody(rule: Callable[[Module], object]) -> None:
    """Assert that no module breaks a rule; ``rule`` says what one is caught with."""
    caught = [f"{module.name}: {found}" for module in modules() if (found := rule(module))]
    assert not caught, "\n".join(caught)


def test_the_tables_name_modules_that_exist() -> None:
    for table in (MAY_SPEAK_PROTOBUF, PURE, MAY_READ_ENVIRONMENT, MAY_PRINT):
        for name in table:
            assert any(module.listed_in((name,)) for module in modules()), f"there is no {name}"


def test_the_library_imports_no_service_and_services_never_each_other() -> None:
    def foreign(module: Module) -> list[str]:
        others = set(PACKAGES) - {module.name.split(".")[0], "gradloom"}
        return [name for name in module.imports if name.split(".")[0] in others]

    nobody(foreign)


def test_protobuf_stays_at_the_edge() -> None:
    def stubs(module: Module) -> list[str]:
        found = [name for name in module.imports if re.search(r"_pb2(_grpc)?(\.|$)", name)]
        return [] if module.listed_in(MAY_SPEAK_PROTOBUF) else found

    nobody(stubs)


def test_pure_modules_touch_no_clock_no_network_and_no_system() -> None:
    def impure(module: Module) -> list[str]:
        found = [name for name in module.imports if name.split(".")[0] in IMPURE]
        found += [name for node in module.nodes(ast.Attribute) if ".random." in (name := ast.unparse(node))]
        return found if module.listed_in(PURE) else []

    nobody(impure)


def test_only_processes_read_the_environment_and_their_arguments() -> None:
    def reads(module: Module) -> list[str]:
        found = [name for name in module.imports if name in ENVIRONMENT]
        found += [name for node in module.nodes(ast.Attribute) if (name := ast.unparse(node)) in ENVIRONMENT]
        return [] if module.listed_in(MAY_READ_ENVIRONMENT) else found

    nobody(reads)


def test_only_the_command_line_prints() -> None:
    def prints(module: Module) -> list[str]:
        found = [ast.unparse(call) for call in module.nodes(ast.Call) if ast.unparse(call.func) == "print"]
        return [] if module.listed_in(MAY_PRINT) else found

    nobody(prints)


def test_modules_stay_small() -> None:
    nobody(lambda module: max(0, len(module.text.splitlines()) - MAX_MODULE_LINES))


def test_functions_stay_small() -> None:
    def long(module: Module) -> list[str]:
        functions: list[ast.FunctionDef | ast.AsyncFunctionDef] = []
        functions += module.nodes(ast.FunctionDef)
        functions += module.nodes(ast.AsyncFunctionDef)
        return [f.name for f in functions if (f.end_lineno or 0) - f.lineno >= MAX_FUNCTION_LINES]

    nobody(long)


def test_every_module_says_what_it_is_for() -> None:
    nobody(lambda module: not ast.get_docstring(module.tree))


IMPORT_ALL = """
import importlib, sys, threading
before = threading.active_count()
for name in sys.argv[1:]:
    importlib.import_module(name)
assert threading.active_count() == before, threading.enumerate()
assert "asyncio" not in sys.modules or not importlib.import_module("asyncio")._get_running_loop()
"""


def test_importing_everything_does_nothing(tmp_path: Path) -> None:
    names = [module.name for module in modules()]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_ALL, *names],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())


# ---- the wire contract


def protoc(*arguments: str | Path) -> None:
    """What ``make stubs`` runs."""
    pytest.importorskip("grpc_tools")
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", "protos", *map(str, arguments)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)


def relative(paths: list[Path]) -> list[Path]:
    return [path.relative_to(ROOT) for path in paths]


def test_the_committed_stubs_are_what_the_protos_say(tmp_path: Path) -> None:
    plugin = shutil.which("protoc-gen-mypy", path=str(Path(sys.executable).parent))
    assert plugin is not None, "protoc-gen-mypy is not installed; make setup does it"
    services = [path for path in PROTOS if path.stem.endswith("_service")]
    protoc(
        f"--python_out={tmp_path}",
        f"--mypy_out=quiet:{tmp_path}",
        f"--plugin=protoc-gen-mypy={plugin}",
        *relative(PROTOS),
    )
    protoc(f"--grpc_python_out={tmp_path}", *relative(services))
    fresh = {path.name: path.read_text() for path in (tmp_path / "gradloom" / "v1").iterdir()}
    folder = ROOT / "gradloom" / "v1"
    committed = {path.name: path.read_text() for path in folder.iterdir() if "_pb2" in path.name}
    assert sorted(committed) == sorted(fresh)
    stale = [name for name, text in committed.items() if text != fresh[name]]
    assert not stale, "`make stubs` writes them anew"


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> list[FileDescriptorProto]:
    """Our protos, with their comments."""
    path = tmp_path_factory.mktemp("contract") / "all.pb"
    protoc("--include_source_info", f"--descriptor_set_out={path}", *relative(PROTOS))
    return list(FileDescriptorSet.FromString(path.read_bytes()).file)


def test_every_call_says_what_it_does(contract: list[FileDescriptorProto]) -> None:
    calls = 0
    for file in contract:
        comments = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
        for s, service in enumerate(file.service):
            assert comments[6, s], f"service {service.name} has no comment"
            for m, method in enumerate(service.method):
                calls += 1
                assert comments[6, s, 2, m], f"{service.name}.{method.name} has no comment"
    assert calls >= 9


def test_every_enum_begins_with_unspecified(contract: list[FileDescriptorProto]) -> None:
    enums = [enum for file in contract for enum in file.enum_type]
    enums += [enum for file in contract for message in file.message_type for enum in message.enum_type]
    assert len(enums) >= 5
    for enum in enums:
        first = enum.value[0]
        assert first.number == 0
        assert first.name.endswith("_UNSPECIFIED")
        prefix = first.name.removesuffix("UNSPECIFIED")
        assert all(value.name.startswith(prefix) for value in enum.value)


def test_messages_and_services_live_in_files_of_their_own(contract: list[FileDescriptorProto]) -> None:
    for file in contract:
        assert file.package == "gradloom.v1"
        assert bool(file.service) == file.name.endswith("_service.proto")


# ---- the repository


def test_no_file_speaks_of_the_place_where_it_was_written() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    words = (b"/wo" + b"rk/", b"sha" + b"red/")
    speaking = [
        name
        for name in listed
        if name and (ROOT / name).is_file() and any(word in (ROOT / name).read_bytes() for word in words)
    ]
    assert not speaking

"""Data never becomes code: nothing in the four packages unpickles, evaluates or loads what could."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "gradloom",
    "coordinator/gradloom_coordinator",
    "worker/gradloom_worker",
    "dashboard/gradloom_dashboard",
)

MODULES = frozenset(
    {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "jsonpickle"}
)
CALLS = frozenset({"eval", "exec", "compile", "__import__"})
LOADERS = frozenset({"read_pickle", "to_pickle", "full_load", "unsafe_load", "load_pickle"})


def offences(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names if name.name.split(".")[0] in MODULES)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in MODULES:
                yield module
            case ast.Call(func=ast.Name(id=name)) if name in CALLS:
                yield name
            case ast.Attribute(attr=name) if name in LOADERS | MODULES:
                yield name
            case ast.keyword(arg="allow_pickle", value=value) if not _is(value, False):
                yield "allow_pickle"
            case ast.Call(
                func=ast.Attribute(attr="load", value=ast.Name(id="np" | "numpy")), keywords=keywords
            ) if not any(one.arg == "allow_pickle" and _is(one.value, False) for one in keywords):
                yield "np.load"
            case ast.Call(func=ast.Attribute(attr="load" | "load_all", value=ast.Name(id="yaml"))):
                yield "yaml.load"
            case ast.keyword(arg="shell", value=value) if not _is(value, False):
                yield "shell"


def _is(node: ast.expr, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_is_unpickled_or_evaluated(package: str) -> None:
    files = list((ROOT / package).rglob("*.py"))
    assert files
    trees = {str(path): ast.parse(path.read_text(encoding="utf-8")) for path in files}
    assert not {path: found for path, tree in trees.items() if (found := list(offences(tree)))}


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from dill import loads",
        "import joblib.numpy_pickle",
        "eval('1')",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=allowed)",
        "pd.read_pickle(path)",
        "yaml.load(text)",
        "sklearn.externals.joblib.load(path)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_rule_catches(text: str) -> None:
    assert list(offences(ast.parse(text)))


@pytest.mark.parametrize(
    "text", ["np.load(path, allow_pickle=False)", "json.load(file)", "re.compile('x')", "yaml.safe_load(t)"]
)
def test_the_rule_lets_through(text: str) -> None:
    assert not list(offences(ast.parse(text)))

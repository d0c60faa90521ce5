"""The house keeps its walls: what may import what, what is pure, how large things grow."""

from __future__ import annotations

import ast
import configparser
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gateway"
EVERYWHERE = {"errors", "model", "failpoints", ""}
MAY_IMPORT: dict[str, set[str]] = {
    "model": set(),
    "errors": set(),
    "states": set(),
    "share": set(),
    "failpoints": set(),
    "config": {"share"},
    "wire": {"share"},
    "pki": {"share"},
    "xmlsec": {"wire", "pki"},
    "recognition": {"wire", "xmlsec", "pki"},
    "agreements": {"wire"},
    "protocols": {"wire", "xmlsec", "pki", "agreements"},
    "harmonize": {"wire", "share"},
    "cases": {"harmonize", "states", "wire"},
    "store": {"states"},
    "evidence": {"pki", "xmlsec", "store"},
    "hub": {
        "wire", "xmlsec", "pki", "recognition", "agreements", "protocols", "harmonize", "cases",
        "store", "evidence", "states", "share", "config",
    },
    "delivery": {
        "hub", "store", "evidence", "protocols", "wire", "xmlsec", "pki", "agreements", "config", "share",
        "cases", "states",
    },
    "monitor": {"store"},
    "web": {
        "hub", "store", "monitor", "config", "protocols", "wire", "xmlsec", "share", "pki", "cases",
    },
    "conformance": {"wire", "xmlsec", "pki", "recognition", "agreements", "protocols", "share", "cases"},
}  # fmt: skip
PURE = (
    *("model", "states", "errors", "wire", "xmlsec", "pki", "recognition"),
    *("agreements", "protocols", "harmonize", "cases"),
)
# worker.py is the process in which the pure code may be killed.
NOT_PURE = {"pki/issue.py", "pki/worker.py"}
BANNED_NAMES = {"open", "print", "input"}
BANNED_ATTRIBUTES = {
    ("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today"),
    ("time", "time"), ("time", "monotonic"), ("time", "sleep"), ("uuid", "uuid4"), ("uuid", "uuid1"),
}  # fmt: skip
BANNED_MODULES = {
    "socket",
    "sqlalchemy",
    "logging",
    "random",
    "secrets",
    "requests",
    "urllib3",
    "subprocess",
    "uuid",
    "time",
}
SQL_ROOMS = {"store", "evidence"}
SOCKET_FILES = {"delivery/http.py", "web/server.py", "web/connections.py"}
MAX_FILE = 600
MAX_FUNCTION = 80
MAX_COMPLEXITY = 12
POOR_NAMES = {"util", "utils", "common", "helper", "helpers", "manager", "service", "misc"}


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sources():
        yield path, ast.parse(path.read_text(encoding="utf-8"), str(path))


def module_name(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def type_checking_only(tree: ast.Module) -> set[ast.AST]:
    """Return nodes that stand below ``if TYPE_CHECKING``: they import nothing when the program runs."""
    inside: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for child in node.body:
                inside.update(ast.walk(child))
    return inside


def imports(path: Path, tree: ast.Module, *, running: bool = False) -> Iterator[str]:
    skipped = type_checking_only(tree) if running else set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{place(path)}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", sources(), ids=place)
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    own = room(path)
    if own in {"cli", "", "__main__"}:
        return
    assert own in MAY_IMPORT, f"room {own} is not in the table"
    allowed = MAY_IMPORT[own] | EVERYWHERE | {own}
    for name in imports(path, ast.parse(path.read_text(encoding="utf-8"))):
        if name == "gateway" or name.startswith("gateway."):
            target = name.split(".")[1] if "." in name else ""
            assert target in allowed or (
                not (PACKAGE / target).exists() and not (PACKAGE / f"{target}.py").exists()
            ), f"{place(path)} imports {name}"


def test_there_is_no_import_cycle() -> None:
    modules = {module_name(path): path for path in sources()}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        targets = {target for target in imports(path, tree, running=True) if target in modules}
        graph[name] = targets - {name}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for target in graph[name]:
                visit(target, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize(
    "path", [p for p in sources() if room(p) in PURE and place(p) not in NOT_PURE], ids=place
)
def test_a_pure_room_asks_nothing_of_the_world(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for name in imports(path, tree):
        assert name.split(".")[0] not in BANNED_MODULES, f"{place(path)} imports {name}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name):
            assert node.func.id not in BANNED_NAMES, f"{place(path)}:{node.lineno} calls {node.func.id}"
        elif isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            pair = (node.func.value.id, node.func.attr)
            assert pair not in BANNED_ATTRIBUTES, f"{place(path)}:{node.lineno} calls {'.'.join(pair)}"


def test_only_the_store_speaks_sql() -> None:
    for path, tree in trees():
        if room(path) not in SQL_ROOMS:
            for name in imports(path, tree):
                if name.split(".")[0] == "sqlalchemy":
                    assert name in {
                        "sqlalchemy",
                        "sqlalchemy.Connection",
                        "sqlalchemy.Engine",
                        "sqlalchemy.Row",
                    }, f"{place(path)} imports {name}"


def test_only_the_store_begins_transactions() -> None:
    """`transaction` and `reading` hold the writer's lock of SQLite; an engine used directly does not."""
    for path, tree in trees():
        if room(path) == "store":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in {"begin", "connect"}:
                owner = ast.unparse(node.value)
                assert not owner.endswith("engine"), f"{place(path)}:{node.lineno} uses {owner}.{node.attr}"


def test_every_commit_of_hub_and_delivery_is_named() -> None:
    """Crash tests kill at commits by name: one without is never tried, two of a name are confused."""
    seen: dict[str, str] = {}
    for path, tree in trees():
        if room(path) not in {"hub", "delivery"}:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "transaction":
                assert len(node.args) == 2, f"{place(path)}:{node.lineno} has no name"
                name = ast.literal_eval(node.args[1])
                assert name not in seen, f"{name} stands in {seen[name]} and {place(path)}"
                seen[name] = place(path)
    assert len(seen) >= 18


@pytest.mark.parametrize("path", sources(), ids=place)
def test_nothing_grows_without_end(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = sum(1 for line in text.splitlines() if line.strip())
    assert lines <= MAX_FILE, f"{place(path)} has {lines} lines"
    assert path.stem not in POOR_NAMES, f"{place(path)} is not a word of the field"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MAX_FUNCTION, f"{place(path)}:{node.name} has {length} lines"


@pytest.mark.parametrize("path", sources(), ids=place)
def test_no_agency_or_document_is_named_in_code(path: Path) -> None:
    if room(path) == "conformance":
        return
    text = path.read_text(encoding="utf-8")
    for word in ("KPTA", "KFDA", "NPQS", "NFPQIS", "NVRQS", "GOVCBR", "KTX", "KFT"):
        assert word not in text, f"{place(path)} names {word}"


def test_every_code_package_is_in_the_wheel() -> None:
    """`setup.cfg` names each package; one that is forgotten would be missing after installation."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    named = {line for line in config["options"]["packages"].split() if line}
    real = {module_name(path) for path in PACKAGE.rglob("__init__.py")}
    data = {f"gateway.share.{name}" for name in ("xsd", "wsdl", "mappings", "pki", "conformance")}
    assert named == real | data

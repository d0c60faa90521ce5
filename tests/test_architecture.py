"""The house keeps its walls: what may import what, what is pure, how large things grow."""

from __future__ import annotations

import ast
import configparser
from collections.abc import Iterator
from pathlib import Path

from tests.kit.paths import ROOT
from tests.kit.source_tree import PACKAGE, list_sources, parse_source, parse_sources, read_source
from tests.kit.source_tree import get_place as place

EVERYWHERE = {"errors", "message_model", "failpoints", ""}
MAY_IMPORT: dict[str, set[str]] = {
    "message_model": set(),
    "errors": set(),
    "state_machines": set(),
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
    "cases": {"harmonize", "state_machines", "wire"},
    "store": {"state_machines"},
    "evidence": {"pki", "xmlsec", "store"},
    "hub": {
        "wire", "xmlsec", "pki", "recognition", "agreements", "protocols", "harmonize", "cases",
        "store", "evidence", "state_machines", "share", "config",
    },
    "delivery": {
        "hub", "store", "evidence", "protocols", "wire", "xmlsec", "pki", "agreements", "config", "share",
        "cases", "state_machines",
    },
    "monitor": {"store"},
    "web": {
        "hub", "store", "monitor", "config", "protocols", "wire", "xmlsec", "share", "pki", "cases",
    },
    "conformance": {"wire", "xmlsec", "pki", "recognition", "agreements", "protocols", "share", "cases"},
}  # fmt: skip
PURE = (
    *("message_model", "state_machines", "errors", "wire", "xmlsec", "pki", "recognition"),
    *("agreements", "protocols", "harmonize", "cases"),
)
# The examiner is the process in which the pure code may be killed.
NOT_PURE = {"pki/certificate_authority.py", "pki/certificate_examiner.py"}
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
MAX_FILE = 600
MAX_FUNCTION = 80
MAX_COMPLEXITY = 12
POOR_NAMES = {"util", "utils", "common", "helper", "helpers", "manager", "service", "misc"}


def room(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


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


def test_a_room_imports_only_what_it_may() -> None:
    wrong = []
    for path, tree in parse_sources():
        own = room(path)
        if own in {"cli", "", "__main__"}:
            continue
        assert own in MAY_IMPORT, f"room {own} is not in the table"
        allowed = MAY_IMPORT[own] | EVERYWHERE | {own}
        for name in imports(path, tree):
            if name == "gateway" or name.startswith("gateway."):
                target = name.split(".")[1] if "." in name else ""
                there = (PACKAGE / target).exists() or (PACKAGE / f"{target}.py").exists()
                if target not in allowed and there:
                    wrong.append(f"{place(path)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_the_http_server_knows_nothing_of_what_it_serves() -> None:
    """It takes values and the name of a function: another application could be served by it."""
    rooms = ("gateway.errors", "gateway.pki", "gateway.wire", "gateway.web.server")
    for path in sorted((PACKAGE / "web" / "server").glob("*.py")):
        for name in imports(path, ast.parse(path.read_text(encoding="utf-8"))):
            if name.startswith("gateway"):
                good = name.startswith((*rooms, "gateway.config.reloaded_value"))
                assert good, f"{place(path)} imports {name}"


def test_there_is_no_import_cycle() -> None:
    modules = {module_name(path): path for path in list_sources()}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        tree = parse_source(path)
        targets = {target for target in imports(path, tree) if target in modules}
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


def test_a_pure_room_asks_nothing_of_the_world() -> None:
    wrong = []
    for path, tree in parse_sources():
        if room(path) not in PURE or place(path) in NOT_PURE:
            continue
        banned = [name for name in imports(path, tree) if name.split(".")[0] in BANNED_MODULES]
        wrong += [f"{place(path)} imports {name}" for name in banned]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _is_impure(node.func):
                wrong.append(f"{place(path)}:{node.lineno} calls {ast.unparse(node.func)}")
    assert not wrong, "\n".join(wrong)


def _is_impure(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id in BANNED_NAMES
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return (function.value.id, function.attr) in BANNED_ATTRIBUTES
    return False


def test_only_the_store_speaks_sql() -> None:
    for path, tree in parse_sources():
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
    """Those functions hold the lock of the writer on SQLite; an engine used directly does not."""
    for path, tree in parse_sources():
        if room(path) == "store":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in {"begin", "connect"}:
                owner = ast.unparse(node.value)
                assert not owner.endswith("engine"), f"{place(path)}:{node.lineno} uses {owner}.{node.attr}"


def test_every_commit_of_hub_and_delivery_is_named() -> None:
    """Crash tests kill at commits by name: one without is never tried, two of a name are confused."""
    seen: dict[str, str] = {}
    for path, tree in parse_sources():
        if room(path) not in {"hub", "delivery"}:
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            if ast.unparse(node.func) in {"write_transaction", "closing_transaction"}:
                assert len(node.args) >= 2, f"{place(path)}:{node.lineno} has no name"
                if place(path) == "hub/completion/case_closing.py":
                    continue  # it takes the name from its caller
                name = ast.literal_eval(node.args[1])
                assert name not in seen, f"{name} stands in {seen[name]} and {place(path)}"
                seen[name] = place(path)
    assert len(seen) >= 18


def test_nothing_grows_without_end() -> None:
    wrong = []
    for path, tree in parse_sources():
        lines = sum(1 for line in read_source(path).splitlines() if line.strip())
        if lines > MAX_FILE:
            wrong.append(f"{place(path)} has {lines} lines")
        if path.stem in POOR_NAMES:
            wrong.append(f"{place(path)} is not a word of the field")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION:
                    wrong.append(f"{place(path)}:{node.name} has {length} lines")
    assert not wrong, "\n".join(wrong)


def test_no_agency_or_document_is_named_in_code() -> None:
    words = ("KPTA", "KFDA", "NPQS", "NFPQIS", "NVRQS", "GOVCBR", "KTX", "KFT")
    named = [
        f"{place(path)} names {word}"
        for path in list_sources()
        for word in words
        if room(path) != "conformance" and word in read_source(path)
    ]
    assert not named, "\n".join(named)


def test_every_code_package_is_in_the_wheel() -> None:
    """`setup.cfg` names each package; one that is forgotten would be missing after installation."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    named = {line for line in config["options"]["packages"].split() if line}
    real = {module_name(path) for path in PACKAGE.rglob("__init__.py")}
    data = {f"gateway.share.{name}" for name in ("xsd", "wsdl", "mappings", "pki", "conformance")}
    assert named == real | data

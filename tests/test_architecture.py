"""The house keeps its walls: what may import what, what is pure, how large things grow."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path

from gateway.share import FOLDERS
from tests.kit.facts import COMMITS
from tests.kit.paths import ROOT
from tests.kit.source_tree import (
    PACKAGE,
    get_module_name,
    list_sources,
    parse_source,
    read_facades,
    read_source,
    walk_sources,
)
from tests.kit.source_tree import get_place as place

EVERYWHERE = {
    "errors", "message_model", "notice_order", "failpoints", "process_log", "program_build", "file_owner",
    "stop_signals", "",
}  # fmt: skip
MAY_IMPORT: dict[str, set[str]] = {
    "message_model": set(),
    "notice_order": set(),
    "errors": set(),
    "state_machines": set(),
    "share": set(),
    "failpoints": set(),
    "log_stream": set(),
    "process_log": {"log_stream"},
    "program_build": set(),
    "file_owner": set(),
    "stop_signals": set(),
    "processor_affinity": set(),
    "config": {"share"},
    "wire": {"share"},
    "pki": {"share", "processor_affinity"},
    "xmlsec": {"wire", "pki"},
    "encryption": {"wire", "pki"},
    "recognition": {"wire", "xmlsec", "pki"},
    "accounts": set(),
    "agreements": {"wire", "pki", "share"},
    "protocols": {"wire", "xmlsec", "encryption", "pki", "agreements"},
    "harmonize": {"wire", "share"},
    "cases": {"harmonize", "state_machines", "wire"},
    "needs": {"wire"},
    "calendars": {"wire"},
    "store": {"state_machines"},
    "evidence": {"pki", "xmlsec", "store", "state_machines"},
    "hub": {
        "wire", "xmlsec", "pki", "recognition", "agreements", "protocols", "harmonize", "cases",
        "needs", "calendars", "store", "evidence", "state_machines", "share", "config",
    },
    "delivery": {
        "hub", "store", "evidence", "protocols", "wire", "xmlsec", "pki", "agreements", "config", "share",
        "cases", "state_machines",
    },
    "monitor": {"store"},
    # what operators see and do, for verbs and for the console
    "operations": {
        "needs", "calendars", "hub", "store", "evidence", "delivery", "agreements", "harmonize", "protocols",
        "pki", "monitor", "cases", "state_machines", "config", "share", "wire", "accounts",
    },
    "web": {
        "hub", "store", "monitor", "config", "protocols", "wire", "xmlsec", "share", "pki", "cases",
        "accounts", "operations", "evidence", "harmonize", "state_machines", "calendars",
        "processor_affinity",
        # the hub's own HTTP client, which alone calls others
        "delivery",
    },
    # what a partner has to speak with a hub; it knows nothing of the hub's inside
    "client": {"wire", "xmlsec", "encryption", "pki", "recognition", "agreements", "protocols", "cases"},
    "conformance": {
        "client", "wire", "xmlsec", "encryption", "pki", "recognition", "agreements", "protocols", "share",
        "cases",
    },
    "workbench": {"harmonize", "wire"},
}  # fmt: skip
#: What stands beside the gateway: nothing else imports it, and a hub runs without it.
PACKAGES_BESIDE = {"gateway_conformance": "conformance", "gateway_workbench": "workbench"}
#: The verbs of these packages, and the tables that name them.
VERB_FILES = ("conformance/verb", "workbench/verb")
PURE = (
    *(
        "message_model",
        "notice_order",
        "state_machines",
        "errors",
        "wire",
        "xmlsec",
        "encryption",
        "pki",
        "recognition",
    ),
    *("accounts", "agreements", "protocols", "harmonize", "cases", "needs", "calendars"),
    "workbench",
)
# The examiner is the process in which the pure code may be killed.
NOT_PURE = {"pki/certificate_examiner.py", "pki/examiner_process.py"}
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
#: Tables of columns, not functions: whoever speaks SQL takes them as they are.
BEHIND_FACADES = {
    *("gateway.store.payloads", "gateway.store.time_stamps", "gateway.store.transitions"),
    "gateway.store.verdicts",
}
SQL_ROOMS = {"store", "evidence"}
MAX_FILE = 600
MAX_FUNCTION = 80
MAX_COMPLEXITY = 12
POOR_NAMES = {"util", "utils", "common", "helper", "helpers", "manager", "service", "misc"}


def room(path: Path) -> str:
    first = place(path).partition("/")[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def type_checking_only(nodes: Iterable[ast.AST]) -> set[ast.AST]:
    """Return nodes that stand below ``if TYPE_CHECKING``: they import nothing when the program runs."""
    inside: set[ast.AST] = set()
    for node in nodes:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for child in node.body:
                inside.update(ast.walk(child))
    return inside


def imports(path: Path, nodes: Iterable[ast.AST], *, running: bool = False) -> Iterator[str]:
    skipped = type_checking_only(nodes) if running else set()
    for node in nodes:
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_a_room_imports_only_what_it_may() -> None:
    wrong = []
    for path, nodes in walk_sources():
        own = room(path)
        wrong += [
            f"{place(path)} imports {name}"
            for name in imports(path, nodes)
            if PACKAGES_BESIDE.get(name.partition(".")[0], own) != own
        ]
        if own in {"cli", "", "__main__"} or place(path).startswith(VERB_FILES):
            continue
        assert own in MAY_IMPORT, f"room {own} is not in the table"
        allowed = MAY_IMPORT[own] | EVERYWHERE | {own}
        for name in imports(path, nodes):
            if name == "gateway" or name.startswith("gateway."):
                target = name.split(".")[1] if "." in name else ""
                if (
                    target not in allowed
                    and (PACKAGE / target).exists() | (PACKAGE / f"{target}.py").exists()
                ):
                    wrong.append(f"{place(path)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_the_http_server_knows_nothing_of_what_it_serves() -> None:
    """It takes values and the name of a function: another application could be served by it."""
    names = ("errors", "pki", "process_log", "stop_signals", "wire", "web.server")
    rooms = tuple(f"gateway.{name}" for name in names)
    sources = dict(walk_sources())
    for path in sorted((PACKAGE / "web" / "server").glob("*.py")):
        for name in imports(path, sources[path]):
            if name.startswith("gateway"):
                good = name.startswith(rooms) or name in ("gateway.config", "gateway.config.ReloadedValue")
                assert good, f"{place(path)} imports {name}"


@cache
def draw_imports(*, running: bool = False) -> dict[str, set[str]]:
    """Return of each module those that it imports: through a facade, the module that a name comes from.

    With `running`, only what runs when the module is imported.
    """
    modules = {get_module_name(path): path for path in list_sources()}
    facades = read_facades()
    graph: dict[str, set[str]] = {}
    sources = dict(walk_sources())
    for name, path in modules.items():
        nodes = sources[path]
        found = set()
        for target in imports(path, nodes, running=running):
            package, _, what = target.rpartition(".")
            if what in facades.get(package, {}):
                home = facades[package][what]
                found.add(f"{home}.{what}" if f"{home}.{what}" in modules else home)
            elif target in modules:
                found.add(target)
        graph[name] = found - {name}
    return graph


def find_longest_chain(graph: dict[str, set[str]]) -> tuple[str, ...]:
    """Return the longest chain of imports; fails where there is a circle."""
    longest: dict[str, tuple[str, ...]] = {}

    def visit(name: str, trail: tuple[str, ...]) -> tuple[str, ...]:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in longest:
            below = (visit(target, (*trail, name)) for target in sorted(graph[name]))
            longest[name] = (name, *max(below, key=len, default=()))
        return longest[name]

    return max((visit(name, ()) for name in sorted(graph)), key=len)


def test_there_is_no_import_cycle() -> None:
    find_longest_chain(draw_imports())


def draw_written_imports() -> dict[str, set[str]]:
    """Return of each module those that the head of its file names; a package stands for its own file."""
    modules = {get_module_name(path): path for path in list_sources()}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        head = [node for node in parse_source(path).body if isinstance(node, ast.Import | ast.ImportFrom)]
        graph[name] = {target for node in head for target in list_targets(node, modules)} - {name}
    return graph


def list_targets(node: ast.Import | ast.ImportFrom, modules: Collection[str]) -> Iterator[str]:
    """Yield the modules that a statement imports: one that is imported from its package, or the package."""
    for alias in node.names:
        named = alias.name if isinstance(node, ast.Import) else f"{node.module}.{alias.name}"
        target = named if named in modules or isinstance(node, ast.Import) else node.module or ""
        if target in modules:
            yield target


def find_facade(name: str, target: str) -> str | None:
    """Return the outermost package with a facade that a module is in and another is not."""
    parts = target.split(".")
    for count in range(1, len(parts)):
        package = ".".join(parts[:count])
        if package in read_facades() and not name.startswith(f"{package}.") and name != package:
            return package
    return None


def test_others_import_what_a_package_offers() -> None:
    wrong = []
    for path, nodes in walk_sources():
        own = get_module_name(path)
        for node in nodes:
            if not isinstance(node, ast.ImportFrom) or node.module in BEHIND_FACADES:
                continue
            for alias in node.names:
                facade = find_facade(own, f"{node.module}.{alias.name}")
                if facade is not None and node.module != facade:
                    wrong.append(
                        f"{place(path)}: {alias.name} of {node.module} is offered by {facade}, or should be"
                    )
    assert not wrong, "\n".join(wrong)


def test_a_package_offers_what_others_use() -> None:
    used = {target for path, nodes in walk_sources() for target in imports(path, nodes)}
    # What an outer package offers of an inner one.
    used |= {f"{home}.{name}" for names in read_facades().values() for name, home in names.items()}
    unused = {
        f"{package}.{name}"
        for package, names in read_facades().items()
        for name in names
        # Every problem of the catalogue has a name, also one that nothing raises yet.
        if f"{package}.{name}" not in used and package != "gateway.errors"
    }
    # Only a test that speaks of such a name can import it.
    words = re.compile("|".join({one.rpartition(".")[2] for one in unused}) or "$.")
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if words.search(text := path.read_text(encoding="utf-8")):
            unused.difference_update(imports(path, list(ast.walk(ast.parse(text)))))
    assert not unused, "\n".join(sorted(unused))


def test_public_names_are_listed_by_packages_alone() -> None:
    lists = [
        f"{place(path)}:{node.lineno}"
        for path, nodes in walk_sources()
        for node in nodes
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    assert lists == []


def test_a_pure_room_asks_nothing_of_the_world() -> None:
    wrong = []
    for path, nodes in walk_sources():
        if room(path) not in PURE or place(path) in NOT_PURE or place(path).startswith(VERB_FILES):
            continue
        banned = [name for name in imports(path, nodes) if name.split(".")[0] in BANNED_MODULES]
        wrong += [f"{place(path)} imports {name}" for name in banned]
        for node in nodes:
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
    for path, nodes in walk_sources():
        if room(path) not in SQL_ROOMS:
            for name in imports(path, nodes):
                if name.split(".")[0] == "sqlalchemy":
                    assert name in {
                        "sqlalchemy",
                        "sqlalchemy.Connection",
                        "sqlalchemy.Engine",
                        "sqlalchemy.Row",
                    }, f"{place(path)} imports {name}"


def test_only_the_store_begins_transactions() -> None:
    """Those functions hold the lock of the writer on SQLite; an engine used directly does not."""
    for path, nodes in walk_sources():
        if room(path) == "store":
            continue
        for node in nodes:
            if isinstance(node, ast.Attribute) and node.attr in {"begin", "connect"}:
                owner = ast.unparse(node.value)
                assert not owner.endswith("engine"), f"{place(path)}:{node.lineno} uses {owner}.{node.attr}"


def test_every_commit_of_hub_and_delivery_is_named() -> None:
    """Crash tests kill at commits by name: one without is never tried, two of a name are confused."""
    seen: dict[str, str] = {}
    for path, nodes in walk_sources():
        if room(path) not in {"hub", "delivery"}:
            continue
        for node in nodes:
            if not isinstance(node, ast.Call):
                continue
            if ast.unparse(node.func).rpartition(".")[2] in COMMITS:
                assert len(node.args) >= 2, f"{place(path)}:{node.lineno} has no name"
                if ast.unparse(node.args[1]) in ("name", "transaction_name"):
                    continue  # it takes the name from its caller
                name = ast.literal_eval(node.args[1])
                # A message that fits no more is stored again in the same place, as a repeat.
                is_repeat = name == "receive.message" and seen.get(name) == place(path)
                assert name not in seen or is_repeat, f"{name} stands in {seen[name]} and {place(path)}"
                seen[name] = place(path)
    assert len(seen) >= 18


def test_nothing_grows_without_end() -> None:
    wrong = []
    for path, nodes in walk_sources():
        lines = sum(1 for line in read_source(path).splitlines() if line.strip())
        if lines > MAX_FILE:
            wrong.append(f"{place(path)} has {lines} lines")
        if path.stem in POOR_NAMES:
            wrong.append(f"{place(path)} is not a word of the field")
        for node in nodes:
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


def test_the_top_level_has_the_agreed_folders_alone() -> None:
    tracked = subprocess.run(("git", "ls-files"), cwd=ROOT, capture_output=True, text=True, check=False)
    paths = tracked.stdout.splitlines() or [f"{one.name}/" for one in ROOT.iterdir() if one.is_dir()]
    folders = {path.partition("/")[0] for path in paths if "/" in path}
    made = {one for one in folders if one.startswith(".") or one in {"build", "dist"} or ".egg" in one}
    assert folders - made == {"gateway", "conformance", "tests", *FOLDERS} - {"profiles", "install"}


def test_every_code_package_is_in_the_wheel() -> None:
    """`setup.cfg` names each package; one that is forgotten would be missing after installation."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    named = {line for line in config["options"]["packages"].split() if line}
    real = {get_module_name(path) for path in list_sources() if path.name == "__init__.py"}
    data = {f"gateway.share.{name}" for name in FOLDERS}
    assert named == real | data


if __name__ == "__main__":
    # A report, not a limit: an innocent import can make a chain longer.
    for title, graph in (
        ("as it runs", draw_imports(running=True)),
        ("as it is written", draw_written_imports()),
    ):
        chain = find_longest_chain(graph)
        print(f"longest chain of imports {title}: {len(chain)} files\n  " + "\n  ".join(chain))


#: Where a conversion has its own answer for the ends of the calendar, or is one of the program's own clock.
OWN_CONVERSIONS = {
    "wire/time_zones.py": "the functions themselves",
    "harmonize/language/code_lists.py": "the text of a document: its caller reports what has no local day",
    "store/refusal_counts.py": "a time of the program's own clock",
}


def test_a_time_is_placed_in_a_zone_by_one_function() -> None:
    """``astimezone`` has no answer for the ends of the calendar, as the end of a certificate without end."""
    strangers = []
    for path, nodes in walk_sources():
        if place(path) in OWN_CONVERSIONS or not path.is_relative_to(PACKAGE):
            continue
        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                to_utc = [ast.unparse(argument) for argument in node.args] == ["UTC"]
                if node.func.attr == "astimezone" and not to_utc:
                    strangers.append(f"{place(path)}:{node.lineno}")
    assert strangers == []


#: What verifies the signature of a SOAP envelope.
SOAP_VERIFIERS = {
    "xmlsec/signed_soap.py": "each message, for whoever receives it",
    "cli/commands/evidence_certificate.py": "each stored envelope again, under each policy",
}


def test_signed_soap_is_opened_by_one_function() -> None:
    verifiers = {
        place(path)
        for path, nodes in walk_sources()
        for node in nodes
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("verify_soap_envelope")
    }
    assert verifiers == set(SOAP_VERIFIERS)


#: What sends requests, each tried with answers before the end of a request (`delivery/test_early_answers`).
SENDERS = {
    "delivery/http_client.py": "all that the hub calls and fetches",
    "client/http_transport.py": "what a partner sends",
    "store/object_bucket.py": "objects, by botocore, whose client reads such answers",
}
#: Those that know only processes of our own, or who listens on a port.
LOCAL_CONNECTIONS = {"web/server/child_process.py"}


def test_requests_are_sent_by_one_client_on_each_side() -> None:
    libraries = {
        "http.client",
        "urllib.request",
        "urllib3",
        "requests",
        "httpx",
        "aiohttp",
        "smtplib",
        "botocore",
    }
    senders = set()
    for path, nodes in walk_sources():
        if not path.is_relative_to(PACKAGE):
            continue
        has_library = any(
            name == library or name.startswith(f"{library}.")
            for name in imports(path, nodes)
            for library in libraries
        )
        connects = any(
            isinstance(node, ast.Attribute) and node.attr in {"create_connection", "open_connection"}
            for node in nodes
        ) or any(isinstance(node, ast.Name) and node.id == "connect_by_deadline" for node in nodes)
        if has_library or connects:
            senders.add(place(path))
    assert senders - LOCAL_CONNECTIONS == set(SENDERS)

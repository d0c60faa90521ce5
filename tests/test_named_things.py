"""What the pages name in running text exists: links, files, modules, settings, metrics, columns, options.

The pages are those of the manual, README, CONTRIBUTING and SECURITY. Commands are held by the test of
commands.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from gateway.accounts import Right
from gateway.config import describe_settings
from gateway.errors import PROBLEMS
from gateway.store.tables import metadata
from tests.kit import facts
from tests.kit.paths import MANUAL, ROOT
from tests.kit.source_tree import walk_sources

FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FRONT = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
DATA = ("conformance", "mappings", "pki", "wsdl", "xsd")
TOP = (*DATA, "gateway", "tests", r"\.ci")
PATH = re.compile(rf"(?:{'|'.join(TOP)})(?:/[\w.<>*-]+)+/?")
KINDS = {
    ".py",
    ".pyi",
    ".xsd",
    ".yml",
    ".service",
    ".wsdl",
    ".yaml",
    ".toml",
    ".csv",
    ".json",
    ".xml",
    ".md",
    ".txt",
    ".cfg",
    ".java",
}
# Keys and certificates of a home; the repository has a folder of this name, too.
OF_A_HOME = re.compile(r"pki/[\w.-]+\.(pem|der)")
# Names of other products, of examples that a page makes itself, and of files that a user makes.
FOREIGN = {
    # the types of events, which are written with the names of what happened in small letters
    "agreements.md": {"FragmentSize", "JoinInterval", "RoutingProperties"},
    "api.md": {"customs_accepted", "customs_error", "clearance_refused", "clearance_cancelled"},
    "decisions/0026-own-code-or-library.md": {
        "RSGIHTTPScope",
        "GaugeMetricFamily",
        "[red]",
        "choose_encoder",
        "wait_exponential",
        "GATEWAY_HTTPS__PORT",
        "GATEWAY_AGENCY__ORG__ENDPOINT",
    },
    "inventory.md": {"tug_no", "hma_pilot_imp"},
    "mapping-language.md": {"UnNumber"},
    "configuration.md": {"HUB_KEY"},
    "operating.md": {"client_max_body_size", "default_pool_size", "pg_wal", "proxy_set_header", "signCert"},
}


def pages() -> dict[str, str]:
    """Return each page by name."""
    found = {name: (ROOT / name).read_text(encoding="utf-8") for name in FRONT}
    for path in sorted(MANUAL.rglob("*.md")):
        found[path.relative_to(MANUAL).as_posix()] = path.read_text(encoding="utf-8")
    return found


PAGES = pages()
EVERY = pytest.mark.parametrize("name", PAGES)


def quoted(name: str) -> Iterator[str]:
    """Yield what a page has in backticks, outside its examples."""
    yield from re.findall(r"`([^`\n]+)`", FENCE.sub("", PAGES[name]))


def anchors(text: str) -> set[str]:
    found = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in found}


def sources() -> Iterator[Path]:
    for top in ("gateway", "tests", *DATA):
        for path in sorted((ROOT / top).rglob("*")):
            if path.suffix in KINDS and not path.is_relative_to(MANUAL) and path != Path(__file__):
                yield path
    yield from (ROOT / "setup.cfg", ROOT / "pyproject.toml", *sorted((ROOT / ".ci").iterdir()))


@cache
def words() -> frozenset[str]:
    """Return every word of the code and the data."""
    found: set[str] = set()
    for path in sources():
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            found.update(re.findall(r"[A-Za-z_]\w*", text))
    return frozenset(found)


@cache
def file_names() -> frozenset[str]:
    return frozenset(path.name for top in (*DATA, "gateway", "tests") for path in (ROOT / top).rglob("*")) | {
        path.name for path in ROOT.iterdir()
    }


@cache
def stems() -> frozenset[str]:
    return frozenset(file.partition(".")[0] for file in file_names())


@pytest.mark.parametrize("name", FRONT)
def test_every_link_of_the_front_pages_leads_somewhere(name: str) -> None:
    for target in LINK.findall(FENCE.sub("", PAGES[name])):
        if "://" in target or target.startswith("mailto:"):
            continue
        file, _, anchor = target.partition("#")
        path = ROOT / file if file else ROOT / name
        assert path.exists(), f"{name} links to {target}"
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), f"{name} links to {target}"


@EVERY
def test_every_path_of_the_repository_exists(name: str) -> None:
    for text in quoted(name):
        for path in PATH.findall(text) if "://" not in text else ():
            pattern = re.sub(r"<[^>]*>|\b[A-Z]{3,}\b(?=[/.-]|$)", "*", path.rstrip("/.")).replace("…", "*")
            if OF_A_HOME.fullmatch(path):
                continue
            assert (ROOT / path).exists() or any(ROOT.glob(pattern)), f"{name}: {path}"


@EVERY
def test_every_source_file_that_is_named_alone_exists(name: str) -> None:
    for text in quoted(name):
        for file in re.findall(r"(?<![\w/.<*-])[\w-]+\.(?:py|pyi|wsdl|xsd|cfg)\b", text):
            assert file in file_names(), f"{name}: {file}"


@EVERY
def test_every_module_exists(name: str) -> None:
    for text in quoted(name):
        for dotted in re.findall(
            r"(?<![\w./])(?:gateway|gateway_conformance|gateway_workbench|tests)(?:\.[a-z_]\w*)+", text
        ):
            if dotted.endswith((".toml", ".yaml", ".sqlite3", ".pem")):  # a file of a home
                continue
            parts = dotted.replace("gateway_conformance", "conformance").split(".")
            if parts[0] == "gateway_workbench":
                parts[:1] = ("mappings", "workbench")
            place = next(
                count
                for count in range(len(parts), 0, -1)
                if (ROOT / "/".join(parts[:count])).is_dir()
                or (ROOT / ("/".join(parts[:count]) + ".py")).is_file()
            )
            assert place > 1, f"{name}: {dotted}"
            assert set(parts[place:]) <= words(), f"{name}: {dotted}"


@EVERY
def test_every_problem_exists(name: str) -> None:
    for problem in re.findall(r"\bGW\d{3}\b", PAGES[name]):
        assert problem in PROBLEMS, f"{name}: {problem}"
    for group in re.findall(r"\bGW(\d)xx\b", PAGES[name]):
        assert any(one.startswith(f"GW{group}") for one in PROBLEMS), f"{name}: GW{group}xx"


@EVERY
def test_every_setting_in_brackets_exists(name: str) -> None:
    keys = [key.name.replace("<code>", "CODE") for key in describe_settings()]
    sections = {key.rpartition(".")[0] for key in keys}
    for text in quoted(name):
        found = re.fullmatch(r"\[([a-z_]+(?:\.[A-Z]+|\.<code>|\.[a-z_]+)*)\](?: ([a-z_]+)(?: = .*)?)?", text)
        if found is None or name in (
            "mapping-language.md",
            "conformance.md",
        ):  # plans and lists have tables too
            continue
        if text in FOREIGN.get(name, set()):
            continue
        section = re.sub(r"<code>|[A-Z]+", "CODE", found[1])
        assert section in sections, f"{name}: {text}"
        assert not found[2] or f"{section}.{found[2]}" in keys, f"{name}: {text}"


@EVERY
def test_every_variable_of_the_environment_is_read(name: str) -> None:
    for text in quoted(name):
        for variable in re.findall(r"\bGATEWAY_[A-Z0-9_]+\b", text):
            assert variable in words() | FOREIGN.get(name, set()), f"{name}: {variable}"


@EVERY
def test_every_column_exists(name: str) -> None:
    for text in quoted(name):
        found = re.fullmatch(r"([a-z_]+)\.([a-z_]+)", text)
        if (
            found is None
            or found[1] not in metadata.tables
            or f".{found[2]}" in KINDS | {".jsonl"}
            or f"{found[1]}.{found[2]}" in setting_names()
        ):
            continue
        known = {column.name for column in metadata.tables[found[1]].columns}
        known |= list_dotted_names()
        assert found[2] in known or text in known, f"{name}: {text}"


@cache
def list_dotted_names() -> frozenset[str]:
    """Return the names with a dot that are no columns: transactions, failpoints, rights."""
    return frozenset({*facts.transactions(), *facts.failpoints(), *Right})


def setting_names() -> set[str]:
    return {key.name for key in describe_settings()}


@cache
def options() -> frozenset[str]:
    """Return every option: those of the verbs, and those that a parser of the code or tests names."""
    found = {
        option
        for command, _ in facts.every_verb().values()
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    for path in sources():
        if path.suffix == ".py":
            found.update(re.findall(r"[\"'](--[a-z][a-z0-9-]*)[\"'=]", path.read_text(encoding="utf-8")))
    return frozenset(found | {"--help", "--version"})


@EVERY
def test_every_option_that_is_named_alone_exists(name: str) -> None:
    for text in quoted(name):
        found = re.match(r"--[a-z][a-z0-9-]*", text)
        assert found is None or found[0] in options(), f"{name}: {text}"


@cache
def classes() -> dict[str, frozenset[str]]:
    """Return the names that stand in the body of each class of the gateway, by the name of the class."""
    found: dict[str, frozenset[str]] = {}
    for _, nodes in walk_sources():
        for node in nodes:
            if isinstance(node, ast.ClassDef):
                inside = {
                    getattr(one, "name", "") or getattr(one, "attr", "") or getattr(one, "id", "")
                    for one in ast.walk(node)
                }
                found[node.name] = found.get(node.name, frozenset()) | inside
    return found


@EVERY
def test_every_attribute_of_a_class_exists(name: str) -> None:
    for text in quoted(name):
        found = re.fullmatch(r"([A-Z][a-z]+(?:[A-Z][a-z]+)+)\.([a-z_]+)(?:\(.*\))?", text)
        if found is not None:
            assert found[2] in classes().get(found[1], ()), f"{name}: {text}"


@EVERY
def test_every_name_of_two_words_stands_in_the_code_or_the_data(name: str) -> None:
    """A name with an underscore or a capital inside is one of ours, unless the page is about others."""
    shape = re.compile(
        r"(?<![\w\\-])(?:[A-Za-z]\w*_\w+|[A-Z][a-z]+(?:[A-Z][a-z]+)+|[a-z]+(?:[A-Z][a-z]+)+)(?!\w)"
    )
    for text in quoted(name):
        for one in shape.findall(text):
            known = one in words() or one in stems() or (one.isupper() and one.lower() in words())
            assert known or one in FOREIGN.get(name, set()), f"{name}: {one} in `{text}`"


def test_names_that_are_foreign_are_still_named() -> None:
    for name, known in FOREIGN.items():
        for one in known:
            assert one in PAGES[name], f"{name} names {one} no more: take it off the list"

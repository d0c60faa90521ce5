"""Names are the field's terms: what can be held of file and function names is held here.

The glossary (`gateway/manual/glossary.md`) says which term is meant; this test refuses the forms
that say a mood, an act without its object, or nothing.
"""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterable, Iterator

from gateway.cli.added_verbs import list_verbs
from tests.kit.source_tree import get_place, list_sources, parse_sources, walk_sources

VERBS = list_verbs()

MEAN_WORDS = 2.0

#: File names of one word that the field understands without a docstring; so are the nouns and verbs
#: of the command line, below `gateway/cli/commands`, `conformance/verbs` and `mappings/workbench/verbs`.
PLAIN_FILES = {
    # Python's own
    *("__init__", "__main__", "env"),
    # steps of the story
    *(
        "receive",
        "admit",
        "split",
        "forward",
        "reply",
        "conclude",
        "notify",
        "withdraw",
        "amend",
        "hub",
        "signals",
    ),
    # things of the standards
    *("addressing", "algorithms", "certificates", "core", "http", "mime", "namespaces", "ocsp", "packaging"),
    *("pkcs11", "pkcs12", "pmode", "soap", "tls", "wsdl", "wss", "xades", "xml"),
    # things of the domain
    *(
        "accounts",
        "agency",
        "agreements",
        "events",
        "webhooks",
        "cases",
        "conditions",
        "correlations",
        "customs",
        "decisions",
        "deliveries",
    ),
    *(
        "deadlines",
        "fees",
        "mandates",
        "messages",
        "notices",
        "parties",
        "passkeys",
        "payloads",
        "sessions",
        "verdicts",
    ),
    "charts",
    # families of problems
    *("delivery", "documents", "internal", "messaging", "problem", "security"),
    # things of a test suite
    *("corpus", "exchange", "journal", "misbehavior", "report", "runner", "scenarios", "target", "tokenizer"),
    # things of every server
    *("database", "engine", "failpoints", "health", "lanes", "metrics", "settings", "tables", "transitions"),
    *("limits", "pki", "readiness", "registration", "wiring"),
}
#: Words that say a mood, an act without an object, or nothing, as a whole name or as its last word.
VAGUE_FILE_WORDS = {
    *("util", "utils", "common", "helper", "helpers", "manager", "misc", "stuff", "things"),
    *(
        "patience",
        "turns",
        "orphans",
        "sides",
        "visitors",
        "together",
        "room",
        "census",
        "standing",
        "believing",
    ),
    *("judging", "leash", "knowledge", "world", "given", "terms", "alike", "twice", "reach", "backwards"),
}
#: A public function of one of these words alone says nothing where it is called.
VAGUE_FUNCTION_WORDS = {
    *("told", "holds", "standing", "said", "shown", "named", "asked", "known", "taken", "given", "found"),
    *("whole", "words", "around", "inside", "below", "same", "told", "refused", "judged", "weighed", "made"),
    *("take", "look", "note", "trouble", "told", "carries", "forwards", "reads", "always", "back", "undo"),
    *("change", "make", "do", "handle", "process", "manage", "perform", "execute", "of", "one", "always"),
}
#: Names that a library or a protocol of Python prescribes.
PRESCRIBED = {"open", "seal", "run", "close", "get", "put", "add", "emit", "upgrade", "read", "write", "make"}
# SQLAlchemy names the methods of a connection.
PRESCRIBED |= {"execute"}


def list_words(name: str) -> list[str]:
    return [word for word in re.split(r"_+", name.strip("_")) if word]


def list_functions(nodes: Iterable[ast.AST]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_a_file_is_named_by_a_noun_of_the_field() -> None:
    commands = {word.replace("-", "_") for words in VERBS for word in words.split()}
    wrong = []
    for path in list_sources():
        is_command = get_place(path).startswith(
            ("cli/commands/", "conformance/verbs/", "workbench/verbs/")
        ) and path.stem in commands | {"process"}
        if not is_command and (fault := find_file_fault(path.stem)):
            wrong.append(f"{get_place(path)}: {fault}")
    assert not wrong, "\n".join(wrong)


def find_file_fault(stem: str) -> str:
    """Return what is wrong with the name of a file, an empty text when nothing is."""
    if re.fullmatch(r"r\d{4}_\w+", stem):
        return ""
    if not re.fullmatch(r"_{0,2}[a-z][a-z0-9]*(_[a-z0-9]+)*_{0,2}", stem):
        return "words are parted by underscores"
    words = list_words(stem)
    if len(words) == 1 and stem not in PLAIN_FILES:
        return "one word, and not a plain one"
    return "says nothing" if words[-1] in VAGUE_FILE_WORDS else ""


def test_no_public_function_is_one_vague_word() -> None:
    wrong = [
        f"{get_place(path)}:{node.lineno} {node.name}"
        for path, nodes in walk_sources()
        for node in list_functions(nodes)
        if node.name in VAGUE_FUNCTION_WORDS - PRESCRIBED
    ]
    assert not wrong, "\n".join(wrong)


def test_everything_public_has_a_docstring() -> None:
    bare = []
    for path, tree in parse_sources():
        bare += [] if ast.get_docstring(tree) else [f"{get_place(path)} has none"]
        silent = [node for node in list_public(tree) if not ast.get_docstring(node)]
        bare += [f"{get_place(path)}:{node.lineno} {node.name}" for node in silent]
    assert not bare, "\n".join(bare)


def list_public(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Yield what a module offers: its functions and classes, and the methods of those."""
    scopes: list[ast.Module | ast.ClassDef] = [tree]
    while scopes:
        for node in scopes.pop().body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            marks = [ast.unparse(one) for one in node.decorator_list]
            if node.name.startswith("_") or any(
                "overload" in one or one.endswith(".setter") for one in marks
            ):
                continue
            yield node
            if isinstance(node, ast.ClassDef):
                scopes.append(node)


def test_function_names_say_what_is_done_to_what() -> None:
    counts = [len(list_words(node.name)) for _, nodes in walk_sources() for node in list_functions(nodes)]
    assert statistics.mean(counts) >= MEAN_WORDS

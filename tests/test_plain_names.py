"""Names that say nothing, and tuples in place of arguments: there are none but the terms below.

A name is empty where it says how something came (`found`, `given`, `told`) and not what it is: as a variable
or a parameter, as a field or a method of a class, as a constant or a type of a module. A parameter whose type
is a tuple of different things is a class without a name. Words of the glossary with one meaning are in
the names of those files alone that have this meaning.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.kit.source_tree import get_place, walk_sources

EMPTY = {
    *("told", "said", "given", "known", "found", "asked", "wanted", "heard", "one", "other"),
    *("further", "named", "taken", "what", "where", "how", "who", "about", "made", "begun"),
    *("shown", "left", "kept", "stated", "owed", "done", "more", "above", "beside", "alike"),
    *("mine", "own", "meant", "came", "around", "inside", "place", "words", "ways", "way"),
    *("here", "standing"),
}
#: Where such a word is the term itself: of SQL, and of places in a file.
TERMS = {
    "store/table_types.py:__init__": {"where"},
}
#: Members of classes: columns of tables, keys of JSON, values of data, and a side of a page.
MEMBER_TERMS = {
    "cases/decided_quantities.py:QuantityVerdict": {"ABOVE"},
    "harmonize/comparison/bundle_comparison.py:BundleChange": {"place"},
    "harmonize/forms/form_values.py:FormValues": {"further"},
    "monitor/health.py:SourceFreshness": {"words"},
    "protocols/fragment_values.py:GroupTally": {"said", "stated", "came"},
    "store/fetched_lists.py:FetchedListSummaryRow": {"words"},
    "store/requirement_quantities.py:GrantingDecisionRow": {"told"},
    "store/requirement_results.py:NewRequirementResult": {"said"},
    "store/requirement_results.py:RequirementResultRow": {"said"},
    "store/work_lists.py:WorkTab": {"MINE"},
    "web/api/case_models.py:Case": {"taken"},
    "workbench/diagram/diagram_rows.py:Diagram": {"left"},
}
#: Names of modules: a place in a document, the scope of a proof, and sides of a page.
MODULE_TERMS = {
    "agreements/cpa/cpa_model.py": {"Place"},
    "harmonize/proofs/read_scope.py": {"INSIDE"},
    "web/console/charts.py": {"_LEFT"},
    "workbench/diagram/html_page.py": {"LEFT"},
}
#: Words of the glossary, and the files whose names use them in its sense.
GLOSSARY_WORDS = {
    "look": set[str](),
    # one change of a case by its declarant
    "turn": {"hub/amendments/amend.py", "hub/answers/case_progress.py"},
    # in force now, not replaced
    "standing": {
        *("cases/result_documents.py", "hub/amendments/amend.py", "hub/answers/case_progress.py"),
        *("hub/completion/conclude.py", "hub/completion/standing_demands.py"),
    },
    # due deliveries of a lane; an officer's work on an application; a statement in a token (RFC 7519)
    "claim": {
        *("delivery/delivery_worker.py", "delivery/lane_claims.py"),
        *("store/delivery_leases.py", "store/lanes.py"),
        *("hub/officers/assigned_applications.py", "store/officer_work.py", "store/work_lists.py"),
        *(
            "web/console/work/work_pages.py",
            "web/officers/application_view.py",
            "web/officers/officer_desk.py",
        ),
        *("accounts/sign_in_proofs.py", "web/console/oidc_provider.py", "web/api/access_tokens.py"),
    },
    # registered at the hub before; an attack with a source; an envelope opened by its values
    "known": {
        *("agreements/agreement_rules.py", "cli/cpa_reception.py", "hub/register/trusted_register.py"),
        *("operations/agreement_acts.py", "store/accounts.py"),
        *("conformance/hostile/attack_table.py", "protocols/known_envelopes/message_opener.py"),
    },
}

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def list_functions() -> Iterator[tuple[str, _Function]]:
    for path, nodes in _walk_own_sources():
        for node in nodes:
            if isinstance(node, _Function):
                yield get_place(path), node


def list_classes() -> Iterator[tuple[str, ast.ClassDef]]:
    for path, nodes in _walk_own_sources():
        for node in nodes:
            if isinstance(node, ast.ClassDef):
                yield get_place(path), node


def _walk_own_sources() -> Iterator[tuple[Path, list[ast.AST]]]:
    for path, nodes in walk_sources():
        if "migrations" not in path.parts:
            yield path, list(nodes)


def list_parameters(function: _Function) -> Iterator[ast.arg]:
    yield from (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)


def list_names(function: _Function) -> set[str]:
    variables = {
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    return variables | {parameter.arg for parameter in list_parameters(function)}


def list_bound_names(body: list[ast.stmt]) -> Iterator[str]:
    """Yield the names that statements of a module or a class bind: variables, functions and classes."""
    for statement in body:
        if isinstance(statement, _Function | ast.ClassDef):
            yield statement.name
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            yield from (
                node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)
            )


def list_members(definition: ast.ClassDef) -> Iterator[str]:
    """Yield the names of fields, methods and properties, and of attributes that methods give to `self`."""
    yield from list_bound_names(definition.body)
    for node in ast.walk(definition):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
        ):
            yield node.attr


def list_all_names(nodes: list[ast.AST]) -> Iterator[str]:
    """Yield the names that a file binds, on every level."""
    yield from list_bound_names(nodes[0].body)  # type: ignore[attr-defined]
    for node in nodes:
        if isinstance(node, _Function):
            yield from (node.name, *list_names(node))
        elif isinstance(node, ast.ClassDef):
            yield from (node.name, *list_members(node))


def split_words(name: str) -> set[str]:
    """Return the words of a name in the singular: `_LOOKED_AT` has look, looked and at."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]
    return {*words, *(re.sub(r"(s|ed)$", "", word) for word in words if word not in GLOSSARY_WORDS)}


def select_empty(names: Iterator[str]) -> set[str]:
    return {name for name in names if name.strip("_").lower() in EMPTY}


def is_tuple_of_different(parameter: ast.arg) -> bool:
    kind = "" if parameter.annotation is None else ast.unparse(parameter.annotation)
    return kind.startswith("tuple[") and ", " in kind and not kind.endswith("...]")


def test_a_name_says_what_the_thing_is() -> None:
    empty: dict[str, set[str]] = {}
    for place, function in list_functions():
        if names := list_names(function) & EMPTY:
            empty.setdefault(f"{place}:{function.name}", set()).update(names)
    assert empty == TERMS


def test_a_member_of_a_class_says_what_it_is() -> None:
    empty: dict[str, set[str]] = {}
    for place, definition in list_classes():
        if names := select_empty(list_members(definition)):
            empty.setdefault(f"{place}:{definition.name}", set()).update(names)
    assert empty == MEMBER_TERMS


def test_a_name_of_a_module_says_what_it_is() -> None:
    empty: dict[str, set[str]] = {}
    for path, nodes in _walk_own_sources():
        if names := select_empty(list_bound_names(nodes[0].body)):  # type: ignore[attr-defined]
            empty[get_place(path)] = names
    assert empty == MODULE_TERMS


def test_a_word_of_the_glossary_has_its_meaning() -> None:
    places: dict[str, set[str]] = {word: set() for word in GLOSSARY_WORDS}
    for path, nodes in _walk_own_sources():
        for word in {word for name in list_all_names(nodes) for word in split_words(name)} & places.keys():
            places[word].add(get_place(path))
    assert places == GLOSSARY_WORDS


def test_things_that_differ_are_arguments_of_their_own() -> None:
    tuples = [
        f"{place}:{function.name}({parameter.arg})"
        for place, function in list_functions()
        for parameter in list_parameters(function)
        if is_tuple_of_different(parameter)
    ]
    assert not tuples

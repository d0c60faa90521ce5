"""Every message reads as a sentence: no notation of Python, and each finding says whom it concerns.

The catalogue is read, the sources are searched for messages that print a collection, and shipped
samples are spoiled in every place until all kinds of findings have been made.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from copy import deepcopy

import pytest
from lxml import etree

import gateway.errors
from gateway.cases import validate_declaration, validate_document
from gateway.errors import PROBLEMS
from gateway.harmonize import MappingBundle, make_placeholder_numbers, make_sample, split_submission
from gateway.wire import SUBMISSION, load_shipped_schemas
from tests.kit.source_tree import get_place, walk_sources

#: What Python writes for lists, sets, dictionaries, empty tuples, types and nothing.
NOTATION = ("['", '["', "{'", "()", "('", "<class", "None", "Decimal(", " object at 0x")
#: Calls whose text a partner or an operator reads.
SPEAKERS = (
    "GatewayError",
    "ConversionError",
    "report_problem",
    "make_notice_error",
    "make_error",
)
COLLECTIONS = ("list", "sorted", "set", "tuple", "dict", "frozenset")
VALUES = ("", " ", "x'y", "ß" * 600, "-1", "99999999999999999999.123456789", "2026-02-30", "Q{'Z'", "1E3")


def test_the_catalogue_has_no_notation_of_python() -> None:
    for problem in PROBLEMS.values():
        for text in (problem.title, problem.meaning, problem.cause, problem.remedy):
            assert not [one for one in NOTATION if one in text], text


def list_spoken_texts() -> Iterator[tuple[str, ast.expr]]:
    """Yield each text that a message is made of, with its place: arguments, and names that lead to them."""
    for path, nodes in walk_sources():
        for node in nodes:
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                values = node.args if name in SPEAKERS else []
            elif isinstance(node, ast.Assign | ast.AugAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [one.id for one in targets if isinstance(one, ast.Name)]
                values = [node.value] if {"detail", "message", "reason"} & set(names) else []
            else:
                continue
            for value in values:
                yield f"{get_place(path)}:{value.lineno}", value


def find_python_notation(text: ast.expr) -> str | None:
    """Return what a text would print in the notation of Python, None for nothing."""
    for part in ast.walk(text):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            found = next((one for one in NOTATION if one in part.value), None)
            if found is not None:
                return found
        if isinstance(part, ast.FormattedValue):
            value = part.value
            name = getattr(getattr(value, "func", None), "id", "") if isinstance(value, ast.Call) else ""
            literal = isinstance(
                value, ast.List | ast.Dict | ast.Set | ast.Tuple | ast.ListComp | ast.SetComp
            )
            if literal or name in COLLECTIONS:
                return ast.unparse(value)
    return None


@pytest.mark.night
def test_no_message_in_the_sources_prints_a_collection() -> None:
    spoken = list(list_spoken_texts())
    assert len(spoken) > 500
    wrong = [f"{place}: {found}" for place, text in spoken if (found := find_python_notation(text))]
    assert not wrong, "\n".join(wrong)


def test_the_search_finds_what_it_is_for() -> None:
    for text in ('f"one of {sorted(known)}"', 'f"one of {[a for a in b]}"', "\"not of <class 'int'>\""):
        assert find_python_notation(ast.parse(text, mode="eval").body), text
    assert find_python_notation(ast.parse('f"one of {describe_choices(known)}"', mode="eval").body) is None


def spoil(root: etree._Element, draw: random.Random) -> etree._Element:
    """Return a copy with one to three places changed: a value, a name, an attribute, or all of it."""
    changed = deepcopy(root)
    for _ in range(draw.randint(1, 3)):
        every = [one for one in changed.iter(etree.Element) if one is not changed]
        one = draw.choice(every)
        deed = draw.randrange(7)
        if deed == 0:
            one.getparent().remove(one)
        elif deed == 1:
            one.getparent().append(deepcopy(one))
        elif deed == 2 and one.attrib:
            one.set(draw.choice(sorted(one.attrib)), draw.choice(VALUES))
        elif deed == 6 and one.attrib:
            del one.attrib[draw.choice(sorted(one.attrib))]
        elif deed == 3:
            one.tag = "{urn:foreign}" + etree.QName(one).localname
        else:
            draw.choice([leaf for leaf in every if not len(leaf)]).text = draw.choice(VALUES)
    return changed


def check_message(text: str) -> None:
    """Fail for the notation of Python in a message, except in what is quoted of the value."""
    told = text.replace("Q{'Z'", "").replace("x'y", "")
    assert not [one for one in NOTATION if one in told], text
    assert "[0-9]" not in told, text


@pytest.mark.night
@pytest.mark.parametrize("document", ["KFDA-FOOD-IMP", "KPTA-PHARM-IMP", "NPQS-PLA-IMP", "KFDA-NARC-EXP"])
def test_every_finding_is_a_sentence_and_says_whom_it_concerns(bundle: MappingBundle, document: str) -> None:
    draw, seen = random.Random(document), set()
    root = etree.fromstring(make_sample(bundle, bundle.documents[document], "1", 2))
    recipient = f"(application A1: {document} of {bundle.documents[document].organisation})"
    declaration = next(root.iter("{urn:wco:datamodel:WCO:DEC-DMS:2}Declaration"))
    for _ in range(120):
        changed = spoil(root, draw)
        for remark in validate_document(changed, load_shipped_schemas(SUBMISSION))[1]:
            seen.add(remark.problem.id)
            check_message(remark.message)
        try:
            result = split_submission(changed, bundle, make_placeholder_numbers(changed))
        except gateway.errors.GatewayError as error:
            check_message(str(error))
            continue
        for problem in result.problems:
            seen.add(problem.problem.id)
            check_message(problem.sentence)
            assert (
                problem.sentence.endswith(recipient)
                or problem.application != "A1"
                or problem.document != document
            )
            assert problem.application in problem.sentence
    for _ in range(40):
        report = validate_declaration(spoil(declaration, draw))
        for remark in (*report.problems, *report.warnings):
            check_message(remark.message)
    assert {"GW402", "GW403", "GW404", "GW503"} <= seen

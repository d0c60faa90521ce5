"""Every sentence of the pages has a translation in one file, and no file has a sentence that no page says."""

from __future__ import annotations

import ast
import csv
import io
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po

from gateway.accounts import ROLES, OrganisationKind
from gateway.errors import PROBLEMS
from gateway.operations import NoEffect
from gateway.state_machines import MACHINES
from gateway.web.console.page_formats import LANGUAGES
from tests.kit.console import Console
from tests.kit.databases import BOTH
from tests.kit.paths import ROOT

#: Each case is short.

CONSOLE = Path(str(files("gateway.web.console")))
OTHERS = sorted(set(LANGUAGES) - {"en"})
#: Problems between the messaging programs of partners, which no officer and no trader meets on a page.
OF_MACHINES = {"GW215", "GW216", *(f"GW{number}" for number in range(315, 322)), "GW902", "GW903"}
FIELD = re.compile(r"%\((\w+)\)s|\{(\w*)\}")


def list_template_sentences() -> Iterator[str]:
    for template in sorted(CONSOLE.rglob("templates/**/*.html")):
        for _, said, _, _ in extract_from_file("jinja2.ext:babel_extract", template, options={"silent": "0"}):
            yield said if isinstance(said, str) else said[0]


def list_python_sentences() -> Iterator[str]:
    """Yield what `translate(...)` is called with; a sentence that is not a literal cannot be found."""
    for source in sorted(CONSOLE.rglob("*.py")):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "translate":
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    yield str(first.value)


def list_refusals() -> Iterator[str]:
    """Yield the sentences of refusals: `abort(status, sentence)` and `AccountRefusedError(sentence)`."""
    for source in sorted(CONSOLE.rglob("*.py")):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                refuses = node.func.id in ("abort", "AccountRefusedError")
                texts = [one.value for one in node.args if refuses and isinstance(one, ast.Constant)]
                yield from (text for text in texts if isinstance(text, str))


def list_table_words() -> Iterator[str]:
    """Yield the words of tables that pages show: roles, states, outcomes, and the texts of problems."""
    yield from ROLES
    yield from OrganisationKind
    for machine in MACHINES.values():
        yield from machine.states
    yield from ("APPROVED", "PARTIAL", "REJECTED", "APPROVED_WITH_CONDITIONS", "NOT_CONCERNED")
    yield from ("ACTIVE", "SUSPENDED", "RETIRED", "PENDING", "DRAFT", "DONE", "RETURNED", "WITHDRAWN")
    yield from ("applicant", "carrier", "customs", "agency", "hub", "voucher")
    yield from (NoEffect.CANCELLED, NoEffect.WITHDRAWN)
    yield from ("password", "passkey", "certificate", "openid", "signing", "encryption", "tls")
    table = (ROOT / "mappings" / "codelists" / "requirement-status.csv").read_text(encoding="utf-8")
    yield from (row["name"] for row in csv.DictReader(io.StringIO(table)))
    for problem in PROBLEMS.values():
        if problem.id not in OF_MACHINES:
            yield from (problem.title, problem.meaning, problem.remedy)


def read_translations(language: str) -> list[tuple[str, str, str]]:
    """Return the file, the sentence and its translation of each entry."""
    found = []
    for source in sorted((CONSOLE / "translations" / language).glob("*.po")):
        with source.open("rb") as stream:
            for one in read_po(stream, locale=language):
                if one.id:
                    told = one.string if isinstance(one.string, str) else (one.string or [""])[0]
                    found.append((source.name, one.id if isinstance(one.id, str) else one.id[0], told))
    return found


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_of_the_pages_is_translated(language: str) -> None:
    translated = {said for _, said, told in read_translations(language) if told}
    said = {*list_template_sentences(), *list_python_sentences(), *list_refusals(), *list_table_words()}
    missing = said - translated
    assert not missing, sorted(missing)


@pytest.mark.parametrize("language", OTHERS)
def test_a_sentence_stands_in_one_file(language: str) -> None:
    seen: dict[str, str] = {}
    twice = [
        (name, seen[said], said)
        for name, said, _ in read_translations(language)
        if seen.setdefault(said, name) != name
    ]
    assert not twice


@pytest.mark.parametrize("language", OTHERS)
def test_an_act_has_a_name_that_no_other_button_has(language: str) -> None:
    """An officer who leaves a form must not fear that this revokes an approval."""
    words = {said: told for _, said, told in read_translations(language)}
    acts = {"Receive", "Ask for information", "Inspection", "Fee", "Decide", "Correct", "Revoke"}
    others = {"Cancel", "Preview", "Back to the form", "Return", "Withdraw", "Propose", "Release", "Take"}
    assert len({words[one] for one in acts | others}) == len(acts | others)


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_has_the_fields_of_its_sentence(language: str) -> None:
    for name, said, told in read_translations(language):
        assert sorted(FIELD.findall(said)) == sorted(FIELD.findall(told)), (name, said)


@pytest.mark.parametrize("language", OTHERS)
def test_a_per_cent_sign_of_a_sentence_stands_for_a_field(language: str) -> None:
    """Jinja formats every sentence: any other sign would make an error of the page."""
    alone = re.compile(r"%(?![(%])")
    wrong = [
        told for _, said, told in read_translations(language) if alone.search(said) or alone.search(told)
    ]
    assert not wrong


@BOTH
def test_pages_show_roles_states_and_refusals_in_the_language_of_the_reader(console: Console) -> None:
    console.add_account("kim", ("operator", "hub"), "administrator")
    kim = console.enter("kim")
    kim.get("/console/account")
    kim.post("/console/language", language="ko")
    assert "시스템 관리자" in kim.get("/console/account").text
    people = kim.get("/console/people").text
    assert "operator/hub:시스템 관리자" in people
    assert "operator/hub:administrator" in kim.get("/console/people?format=csv").text
    assert '<option value="FAILED">실패</option>' in kim.get("/console/operations/deliveries").text
    assert "신고인에게 제출 권한 없음" in kim.get("/console/operations/problems/GW405").text

    assert "이 주소에는" in kim.get("/console/nothing").text

"""What holds for every page of the console, also for those that are added later.

The pages are taken from the application, so that a page without a guard, or a form without its token,
cannot be added unseen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine
from werkzeug.routing import Rule

from gateway.accounts import ROLES, list_rights
from gateway.accounts.role_rights import Role
from gateway.store import make_engine
from gateway.web.console.page_guards import find_required_right, needs_sign_in
from gateway.web.request_texts import RowNumberConverter
from tests.kit.console import Browser, Console

#: Pages that anybody may see: each has a reason.
PUBLIC = {
    "static": "style sheets and scripts",
    "home": "leads to the first page, or to the sign-in",
    "account.show_sign_in": "the sign-in itself",
    "account.sign_in": "the sign-in itself",
    "account.sign_out": "it also ends a session whose certificate is not valid",
    "account.choose_language": "a cookie without a session",
    "account.send_sign_in_options": "the sign-in itself",
    "account.sign_in_by_passkey": "the sign-in itself",
    "account.sign_in_by_certificate": "the sign-in itself",
    "status.show_status": "for everybody: what is away, and what is planned",
    "welcome.show_welcome": "a link with a token, for the first password",
    "welcome.set_first_password": "the same",
    "welcome.show_welcome_with_code": "a link with a token, and a code that is typed",
    "welcome.set_password_with_code": "the same",
}
VALUES = {"int": "1", "string": "x", "default": "x", "path": "x"}
ORGANISATIONS = {"agency": "KPTA", "party": "broker1", "operator": "root"}


def list_rules(application: Flask) -> list[Rule]:
    return [rule for rule in application.url_map.iter_rules() if rule.endpoint not in PUBLIC]


def fill_path(rule: Rule) -> str:
    """Return a path of a rule with some value for each of its variables."""
    path = rule.rule
    for name, converter in rule._converters.items():
        kind = "1" if isinstance(converter, RowNumberConverter) else "x"
        path = re.sub(rf"<(?:\w+:)?{name}>", kind, path)
    assert "<" not in path, path
    return path


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    """The pages' guards are the same on each database."""
    made = make_engine(sqlite_url)
    yield made
    made.dispose()


@pytest.fixture
def application(console: Console) -> Flask:
    return console.application


@pytest.fixture
def people(console: Console) -> dict[str, Browser]:
    """A person for each role, signed in."""
    found = {}
    for role in ROLES.values():
        console.add_account(role.name, (role.kind.value, ORGANISATIONS[role.kind.value]), role.name)
        found[role.name] = console.enter(role.name)
    return found


def test_every_page_is_guarded_or_public_for_a_reason(application: Flask) -> None:
    bare = [
        rule.endpoint
        for rule in list_rules(application)
        if not needs_sign_in(application.view_functions[rule.endpoint])
    ]
    assert bare == []
    known = {rule.endpoint for rule in application.url_map.iter_rules()}
    assert PUBLIC.keys() <= known


@pytest.mark.long
def test_a_stranger_is_led_to_the_sign_in(application: Flask, console: Console) -> None:
    visitor = console.visit()
    for rule in list_rules(application):
        if "GET" in (rule.methods or ()):
            answer = visitor.get(fill_path(rule))
            assert answer.status_code == 302, rule.rule
            assert answer.headers["Location"].startswith("/console/sign-in"), rule.rule
        else:
            answer = visitor.post(fill_path(rule))
            assert answer.status_code in {302, 403}, rule.rule


@pytest.mark.long
def test_no_form_is_taken_without_its_token(application: Flask, people: dict[str, Browser]) -> None:
    person = people["administrator"]
    for rule in list_rules(application):
        if "POST" in (rule.methods or ()):
            answer = person.client.post(fill_path(rule), headers={"Sec-Fetch-Site": "same-origin"})
            assert answer.status_code == 403, rule.rule
            answer = person.post(fill_path(rule), form_token="0" * 64)
            assert answer.status_code == 403, rule.rule


@pytest.mark.long
def test_no_form_is_taken_from_another_site(application: Flask, people: dict[str, Browser]) -> None:
    person = people["administrator"]
    person.get("/console/account")
    for rule in list_rules(application):
        if "POST" in (rule.methods or ()):
            for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
                answer = person.client.post(
                    fill_path(rule), data={"form_token": person.token}, headers=headers
                )
                assert answer.status_code == 403, rule.rule


def list_forbidden(application: Flask) -> Iterator[tuple[Role, Rule]]:
    for rule in list_rules(application):
        right = find_required_right(application.view_functions[rule.endpoint])
        for role in ROLES.values():
            if right is not None and right not in list_rights(role.kind, frozenset({role.name})):
                yield role, rule


@pytest.mark.long
def test_a_role_without_the_right_is_refused(application: Flask, people: dict[str, Browser]) -> None:
    tried = list(list_forbidden(application))
    for role, rule in tried:
        person = people[role.name]
        if not person.token:
            person.get("/console/account")
        send: Any = person.get if "GET" in (rule.methods or ()) else person.post
        assert send(fill_path(rule)).status_code == 403, (role.name, rule.rule)


@pytest.mark.long
def test_every_answer_has_the_headers_of_safety(application: Flask, people: dict[str, Browser]) -> None:
    for rule in list_rules(application):
        if "GET" in (rule.methods or ()):
            for person in people.values():
                answer = person.get(fill_path(rule))
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy, rule.rule
                assert "unsafe" not in policy, rule.rule
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.status_code < 500, rule.rule


@pytest.mark.parametrize(
    ("role", "path"),
    [
        ("filer", "cases?text="),
        ("filer", "cases?reference="),
        ("officer", "work?q="),
        ("officer", "work?applicant="),
        ("officer", "work?law="),
        ("officer", "work?document="),
        ("administrator", "people?q="),
        ("administrator", "operations/search?q="),
        ("administrator", "operations/messages?party="),
        ("administrator", "operations/parties?text="),
        ("administrator", "operations/problems?text="),
        ("administrator", "operations/deliveries?lane="),
    ],
)
def test_a_text_to_search_for_is_refused_and_not_cut(
    people: dict[str, Browser], role: str, path: str
) -> None:
    """What is cut finds what nobody searched for."""
    person = people[role]
    assert person.get(f"/console/{path}%20{'x' * 200}%20").status_code == 200
    refused = person.get(f"/console/{path}{'x' * 201}")
    assert (refused.status_code, "has at most 200 characters" in refused.text) == (400, True)

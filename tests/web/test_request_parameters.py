"""Texts that no database stores, and numbers that no column holds, in every parameter of console and API.

The parameters are those that the pages look up and that their forms have, and those of the API's
description: a new page or operation is tried without a change here.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from html import escape
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import Engine
from werkzeug.routing import PathConverter, Rule, UnicodeConverter
from werkzeug.test import TestResponse

from gateway.accounts import ROLES, OrganisationKind
from gateway.web.console.page_guards import find_required_right
from gateway.web.request_texts import IdConverter, PositionConverter, RowNumberConverter
from tests.kit.console import Browser, Console
from tests.kit.databases import BOTH, in_turn
from tests.kit.long_texts import make_long_text
from tests.kit.officers import ConsoleStory
from tests.kit.request_parameters import PageForm, Pages, note_read_names

#: NUL, and half of a surrogate pair as UTF-8 would write it.
NUL, SURROGATE = "a\x00b", "a\ud800b"
#: The first numbers that an INTEGER and a BIGINT do not hold, and one that Python does not read.
NUMBERS = ("2147483648", "9223372036854775808", "9" * 5000)
#: More octets than any index of a database holds, which no compression shortens.
LONG = make_long_text(5_000)
ORGANISATIONS = {"agency": "KPTA", "party": "broker1", "operator": "root"}
#: Header fields that the server writes, or the client of the test.
OF_THE_SERVER = {"Cookie", "Content-Type", "Content-Length"}
#: What ends the session, or takes away what other pages show: tried last.
LAST = ("sign_out", "delete", "remove", "end")


def quote_octets(value: str) -> str:
    return quote(value.encode("utf-8", "surrogatepass"), safe="")


def write_fields(fields: list[tuple[str, str]]) -> str:
    return "&".join(f"{quote_octets(name)}={quote_octets(value)}" for name, value in fields)


class Tried:
    """A console with something on every page, and somebody of each kind of organisation."""

    def __init__(self, engine: Engine) -> None:
        self.story = ConsoleStory(engine, "KPTA")
        self.console = Console(self.story.house.hub, desk=self.story.desk)
        self.application = self.console.application
        self.names = note_read_names(self.application)
        self.story.submit()
        self.story.tick()
        self.people = {kind.value: self.enter(kind) for kind in OrganisationKind}
        trader = self.people["party"]
        trader.get("/console/submissions/new")
        trader.post("/console/submissions/new", document=["KFDA-FOOD-IMP"])
        self.pages = {kind: Pages(self.application) for kind in self.people}
        for kind, pages in self.pages.items():
            pages.explore(self.people[kind], "/console/")
            pages.explore(self.people[kind], "/console/status")

    def enter(self, kind: OrganisationKind) -> Browser:
        """Return a person who has every role in an organisation of a kind."""
        roles = [one.name for one in ROLES.values() if one.kind is kind]
        self.console.add_account(kind.value, (kind.value, ORGANISATIONS[kind.value]), *roles)
        person = self.console.enter(kind.value)
        person.get("/console/account")
        return person

    def rules(self) -> list[Rule]:
        found = [one for one in self.application.url_map.iter_rules() if one.endpoint != "static"]
        return sorted(found, key=lambda one: (one.endpoint.rpartition(".")[2].startswith(LAST), one.rule))

    def requests(self) -> Iterator[tuple[Browser, str, Rule, PageForm]]:
        """Return each rule and method, as those send it who have met it; else with an address made up."""
        for rule in self.rules():
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                met = [(kind, form) for kind in self.people for form in self.forms(rule, method, kind)]
                for kind, form in met or [(self.allowed(rule), PageForm(self.fill(rule), ()))]:
                    yield self.people[kind], method, rule, form

    def forms(self, rule: Rule, method: str, kind: str) -> list[PageForm]:
        """Return the forms of a person's pages that lead to a rule, of each address and fields one."""
        pages = self.pages[kind]
        found = {form.names: form for form in pages.forms[rule.endpoint]} if method == "POST" else {}
        return [*found.values()] or [PageForm(path, ()) for path in pages.paths[rule.endpoint][:1]]

    def allowed(self, rule: Rule) -> str:
        """Return the kind of organisation whose people may see a page."""
        right = find_required_right(self.application.view_functions[rule.endpoint])
        return next((one.kind.value for one in ROLES.values() if right in one.rights), "party")

    def fill(self, rule: Rule, **values: str) -> str:
        """Return an address of a rule with a usual value, or one of `values`, for each variable."""
        usual = {name: "1" for name in rule.arguments} | values
        return re.sub(r"<(?:\w+:)?(\w+)>", lambda one: quote_octets(usual[one[1]]), rule.rule)

    def send(
        self, person: Browser, method: str, path: str, fields: list[tuple[str, str]], **more: Any
    ) -> TestResponse:
        written = write_fields(fields)
        if method == "GET":
            place, _, query = path.partition("?")
            address = f"{place}?{'&'.join(filter(None, (query, written)))}"
            return person.client.get(address, **more)
        more |= {
            "data": f"form_token={person.token}&{written}",
            "headers": {"Sec-Fetch-Site": "same-origin"},
            "content_type": "application/x-www-form-urlencoded",
        }
        return person.client.open(path, method=method, **more)


@pytest.fixture
def tried(engine: Engine) -> Tried:
    return Tried(engine)


def list_tries(form: PageForm, names: set[str]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Return the fields of a form with one replaced; those of a draft, kept as typed, together."""
    yield "nothing", []
    typed = {name for name in names if "/" in name}
    for name in sorted(names):
        for value in (NUL,) if name in typed else (NUL, SURROGATE, LONG, *list_numbers(form, name)):
            yield f"{name}={value[:20]}", replace_fields(form, {name}, value)
    for value in (SURROGATE, LONG, *NUMBERS) if typed else ():
        yield f"all={value[:20]}", replace_fields(form, typed, value)


def replace_fields(form: PageForm, names: set[str], value: str) -> list[tuple[str, str]]:
    kept = [one for one in form.fields if one[0] not in names | {"form_token"}]
    return [*kept, *((name, value) for name in sorted(names))]


def list_numbers(form: PageForm, name: str) -> Iterator[str]:
    """Return the numbers, alone and in place of the last number of each value that the form has."""
    for number in NUMBERS:
        written = {re.sub(r"[0-9]+(?=[^0-9]*$)", number, value) for key, value in form.fields if key == name}
        yield from {number, *(one for one in written if number in one)}


@pytest.mark.night
@in_turn
def test_every_field_of_the_console_is_read_by_one_reader(tried: Tried) -> None:
    wrong = []
    for person, method, rule, form in tried.requests():
        names = {"anything", *form.names, *tried.names[rule.endpoint, "field"]} - {"form_token"}
        for described, fields in list_tries(form, names):
            answer = tried.send(person, method, form.path, fields)
            bad = next((name for name, value in fields if value == NUL), None)
            named = bad is None or (answer.status_code == 400 and escape(bad) in answer.text)
            if answer.status_code >= 500 or not named or (bad is not None and "U+0000" not in answer.text):
                wrong.append((method, rule.rule, described, answer.status_code))
    assert wrong == []


@BOTH
def test_every_variable_of_a_path_of_the_console_is_read_by_one_reader(tried: Tried) -> None:
    rules = tried.application.url_map.iter_rules()
    kinds = {type(converter) for rule in rules for converter in rule._converters.values()}
    assert kinds == {UnicodeConverter, PathConverter, RowNumberConverter, PositionConverter, IdConverter}
    wrong = []
    for person, method, rule, form in tried.requests():
        found = tried.pages["party"].find_variables(method, form.path)
        usual = {name: str(value) for name, value in found.items()}
        for name in sorted(rule.arguments):
            for value in (NUL, SURROGATE, LONG, *NUMBERS):
                path = tried.fill(rule, **(usual | {name: value}))
                answer = tried.send(person, method, path, [])
                accepted = {404} if value in (NUL, LONG) else {302, 400, 403, 404, 405, 409, 422}
                if answer.status_code not in accepted:
                    wrong.append((method, rule.rule, f"{name}={value[:20]}", answer.status_code))
    assert wrong == []


@BOTH
def test_every_header_cookie_and_file_name_of_the_console_is_read_by_one_reader(tried: Tried) -> None:
    wrong, seen = [], set()
    for person, method, rule, form in tried.requests():
        tried.send(person, method, form.path, [])
        for kind in ("header", "cookie"):
            for name in sorted(
                tried.names[rule.endpoint, kind] - {"Cookie", "Content-Type", "Content-Length"}
            ):
                if (method, kind, name) in seen:
                    continue
                seen.add((method, kind, name))
                stranger, made = tried.console.visit(), {}
                if kind == "cookie":
                    stranger.client.set_cookie(name, NUL, secure=True)
                else:
                    made[f"HTTP_{name.upper().replace('-', '_')}"] = NUL
                answer = tried.send(stranger, method, form.path, [], environ_overrides=made)
                if answer.status_code != 400 or "U+0000" not in answer.text:
                    wrong.append((method, rule.rule, kind, name, answer.status_code))
        if method == "POST" and ("POST", rule.endpoint, "file") not in seen:
            seen.add(("POST", rule.endpoint, "file"))
            for name, kind in (("a\x00b", "text/xml"), ("a", "text/x\x00ml")):
                files = {"file": (io.BytesIO(b"x"), name, kind)}
                answer = person.client.post(form.path, data={"form_token": person.token} | files)
                if answer.status_code != 400 or "U+0000" not in answer.text:
                    wrong.append((method, rule.rule, "file", name, kind, answer.status_code))
    assert wrong == []
    assert {kind for _, kind, _ in seen if kind in ("header", "cookie")} == {"header", "cookie"}


#: What is no HTTP-date (RFC 9110 5.6.7), near and beyond the ends of the calendar.
DATES = (
    "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
    "Mon, 01 Jan 2026 00:00:00 +99999999999999",
    "Mon, 32 Jan 2026 00:00:00 GMT",
    "Fri, 31 Dec 9999 23:59:59 -1400",
    "Mon, 01 Jan 0001 00:00:00 +1400",
)


@pytest.mark.long
@in_turn
def test_a_date_that_is_none_is_as_if_it_were_not_there(tried: Tried) -> None:
    """RFC 9110 13.1.3: the field is ignored; the answer is whole."""
    stranger = tried.console.visit().client
    path = "/console/static/console.css"
    for name in ("If-Modified-Since", "If-Unmodified-Since", "If-Range"):
        for date in DATES:
            answer = stranger.get(path, headers={name: date, "Range": "bytes=0-"})
            assert answer.status_code in (200, 206), (name, date)
            answer.close()
    first = stranger.get(path)
    known = {"If-Modified-Since": first.headers["Last-Modified"]}
    first.close()
    again = stranger.get(path, headers=known)
    assert again.status_code == 304
    again.close()
